//! End-to-end suites across the crates. See `tests/tests` for what runs with `cargo test`, and `tests/lab` for the real
//! machines.
