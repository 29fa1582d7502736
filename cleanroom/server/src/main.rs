//! The binary `cleanroom`: everything lives in the library, so that tests build the same app in process.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::cli::main()
}
