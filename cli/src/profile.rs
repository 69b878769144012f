//! What the command knows before it asks anybody: `HOME/config.toml`, then `HOSTLER_*` variables, then flags.

use std::path::{Path, PathBuf};

use hostler_daemon::durable::{self, PUBLIC};
use hostler_plan::written;
use hostler_proto::tls::SOCKET_SCHEME;
use serde::{Deserialize, Serialize};

use crate::{error::Error, key::KeySource, person::Person, rescue::Rescue};

/// The settings after all three sources were merged.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Holds `config.toml`, `trust/` and what is kept beside them.
    pub home: PathBuf,
    /// `host:port` of the admins' listener, or `unix:///path` of its socket.
    pub coordinator: Option<String>,
    /// The fleet file.
    pub fleet: Option<PathBuf>,
    /// How to find the signing key.
    pub key: KeySource,
}

/// What flags say; each wins over everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub home: Option<PathBuf>,
    pub coordinator: Option<String>,
    pub key: Option<PathBuf>,
    pub fleet: Option<PathBuf>,
}

/// `config.toml` as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<PathBuf>,
}

/// Why there is no usable profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error(
        "cannot find a place for the profile: neither HOSTLER_HOME, XDG_CONFIG_HOME nor HOME is set; use --home DIR"
    )]
    NoHome,
    #[error("cannot read {path}: {source}; check its owner and the disk, or use --home DIR")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}; make the directory writable or use --home DIR")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path}: {found}; expected the keys coordinator, key and fleet, each a text; correct the file")]
    Form { path: PathBuf, found: String },
    #[error(
        "environment variable {name} is unknown; expected one of {expected}; unset or correct it",
        expected = VARIABLES.join(", ")
    )]
    Variable { name: String },
    #[error("no coordinator is known; name it with --coordinator ADDRESS, HOSTLER_COORDINATOR or in {config}")]
    NoCoordinator { config: PathBuf },
    #[error(
        "coordinator address expected host:port or unix:///path, found {found:?}; name the port of the admins' \
            listener, or its socket"
    )]
    Address { found: String },
    #[error("no fleet file is known; name it with --fleet FILE, HOSTLER_FLEET or in {config}")]
    NoFleet { config: PathBuf },
}

/// The variables that are read; another one that begins with `HOSTLER_` is a typing mistake.
pub const VARIABLES: [&str; 5] =
    ["HOSTLER_HOME", "HOSTLER_COORDINATOR", "HOSTLER_KEY", "HOSTLER_FLEET", "HOSTLER_KEY_PASSPHRASE_FILE"];

/// What the daemons' own variables begin with; a developer has them beside ours.
const DAEMONS: [&str; 3] = ["HOSTLER_COORDINATOR_", "HOSTLER_AGENT_", "HOSTLER_EXECUTOR_"];

/// Key files that are tried without being named, in this order; the same that ssh tries, of the types that count.
const USUAL_KEYS: [&str; 2] = ["id_ed25519", "id_ecdsa"];

impl ProfileError {
    /// Whether the command line was incomplete, rather than something having failed.
    pub fn is_usage(&self) -> bool {
        match self {
            ProfileError::NoHome
            | ProfileError::Variable { .. }
            | ProfileError::NoCoordinator { .. }
            | ProfileError::Address { .. }
            | ProfileError::NoFleet { .. } => true,
            ProfileError::Read { .. } | ProfileError::Write { .. } | ProfileError::Form { .. } => false,
        }
    }
}

impl Profile {
    /// Merges the sources. `environment` is every variable of the process.
    pub fn load(flags: Flags, environment: &[(String, String)]) -> Result<Self, Error> {
        Self::load_for(flags, environment, &Rescue::default())
    }

