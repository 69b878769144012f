//! TLS 1.3 with pinned coordinators, built on rustls and ring alone.
//!
//! Nobody trusts the operating system's certificate store here: a peer is trusted because the join string or the
//! trust root names the digest of its CA's public key.

mod client;
mod door;
mod identity;
mod pin;
mod server;

pub use client::{BoundChannel, ClientIdentity, ConnectError, Coordinator, connect, connect_bound};
pub use door::{Connection, Door, DoorLimits, Full, Origin, PeerAddress, Place, Proof, Rank};
pub use identity::{NodeIdentity, is_certificate, spki_digest};
pub use pin::PinnedVerifier;
pub use server::{Accepted, Incoming, Listener, PeerInfo, ServerIdentity, ServerSettings, incoming};

/// The DNS name in every coordinator's certificate. Addresses change and may be numbers; the name does not.
pub const COORDINATOR_NAME: &str = "coordinator.hostler.internal";

/// What the address of a Unix socket begins with; an absolute path follows.
pub const SOCKET_SCHEME: &str = "unix://";

/// A stream of bytes of any kind.
trait Bytes: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + std::fmt::Debug {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + std::fmt::Debug> Bytes for T {}

/// Why TLS could not be set up from the given material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused a key or a certificate.
    #[error("the TLS key or certificate cannot be used: {0}")]
    Material(#[from] rustls::Error),
    /// A certificate is not one of ours.
    #[error("certificate expected {expected}, found {found}")]
    Certificate { expected: &'static str, found: String },
    /// No client verifier can be made from the CA.
    #[error("the CA for client certificates cannot be used: {0}")]
    ClientVerifier(#[from] rustls::server::VerifierBuilderError),
}

fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}
