//! Compiles `hostler/v1/*.proto` with a compiler written in Rust: nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["hostler/v1/document.proto", "hostler/v1/enrolment.proto", "hostler/v1/agent.proto", "hostler/v1/admin.proto"];
    let set = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(set)?;
    println!("cargo:rerun-if-changed=hostler");
    Ok(())
}
