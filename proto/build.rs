//! Compiles `hostler/v1/*.proto` with a compiler written in Rust: nobody needs protoc.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["kind", "document", "enrolment", "agent", "admin"].map(|name| format!("hostler/v1/{name}.proto"));
    let set = protox::compile(files, ["."])?;
    let folder = std::env::var("OUT_DIR")?;
    std::fs::write(std::path::Path::new(&folder).join("descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure().codec_path("crate::codec::Codec").compile_fds(set)?;
    println!("cargo:rerun-if-changed=hostler");
    Ok(())
}
