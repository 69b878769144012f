//! Compiles `hostler/v1/*.proto` with a compiler written in Rust: nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["kind", "document", "enrolment", "agent", "admin"].map(|name| format!("hostler/v1/{name}.proto"));
    let set = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(set)?;
    println!("cargo:rerun-if-changed=hostler");
    Ok(())
}
