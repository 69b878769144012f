//! Simulated nodes and clusters behind the traits of the real ones, and hostler-demo.
