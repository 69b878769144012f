//! What a room of the coordinator may not name: what decides has no clock, file, network or message of the wire, and
//! only grpc/ knows the wire.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::path::{Path, PathBuf};

const CLOCKS: [&str; 4] = ["SystemTime", "Instant::", "clock::now", "ClockReading::now"];
const WIRE: [&str; 3] = ["tonic", "v1::", "hostler_proto::"];
const WORLD: [&str; 5] = ["std::fs", "std::net::Tcp", "std::thread", "tokio", "async "];

/// Each room, its files that must keep to it, and what they may not name.
fn rooms() -> [(&'static str, Vec<&'static str>); 4] {
    let others =
        ["crate::store", "crate::nodes", "crate::view", "crate::grpc", "crate::control_loop", "crate::metrics"];
    [
        ("control", [&CLOCKS[..], &WIRE, &WORLD, &others].concat()),
        ("view", [&CLOCKS[..], &WIRE, &WORLD, &["crate::store", "crate::grpc", "crate::metrics"]].concat()),
        ("nodes", [&WIRE[..], &["crate::grpc", "crate::view", "crate::metrics"]].concat()),
        ("store", [&WIRE[..], &["crate::grpc", "crate::view", "crate::metrics"]].concat()),
    ]
}

fn files(room: &str) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join(format!("{room}.rs"))];
    walk(&source.join(room), &mut files);
    files
}

/// Every source below a folder but the tests.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            walk(&path, files);
        } else if path.is_file() && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

#[test]
fn a_room_names_nothing_that_it_may_not() {
    for (room, banned) in rooms() {
        for file in files(room) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                let named = banned.iter().find(|word| line.contains(**word));
                assert!(named.is_none(), "{}:{}: {room} may not name {}", file.display(), number + 1, named.unwrap());
            }
        }
    }
}
