//! The coordinator through its front doors: real listeners on ports of the kernel's choice, real TLS, real signatures.

mod authorisation;
mod crash;
mod enrolment;
mod fleet;
mod login;
mod rollout;
