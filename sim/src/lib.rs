//! Simulated machines and clusters behind the traits of the real ones, and `hostler-demo`, which makes a whole fleet
//! of them play its story in a minute.
//!
//! Nothing here touches a real machine. Boards, versions and clusters of this crate say of themselves that they are
//! simulated.

mod administrator;
mod answer;
pub mod clock;
pub mod demo;
pub mod host;
mod kube;
pub mod node;
mod sealing;
pub mod seeds;
pub mod socket;
pub mod wire;
pub mod world;
