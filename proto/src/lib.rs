//! The wire of Hostler: the messages generated from `hostler/v1/*.proto` and the TLS that carries them.
//!
//! Nothing here decides anything. A signed document crosses the wire as its exact bytes; what it says is judged by
//! `hostler_plan::trust` on both ends.

pub mod codec;
pub mod convert;
pub mod facts;
pub mod fragment;
pub mod login;
pub mod status;
pub mod tls;
pub mod watched;

pub use hostler_plan::join;

/// Generated from `hostler/v1/*.proto`.
#[allow(missing_docs, missing_debug_implementations, clippy::all)]
pub mod v1 {
    tonic::include_proto!("hostler.v1");
}

/// Every service and message of `hostler/v1/*.proto`, as a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The most bytes of one message on any stream or call: a roster of 1,000 nodes with its signatures, and room.
pub const MAX_MESSAGE_BYTES: usize = 2 << 20;

/// Bytes of artifact per message: large enough to be fast, small enough that a slow node does not starve others.
pub const ARTIFACT_CHUNK_BYTES: usize = 64 << 10;

/// The metadata key that carries an admin's session.
pub const SESSION_METADATA: &str = "hostler-session";
