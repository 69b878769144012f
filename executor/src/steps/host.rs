//! Steps on the machine itself: files, kernel, packages, units, artifacts, reboot.

pub(super) mod artifact;
mod file;
mod module;
mod noop;
mod package;
pub(super) mod reboot;
mod sysctl;
mod unit;
