//! Who a node is, as its certificate says.

use std::fmt;

use hostler_plan::id::{Digest, FleetId, NodeName};
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::TlsError;

/// Who a node is, as its client certificate says: `hostler://FLEET/node/NAME` as the only URI of its subject
/// alternative names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeIdentity {
    pub fleet: FleetId,
    pub node: NodeName,
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hostler://{}/node/{}", self.fleet, self.node)
    }
}

impl NodeIdentity {
    /// Reads the identity out of a certificate's DER.
    pub fn from_certificate(der: &[u8]) -> Result<Self, TlsError> {
        let wrong = |found: &str| TlsError::Certificate {
            expected: "one URI hostler://FLEET/node/NAME as subject alternative name",
            found: found.to_owned(),
        };
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| wrong(&e.to_string()))?;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "x509_parser's extensions are foreign; one kind holds the name"
        )]
        let mut uris = certificate.extensions().iter().filter_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let names = uris.next().ok_or_else(|| wrong("no alternative name"))?;
        let [GeneralName::URI(uri)] = names.as_slice() else {
            return Err(wrong("other alternative names"));
        };
        let parsed = uri
            .strip_prefix("hostler://")
            .and_then(|rest| rest.split_once("/node/"))
            .and_then(|(fleet, node)| Some(Self { fleet: FleetId::new(fleet).ok()?, node: NodeName::new(node).ok()? }));
        parsed.ok_or_else(|| wrong(uri))
    }
}

/// Whether TLS takes these bytes as a certificate. It is stricter than what reads the names in one.
pub fn is_certificate(der: &[u8]) -> bool {
    ParsedCertificate::try_from(&CertificateDer::from(der)).is_ok()
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469): it stays the same when the certificate is renewed.
pub fn spki_digest(certificate_der: &[u8]) -> Result<Digest, TlsError> {
    let (_, certificate) = X509Certificate::from_der(certificate_der)
        .map_err(|e| TlsError::Certificate { expected: "an X.509 certificate", found: e.to_string() })?;
    Ok(Digest::of(certificate.public_key().raw))
}
