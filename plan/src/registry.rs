//! Where the images of a registry are asked for, and with what: the file that containerd reads of each
//! (<https://github.com/containerd/containerd/blob/main/docs/hosts.md>), and the credentials as they lie in a file that
//! is sealed to one machine.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    form::host_and_port,
    id::{InvalidId, text_id},
};

/// Where containerd looks for what it asks of registries.
pub const FOLDER: &str = "/etc/containerd/certs.d";

/// The name of a registry's file in its folder.
pub const FILE: &str = "hosts.toml";

/// What every file of Hostler's begins with.
pub const HEAD: &str = "# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n";

/// What a file with credentials begins with: by it Hostler knows its own, and takes none of somebody else's away.
pub const SECRET_HEAD: &str = "# Written by hostler-agent with credentials that were sealed to this machine; changes \
                               here are undone by the next plan.\n";

text_id! {
    /// A registry as it stands in the names of images.
    RegistryName, "registry", "a host such as docker.io, with its port where it has one: registry.lab:5000",
    |t| {
        let host = host_and_port(t).map_or(t, |(host, _)| host);
        !t.starts_with('[') && t == t.to_ascii_lowercase() && crate::form::HostName::new(host).is_ok()
    }
}

text_id! {
    /// Where a registry or a mirror of it is asked. Who is asked with what does not stand in it.
    RegistryUrl, "address of a registry",
    "https://HOST or http://HOST, with a port and a path where it has them, without user, password, '?' and '#'",
    |t| {
        let rest = t.strip_prefix("https://").or_else(|| t.strip_prefix("http://"));
        t.len() <= 1024 && rest.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\@?#".contains(&b))
        })
    }
}

impl RegistryName {
    /// The folder of its file: containerd looks for a port between underscores.
    pub fn folder(&self) -> String {
        match self.as_str().rsplit_once(':') {
            Some((host, port)) => format!("{FOLDER}/{host}_{port}_"),
            None => format!("{FOLDER}/{self}"),
        }
    }

    /// Where the registry itself is asked.
    pub fn url(&self) -> RegistryUrl {
        let host = if self.as_str() == "docker.io" { "registry-1.docker.io" } else { self.as_str() };
        RegistryUrl::new(format!("https://{host}")).expect("a registry's name is a host")
    }
}

impl RegistryUrl {
    /// Whether what is sent there is read by nobody on the way.
    pub fn is_encrypted(&self) -> bool {
        self.as_str().starts_with("https://")
    }
}

/// Somebody who is asked for the images of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryHost {
    pub url: RegistryUrl,
    /// Whether it is judged by the authorities in `ca.crt` of the registry's folder, beside the machine's own.
    pub ca: bool,
    /// Whether it is asked with credentials.
    pub credentials: bool,
}

/// containerd's file for a registry. `hosts` are asked in this order, the registry itself last; `authorization` gives
/// what each is asked with.
pub fn hosts_file<'a>(
    registry: &RegistryName,
    hosts: &[RegistryHost],
    authorization: impl Fn(&RegistryHost) -> Option<&'a Authorization>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let ca = |host: &RegistryHost| match host.ca {
        true => format!("ca = {}\n", quoted(&format!("{}/ca.crt", registry.folder()))),
        false => String::new(),
    };
    let header = |table: &str, host: &RegistryHost| match authorization(host) {
        Some(Authorization(value)) => format!("\n[{table}header]\nAuthorization = {}\n", quoted(value)),
        None => String::new(),
    };
    let is_secret = hosts.iter().any(|host| authorization(host).is_some());
    let mut file = if is_secret { SECRET_HEAD } else { HEAD }.to_owned();
    let Some((server, mirrors)) = hosts.split_last() else { return file };
    file.push_str(&format!("server = {}\n{}{}", quoted(server.url.as_str()), ca(server), header("", server)));
    for mirror in mirrors {
        let url = quoted(mirror.url.as_str());
        let pulls = "capabilities = [\"pull\", \"resolve\"]\n";
        file.push_str(&format!("\n[host.{url}]\n{pulls}{}", ca(mirror)));
        file.push_str(&header(&format!("host.{url}."), mirror));
    }
    file
}

/// The value of the header with which somebody is asked: `Basic` with a user and a password, or `Bearer` with a token.
/// It is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authorization(String);

impl Authorization {
    /// Checks the form; what is wrong with it is told without it.
    pub fn new(value: String) -> Result<Self, InvalidAuthorization> {
        let proof = value.strip_prefix("Basic ").or_else(|| value.strip_prefix("Bearer "));
        let is_proof = |proof: &str| !proof.is_empty() && proof.bytes().all(is_of_token);
        if value.len() <= MAX_BYTES && proof.is_some_and(is_proof) {
            Ok(Self(value))
        } else {
            Err(InvalidAuthorization)
        }
    }
}

/// A header that servers take has far fewer.
const MAX_BYTES: usize = 16 << 10;

/// The characters of a token as RFC 7235 has them, and of base64.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// What is no value of the header. It is never repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `Basic` or `Bearer` and a token of at most {MAX_BYTES} letters, digits and `-._~+/=`")]
pub struct InvalidAuthorization;

impl TryFrom<String> for Authorization {
    type Error = InvalidAuthorization;
    fn try_from(value: String) -> Result<Self, InvalidAuthorization> {
        Self::new(value)
    }
}

impl From<Authorization> for String {
    fn from(Authorization(value): Authorization) -> String {
        value
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization of some bytes that are not shown")
    }
}

