//! Pins: digests of a CA's public key, and the verifier that asks for them.

use std::{collections::BTreeSet, sync::Arc};

use hostler_plan::{id::Digest, timestamp::Timestamp};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{provider, spki_digest};

/// Accepts a server whose presented chain holds a CA with a pinned public key, which signed the server's certificate
/// for the expected name.
#[derive(Debug)]
pub struct PinnedVerifier {
    pins: BTreeSet<Digest>,
    /// A Pi without a clock starts in the past; certificates are judged at this time or later.
    time_floor: Timestamp,
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    /// A verifier for any of these SPKI digests.
    pub fn new(pins: impl IntoIterator<Item = Digest>, time_floor: Timestamp) -> Self {
        Self { pins: pins.into_iter().collect(), time_floor, provider: provider() }
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates.iter().find(|c| spki_digest(c).is_ok_and(|digest| self.pins.contains(&digest)));
        let ca = pinned.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
        let floor = std::time::Duration::from_secs(self.time_floor.unix_seconds());
        let now = UnixTime::since_unix_epoch(floor.max(std::time::Duration::from_secs(now.as_secs())));
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("expected TLS 1.3, found TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
