//! A worker whose root was stolen against a real coordinator, over the real wire.
//!
//!     cargo test -p hostler-tests --test hostile_node -- --nocapture
//!
//! The thief has what lies on a node: its key, its certificate, what it was sent; and it may be asked to do work. Each
//! mode tries one rule. It gets the answer that is expected, and afterwards the others are as they were, a rollout of
//! theirs is performed to its end, and neither the ledger nor the memory of the coordinator grew by more than the mode
//! may cost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod claims;
mod facts;
mod names;
mod receipts;
mod scene;
mod wire;

#[allow(dead_code, reason = "the coordinator's own tests use more of it")]
#[path = "../../../coordinator/tests/grpc/fleet.rs"]
mod fleet;

#[allow(dead_code, reason = "the coordinator's own tests use more of it")]
#[path = "../../../coordinator/tests/grpc/ready.rs"]
mod ready;

#[allow(dead_code, reason = "the doors use more of it")]
#[path = "../doors/flood.rs"]
mod flood;

use scene::{Mode, Scene};

#[tokio::test]
async fn a_stolen_worker_harms_nobody_but_itself() {
    let only = std::env::var("HOSTLER_MODE").ok();
    let modes: Vec<Mode> = [receipts::modes(), claims::modes(), facts::modes(), names::modes(), wire::modes()]
        .into_iter()
        .flatten()
        .collect();
    let (mut tried, mut others) = (0, Vec::new());
    for mode in modes.iter().filter(|mode| only.as_ref().is_none_or(|only| mode.name.contains(only.as_str()))) {
        tried += 1;
        let found = Scene::attempt(mode).await;
        let verdict =
            found.as_ref().map_or_else(|other| format!("OTHER: {other}"), |answer| format!("as expected: {answer}"));
        println!("{:<58} {:<46} {verdict}", mode.name, mode.rule);
        if let Err(other) = found {
            others.push(format!("{}: {other}", mode.name));
        }
    }
    println!("tried {tried}, refused as expected {}, others {}", tried - others.len(), others.len());
    assert!(others.is_empty(), "{}", others.join("\n"));
    assert!(only.is_some() || tried >= 60, "only {tried} modes");
}