/// What a machine asks registries with: the content of the file that is sealed to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub credentials: Vec<Credential>,
}

/// What somebody is asked with for the images of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub registry: RegistryName,
    pub url: RegistryUrl,
    pub authorization: Authorization,
}

impl Credentials {
    /// What that one is asked with.
    pub fn of(&self, registry: &RegistryName, url: &RegistryUrl) -> Option<&Authorization> {
        let is_meant = |credential: &&Credential| credential.registry == *registry && credential.url == *url;
        self.credentials.iter().find(is_meant).map(|credential| &credential.authorization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str, ca: bool, credentials: bool) -> RegistryHost {
        RegistryHost { url: url.parse().unwrap(), ca, credentials }
    }

    /// Bytes by which other readers than ours would take a value for something else.
    const ODD: &str = "=+/.-_~09eE";

    #[test]
    fn containerd_reads_every_value_as_the_text_that_it_is() {
        let tokens = ["true", "1e9", "0x1F", "1979-05-27", "inf", "nan", "====", ODD, "a.b", "-1"];
        let registries = ["docker.io", "10.0.0.1:5000", "1.5", "true", "0x1f:443", "1979-05-27"];
        for (token, registry) in tokens.iter().flat_map(|token| registries.iter().map(move |r| (token, r))) {
            let registry = RegistryName::new(*registry).unwrap();
            let mirrors = ["https://1.5:80/a.b", "http://[::1]:5000", "https://m/%22]~$&*(),;=!"];
            let mut hosts: Vec<RegistryHost> = mirrors.iter().map(|url| host(url, true, true)).collect();
            hosts.push(RegistryHost { url: registry.url(), ca: true, credentials: true });
            let header = Authorization::new(format!("Bearer {token}")).unwrap();
            let text = hosts_file(&registry, &hosts, |_| Some(&header));
            let read: toml::Table = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let is_text = |table: &toml::Table, key: &str, value: &str| {
                assert_eq!(table[key].as_str(), Some(value), "{text}");
            };
            let (bearer, ca) = (format!("Bearer {token}"), format!("{}/ca.crt", registry.folder()));
            is_text(&read, "server", registry.url().as_str());
            is_text(&read, "ca", &ca);
            is_text(read["header"].as_table().unwrap(), "Authorization", &bearer);
            let mirrors_read = read["host"].as_table().unwrap();
            assert_eq!(mirrors_read.len(), mirrors.len());
            for mirror in mirrors {
                let table = mirrors_read[mirror].as_table().unwrap();
                is_text(table, "ca", &ca);
                is_text(table["header"].as_table().unwrap(), "Authorization", &bearer);
            }
            // containerd asks in the order of the tables.
            let at: Vec<usize> =
                mirrors.iter().map(|mirror| text.find(&format!("[host.\"{mirror}\"]")).unwrap()).collect();
            assert!(at.is_sorted(), "{text}");
        }
    }

    #[test]
    fn nobody_is_asked_with_what_is_meant_for_another() {
        let (hub, lab): (RegistryName, RegistryName) = ("docker.io".parse().unwrap(), "lab:5000".parse().unwrap());
        let header = |text: &str| Authorization::new(text.to_owned()).unwrap();
        let mirror: RegistryUrl = "https://m".parse().unwrap();
        let credential = |registry: &RegistryName, url: &RegistryUrl, text| Credential {
            registry: registry.clone(),
            url: url.clone(),
            authorization: header(text),
        };
        let all = Credentials {
            credentials: vec![credential(&hub, &mirror, "Basic aHVi"), credential(&lab, &lab.url(), "Bearer lab")],
        };
        let hosts = [host("https://m", false, true), host("https://registry-1.docker.io", false, false)];
        let text = hosts_file(&hub, &hosts, |host| all.of(&hub, &host.url));
        assert!(text.starts_with(SECRET_HEAD) && text.matches("Authorization").count() == 1, "{text}");
        let read: toml::Table = text.parse().unwrap();
        assert!(read.get("header").is_none() && read["host"]["https://m"]["header"].is_table(), "{text}");
        assert_eq!(all.of(&lab, &mirror), None);
        let plain = hosts_file(&hub, &hosts, |_| None);
        assert!(plain.starts_with(HEAD) && !plain.contains("header"), "{plain}");
    }

    #[test]
    fn a_port_is_looked_for_between_underscores() {
        let folder = |name: &str| RegistryName::new(name).unwrap().folder();
        assert_eq!(folder("docker.io"), "/etc/containerd/certs.d/docker.io");
        assert_eq!(folder("registry.lab:5000"), "/etc/containerd/certs.d/registry.lab_5000_");
        for wrong in
            ["", "https://docker.io", "docker.io/library", "a:b", "[::1]:5000", "a..b/../c", "Docker.io", "a:0"]
        {
            assert!(RegistryName::new(wrong).is_err(), "{wrong}");
        }
        for wrong in ["https://", "ftp://m", "m", "https://u:p@m", "https://m?a", "https://m\"", "https://m\n"] {
            assert!(RegistryUrl::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_header_is_not_repeated_and_what_is_one_not_shown() {
        for wrong in
            ["Basic", "Basic ", "basic abc", "Bearer a b", "Bearer a\nX: y", "Digest abc", "Basic p\"w", "hunter2"]
        {
            let error = Authorization::new(wrong.to_owned()).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("p\"w"), "{error}");
        }
        let shown = format!("{:?}", Authorization::new("Bearer hunter2".to_owned()).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
