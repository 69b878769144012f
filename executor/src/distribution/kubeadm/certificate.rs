//! The certificates that kubeadm made on a server, and how long they last, as kubeadm says it.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::layout::QUICK;
use crate::host::{Host, HostError};

/// A certificate, or the one in a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Certificate {
    /// Such as `apiserver` or `admin.conf`.
    pub name: String,
    /// RFC 3339; empty where it is missing.
    #[serde(default, rename = "expirationDate", deserialize_with = "or_null")]
    pub ends: String,
    /// What is left of its life, in seconds; less than 0 where it is over.
    #[serde(default, rename = "residualTime")]
    pub left_seconds: i64,
    /// Whose key is not here: nobody can renew it here.
    #[serde(default, rename = "externallyManaged")]
    is_foreign: bool,
    /// This server has none of that name.
    #[serde(default)]
    missing: bool,
}

/// kubeadm writes null for what a server does not have, such as super-admin.conf on all but the first.
fn or_null<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Certificate {
    /// Whether it lasts longer than that.
    pub(crate) fn lasts(&self, for_at_least: Duration) -> bool {
        u64::try_from(self.left_seconds).is_ok_and(|left| left >= for_at_least.as_secs())
    }
}

/// Those that kubeadm can renew here, the first to end first.
pub(crate) fn list(host: &dyn Host) -> Result<Vec<Certificate>, HostError> {
    read(&host.run(&["kubeadm", "certs", "check-expiration", "--output", "json"], QUICK)?)
}

fn read(text: &str) -> Result<Vec<Certificate>, HostError> {
    #[derive(Deserialize)]
    struct List {
        certificates: Vec<Certificate>,
    }
    // Before it, kubeadm may say where it read its configuration.
    let json = text.find('{').map_or(text, |at| &text[at..]);
    let list: List = serde_json::from_str(json).map_err(|e| HostError::Unexpected {
        what: "kubeadm certs check-expiration",
        expected: "JSON as kubeadm 1.31 and later write it",
        found: e.to_string(),
    })?;
    let mut found: Vec<Certificate> = list.certificates.into_iter().filter(|c| !c.missing && !c.is_foreign).collect();
    found.sort_by_key(|certificate| certificate.left_seconds);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_end_is_told_and_what_is_not_here_is_left_out() {
        let text = r#"[check-expiration] Reading configuration from the cluster...
            {"kind":"CertificateExpirationInfo","certificates":[
            {"name":"apiserver","expirationDate":"2027-11-28T08:00:00Z","residualTime":31536000,"caName":"ca"},
            {"name":"admin.conf","expirationDate":"2026-12-01T08:00:00Z","residualTime":259200,"caName":"ca"},
            {"name":"etcd-server","expirationDate":"2026-11-01T08:00:00Z","residualTime":-5,"externallyManaged":false},
            {"name":"super-admin.conf","expirationDate":null,"residualTime":0,"missing":true},
            {"name":"foreign","expirationDate":"2026-11-29T08:00:00Z","residualTime":1,"externallyManaged":true}]}"#;
        let found = read(text).unwrap();
        assert_eq!(
            found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
            ["etcd-server", "admin.conf", "apiserver"]
        );
        let day = Duration::from_secs(86_400);
        assert_eq!(found.iter().map(|c| c.lasts(4 * day)).collect::<Vec<_>>(), [false, false, true]);
        assert!(found[1].lasts(3 * day));
        assert!(read("").is_err() && read("{}").is_err());
    }
}
