//! End-to-end suites across the crates. See `tests/tests` for what runs with `cargo test`, `tests/prometheus` for a
//! real Prometheus, and `tests/lab` for the real machines.

pub mod process;
pub mod recorded;
pub mod stand;
