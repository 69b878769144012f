//! The coordinator through its front doors: real listeners on ports of the kernel's choice, real TLS, real signatures.

// Functions beside tests may unwrap too: a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod authorisation;
mod crash;
mod damage;
mod enrolment;
mod facts;
mod fleet;
mod gates;
mod login;
mod metrics;
mod ready;
mod rollout;
mod views;
