//! End-to-end suites across the crates.
