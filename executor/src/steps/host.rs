//! Steps on the machine itself: files, kernel, packages, programs, images, units, swap, artifacts, services, reboot.

mod archive;
pub(super) mod artifact;
mod cloud_init;
mod current;
mod file;
mod hosts;
mod image;
mod iscsi;
mod kernel;
mod module;
mod network;
mod noop;
mod package;
mod program;
pub(super) mod reboot;
mod registry;
mod sshd;
mod swap;
mod sysctl;
#[cfg(test)]
mod tests;
mod unit;
