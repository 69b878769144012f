//! One reading of this machine or of a recorded one: `cargo run --example facts -- [FOLDER] [json|text]`.

use hostler_agent::facts::{Output, command};
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.last().is_some_and(|last| last == "json");
    let folder = arguments.first().filter(|first| !matches!(first.as_str(), "json" | "text"));
    command(folder.map(Path::new), if json { Output::Json } else { Output::Text })
}
