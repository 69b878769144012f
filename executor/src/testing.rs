//! Doubles for tests: a machine and a cluster in memory, and a fleet with keys of its own. Nothing here is real; the
//! full simulation lives in the crate `sim`.

mod administrator;
mod allocator;
mod api_server;
mod cluster;
mod fleet;
mod front;
mod machine;

pub(crate) use administrator::{BeforeGet, TestAdministrator};
pub(crate) use allocator::{Allocated, allocated};
pub(crate) use api_server::{Answer, ApiServer, Asked};
pub(crate) use cluster::{AtEviction, State, TestCluster};
pub(crate) use fleet::{Fleet, artifact, task};
pub(crate) use front::{Front, Watching};
pub(crate) use hostler_fixtures::cluster::{budget, node, note, pod};
pub(crate) use machine::{Inner, Machine, Play};
