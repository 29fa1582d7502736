//! Compiles `audience.v1` with a compiler written in Rust, so that nothing has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["audience/v1/audience.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Tokens are personal data: the generated types print nothing of them (see `wire.rs`).
        .skip_debug(["audience.v1.SubmitRequest"])
        .compile_fds(files)?;
    Ok(())
}
