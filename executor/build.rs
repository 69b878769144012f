//! Notes when this program was built: no true clock shows less.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()).to_string();
    let seconds = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| now());
    println!("cargo:rustc-env=HOSTLER_BUILD_SECONDS={seconds}");
}
