//! Steps on the machine itself: files, kernel, packages, units, artifacts, reboot.

pub mod artifact;
mod file;
mod module;
mod noop;
mod package;
pub mod reboot;
mod sysctl;
mod unit;
