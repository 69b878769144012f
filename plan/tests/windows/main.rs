//! Maintenance windows: by the clock on a wall, in plans, and where a node or the coordinator asks them.

// clippy.toml lets tests unwrap; the helpers beside them are tests too.
#![allow(clippy::unwrap_used)]

mod dates;
mod gate;
mod plans;

use hostler_plan::{
    document::Window,
    fleet::{Fleet, Maintenance},
    timestamp::Timestamp,
};

/// Two servers' worth of nothing: one server and three workers.
const FLEET: &str = r#"
name = "home"
distribution = "k3s"
version = "v1.34.3+k3s1"
api = "s1:6443"
nodes = [
    { name = "s1", role = "server", arch = "aarch64" },
    { name = "w1", role = "worker", arch = "aarch64" },
    { name = "w2", role = "worker", arch = "aarch64", group = "attic" },
    { name = "w3", role = "worker", arch = "aarch64" },
]
[groups.attic]
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The fleet with these tables behind it.
fn fleet(more: &str) -> Fleet {
    Fleet::from_toml(&[("fleet.toml", &format!("{FLEET}{more}"))]).unwrap().0
}

/// Windows of such a line: `days = ["Sun"], start = "02:30", end = "03:30"`.
fn maintenance(zone: &str, windows: &[&str]) -> Maintenance {
    let windows: Vec<String> = windows.iter().map(|window| format!("{{ {window} }}")).collect();
    let table = format!("[maintenance]\nzone = {zone:?}\nwindows = [{}]\n", windows.join(", "));
    fleet(&table).maintenance.unwrap()
}

/// From when until when, as texts.
fn spans(windows: &[Window]) -> Vec<(String, String)> {
    windows.iter().map(|w| (w.from.to_string(), w.until.to_string())).collect()
}