    /// The same for a rescue, which does without a file that is damaged: flags and variables can name everything.
    pub fn load_for(flags: Flags, environment: &[(String, String)], rescue: &Rescue) -> Result<Self, Error> {
        let unknown = |name: &&String| {
            name.starts_with("HOSTLER_")
                && !DAEMONS.iter().any(|d| name.starts_with(d))
                && !VARIABLES.contains(&name.as_str())
        };
        if let Some(name) = environment.iter().map(|(name, _)| name).find(unknown) {
            return Err(ProfileError::Variable { name: name.clone() }.into());
        }
        let variable = |wanted: &str| {
            environment.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.clone())
        };
        let path = |wanted: &str| variable(wanted).map(PathBuf::from);
        let home = flags
            .home
            .or_else(|| path("HOSTLER_HOME"))
            .or_else(|| path("XDG_CONFIG_HOME").map(|d| d.join("hostler")))
            .or_else(|| path("HOME").map(|d| d.join(".config/hostler")))
            .ok_or(ProfileError::NoHome)?;
        let file = rescue.pass_over(ConfigFile::read(&home).map_err(Error::from))?.unwrap_or_default();
        let ssh = path("HOME").map(|d| d.join(".ssh"));
        Ok(Self {
            coordinator: flags.coordinator.or_else(|| variable("HOSTLER_COORDINATOR")).or(file.coordinator),
            fleet: flags.fleet.or_else(|| path("HOSTLER_FLEET")).or(file.fleet),
            key: KeySource {
                path: flags.key.or_else(|| path("HOSTLER_KEY")).or(file.key),
                passphrase_file: path("HOSTLER_KEY_PASSPHRASE_FILE"),
                agent_socket: path("SSH_AUTH_SOCK"),
                held: Some(home.join("trust")),
                usual: ssh.iter().flat_map(|d| USUAL_KEYS.map(|k| d.join(k))).collect(),
                person: Person::default(),
            },
            home,
        })
    }

    /// Where the coordinator is, in the form `host:port` or `unix:///path`.
    pub fn coordinator(&self) -> Result<&str, ProfileError> {
        let address =
            self.coordinator.as_deref().ok_or_else(|| ProfileError::NoCoordinator { config: self.config() })?;
        check_address(address)?;
        Ok(address)
    }

    /// Where `hostler artifact lock` keeps what it downloaded and took out of archives, each under its digest.
    pub fn kept_artifacts(&self) -> PathBuf {
        self.home.join("artifacts")
    }

    /// Where the fleet file is.
    pub fn fleet(&self) -> Result<&Path, ProfileError> {
        self.fleet.as_deref().ok_or_else(|| ProfileError::NoFleet { config: self.config() })
    }

    /// `HOME/config.toml`.
    pub fn config(&self) -> PathBuf {
        self.home.join("config.toml")
    }

    /// Writes `config.toml` unless there is one, so that later commands need no flags. Says whether it was written.
    pub fn remember(&self) -> Result<bool, ProfileError> {
        let path = self.config();
        if path.exists() {
            return Ok(false);
        }
        let absolute = |p: &PathBuf| std::path::absolute(p).unwrap_or_else(|_| p.clone());
        let file = ConfigFile {
            coordinator: self.coordinator.clone(),
            key: self.key.path.as_ref().map(absolute),
            fleet: self.fleet.as_ref().map(absolute),
        };
        let text =
            toml::to_string(&file).map_err(|e| ProfileError::Form { path: path.clone(), found: e.to_string() })?;
        let failed = |source| ProfileError::Write { path: path.clone(), source };
        std::fs::create_dir_all(&self.home).map_err(failed)?;
        durable::replace(&path, text.as_bytes(), PUBLIC).map_err(failed)?;
        Ok(true)
    }
}

impl ConfigFile {
    fn read(home: &Path) -> Result<Self, ProfileError> {
        let path = home.join("config.toml");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let text = written::read(&bytes).map_err(|e| e.to_string());
                text.and_then(|text| toml::from_str(&text).map_err(|e| e.to_string()))
                    .map_err(|found| ProfileError::Form { path, found: found.trim_end().replace('\n', " ") })
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ProfileError::Read { path, source }),
        }
    }
}

/// Whether a text is `host:port`, where the host may be `[::1]`, or `unix:///path`.
pub fn check_address(address: &str) -> Result<(), ProfileError> {
    if address.strip_prefix(SOCKET_SCHEME).is_some_and(|path| Path::new(path).is_absolute()) {
        return Ok(());
    }
    let valid = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && port.parse::<u16>().is_ok_and(|p| p > 0)
            && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
            && !host.contains('/')
    });
    if valid { Ok(()) } else { Err(ProfileError::Address { found: address.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn flags_win_over_variables_and_those_over_the_file() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("config.toml"), "coordinator = \"file:1\"\nfleet = \"from-file.toml\"\n")
            .expect("written");
        let home_text = home.path().to_str().expect("text");
        let environment = variables(&[("HOSTLER_HOME", home_text), ("HOSTLER_COORDINATOR", "variable:2")]);
        let profile = Profile::load(Flags::default(), &environment).expect("valid");
        assert_eq!(profile.coordinator().expect("known"), "variable:2");
        assert_eq!(profile.fleet().expect("known"), Path::new("from-file.toml"));
        let flags = Flags { coordinator: Some("flag:3".into()), ..Flags::default() };
        assert_eq!(Profile::load(flags, &environment).expect("valid").coordinator().expect("known"), "flag:3");
    }

    #[test]
    fn typing_mistakes_are_named() {
        let home = tempfile::tempdir().expect("a directory");
        let flags = || Flags { home: Some(home.path().to_owned()), ..Flags::default() };
        let error = Profile::load(flags(), &variables(&[("HOSTLER_COORDINATER", "a:1")])).expect_err("unknown");
        assert!(error.to_string().contains("HOSTLER_COORDINATER"), "{error}");
        std::fs::write(home.path().join("config.toml"), "coordinater = \"a:1\"\n").expect("written");
        let error = Profile::load(flags(), &[]).expect_err("unknown");
        assert!(error.to_string().contains("coordinater"), "{error}");
        for bad in ["host", "host:", ":1", "host:0", "http://host:1", "::1:7443", "host:70000", "unix://", "unix://a/b"]
        {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        for good in ["host:7443", "10.0.0.1:1", "[::1]:7443", "unix:///run/a.sock"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
    }
}
