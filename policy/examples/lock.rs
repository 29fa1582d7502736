//! Writes `bundle.lock` of the bundle folders given as arguments, after checking them: `cargo run -p policy --example
//! lock -- policy/bundles/jv-north`. Prints each bundle's digest, its test report and the clauses no case decides.

use std::path::Path;
use std::process::ExitCode;

use policy::Bundle;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for dir in std::env::args().skip(1) {
        let path = Path::new(&dir);
        match Bundle::lock(path).and_then(|_| Bundle::load(path)) {
            Ok(bundle) => {
                let report = bundle.test();
                println!("{dir}: {}, {} cases passed", bundle.digest(), report.passed);
                for failure in &report.failures {
                    code = ExitCode::FAILURE;
                    println!("  failed {failure}");
                }
                for clause in &report.without_case {
                    println!("  no case decides {clause}");
                }
            }
            Err(refused) => {
                code = ExitCode::FAILURE;
                println!("{dir}: {}: {refused}", refused.code());
            }
        }
    }
    code
}
