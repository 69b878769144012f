//! Settings in three steps: fragments as written, merged, then checked and typed.
//!
//! A file, then every `*.toml` of the folder `<file>.d` in order of name, then `HOSTLER_COORDINATOR_*` of the
//! environment; later ones win. A key that is not known is an error that names the key and where it stands.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

use crate::ca::NODE_LIFETIME;

/// Where the file is looked for when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/hostler/coordinator.toml";
/// Where everything is kept when nobody says otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/hostler/coordinator";
/// What stands in front of a setting in the environment, such as `HOSTLER_COORDINATOR_DATA_DIR`.
pub const ENVIRONMENT_PREFIX: &str = "HOSTLER_COORDINATOR";

/// Every ten seconds a report: the freshness that dashboards expect, at a few hundred bytes each.
const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Faster than once a second costs a small node more than it tells; slower than five minutes looks like silence.
const REPORT_INTERVAL_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;

/// How a coordinator runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where nodes without a certificate enrol.
    pub enrolment_listen: SocketAddr,
    /// Where nodes with a certificate hold their stream.
    pub agent_listen: SocketAddr,
    /// Where admins log in.
    pub admin_listen: SocketAddr,
    /// Where `/metrics` is served without TLS; nowhere unless set.
    pub metrics_listen: Option<SocketAddr>,
    /// The host name or address that nodes and join strings use. The listen address where that names one host.
    pub advertised_host: Option<String>,
    /// The folder of the ledger, keys, artifacts and index. Only one coordinator uses it at a time.
    pub data_dir: PathBuf,
    /// How often a node reports its facts.
    pub report_interval: Duration,
    /// How long a node's certificate lives. No key of a file sets it: shorter ones are for tests of what runs out.
    pub node_certificate_lifetime: Duration,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file or the environment holds something that is not a setting.
    #[error("settings in {place}: {reason}; see hostler-coordinator(8) for the keys")]
    Fragment { place: String, reason: String },
    /// A value is no good.
    #[error("setting {key}: expected {expected}, found {found:?}; correct it in {place}")]
    Value { key: &'static str, expected: &'static str, found: String, place: String },
    /// The file that was asked for cannot be read.
    #[error("cannot read the settings file {file}: {reason}; name another with --config")]
    File { file: PathBuf, reason: String },
}

/// Settings as one place writes them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    enrolment_listen: Option<String>,
    agent_listen: Option<String>,
    admin_listen: Option<String>,
    metrics_listen: Option<String>,
    advertised_host: Option<String>,
    data_dir: Option<PathBuf>,
    report_interval_seconds: Option<u64>,
}

impl Settings {
    /// The settings of a coordinator that keeps everything in `data_dir` and listens on loopback with ports of the
    /// kernel's choice.
    pub fn on_loopback(data_dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            enrolment_listen: any,
            agent_listen: any,
            admin_listen: any,
            metrics_listen: None,
            advertised_host: None,
            data_dir: data_dir.into(),
            report_interval: DEFAULT_REPORT_INTERVAL,
            node_certificate_lifetime: NODE_LIFETIME,
        }
    }

    /// Reads `file`, its drop-in folder and `environment`. Without `file`, [`DEFAULT_FILE`] is read where it exists.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut merged = Merged::default();
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        if file.is_some() || path.exists() {
            merged.add_file(path)?;
        }
        for drop_in in drop_ins(path)? {
            merged.add_file(&drop_in)?;
        }
        merged.add_environment(environment)?;
        merged.settle()
    }
}

/// The files of `<file>.d` that end in `.toml`, sorted by name. No folder is no drop-ins.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".d");
    let folder = PathBuf::from(folder);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(SettingsError::File { file: folder, reason: e.to_string() }),
    };
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    Ok(files)
}

/// Fragments laid over each other, each value with the place it came from.
#[derive(Debug, Default)]
struct Merged {
    fragment: Fragment,
    places: BTreeMap<&'static str, String>,
}

impl Merged {
    fn add_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| SettingsError::File { file: path.to_owned(), reason: e.to_string() })?;
        let source = Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build();
        self.add(source, &path.display().to_string())
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), SettingsError> {
        let ours = environment.into_iter().filter(|(key, _)| key.starts_with(ENVIRONMENT_PREFIX)).collect();
        let source = Environment::with_prefix(ENVIRONMENT_PREFIX).try_parsing(true).source(Some(ours));
        let place = format!("the environment ({ENVIRONMENT_PREFIX}_*)");
        self.add(Config::builder().add_source(source).build(), &place)
    }

    fn add(&mut self, source: Result<Config, config::ConfigError>, place: &str) -> Result<(), SettingsError> {
        let wrong = |e: config::ConfigError| SettingsError::Fragment { place: place.to_owned(), reason: e.to_string() };
        let added: Fragment = source.map_err(wrong)?.try_deserialize().map_err(wrong)?;
        let Fragment {
            enrolment_listen,
            agent_listen,
            admin_listen,
            metrics_listen,
            advertised_host,
            data_dir,
            report_interval_seconds,
        } = added;
        let places = &mut self.places;
        let mut note = |key, is_there: bool| {
            if is_there {
                places.insert(key, place.to_owned());
            }
        };
        let to = &mut self.fragment;
        note("enrolment_listen", lay(&mut to.enrolment_listen, enrolment_listen));
        note("agent_listen", lay(&mut to.agent_listen, agent_listen));
        note("admin_listen", lay(&mut to.admin_listen, admin_listen));
        note("metrics_listen", lay(&mut to.metrics_listen, metrics_listen));
        note("advertised_host", lay(&mut to.advertised_host, advertised_host));
        note("data_dir", lay(&mut to.data_dir, data_dir));
        note("report_interval_seconds", lay(&mut to.report_interval_seconds, report_interval_seconds));
        Ok(())
    }

    fn settle(self) -> Result<Settings, SettingsError> {
        let Self { fragment, places } = self;
        let value = |key: &'static str, expected: &'static str, found: String| SettingsError::Value {
            key,
            expected,
            found,
            place: places.get(key).cloned().unwrap_or_default(),
        };
        let address = |key, text: Option<String>, default: u16| match text {
            None => Ok(SocketAddr::from(([0, 0, 0, 0], default))),
            Some(text) => text.parse().map_err(|_| value(key, "an address and port such as 0.0.0.0:7443", text)),
        };
        let metrics_listen = match fragment.metrics_listen {
            None => None,
            text => Some(address("metrics_listen", text, 0)?),
        };
        if let Some(host) = &fragment.advertised_host
            && (host.is_empty() || host.len() > 253 || host.contains(|c: char| c.is_whitespace() || c == '/'))
        {
            return Err(value("advertised_host", "a host name or an address without a port", host.clone()));
        }
        let report_interval = match fragment.report_interval_seconds {
            None => DEFAULT_REPORT_INTERVAL,
            Some(seconds) if REPORT_INTERVAL_SECONDS.contains(&seconds) => Duration::from_secs(seconds),
            Some(other) => return Err(value("report_interval_seconds", "1 to 300 seconds", other.to_string())),
        };
        Ok(Settings {
            enrolment_listen: address("enrolment_listen", fragment.enrolment_listen, 7443)?,
            agent_listen: address("agent_listen", fragment.agent_listen, 7444)?,
            admin_listen: address("admin_listen", fragment.admin_listen, 7445)?,
            metrics_listen,
            advertised_host: fragment.advertised_host,
            data_dir: fragment.data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            report_interval,
            node_certificate_lifetime: NODE_LIFETIME,
        })
    }
}

/// Puts a value over another where there is one, and says whether there was.
fn lay<T>(under: &mut Option<T>, over: Option<T>) -> bool {
    let is_there = over.is_some();
    if is_there {
        *under = over;
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &Path, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::load(Some(file), environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn later_places_win_and_defaults_fill_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("coordinator.toml");
        std::fs::write(&file, "data_dir = \"/a\"\nreport_interval_seconds = 20\nagent_listen = \"127.0.0.1:1\"\n")
            .unwrap();
        std::fs::create_dir(folder.path().join("coordinator.toml.d")).unwrap();
        std::fs::write(folder.path().join("coordinator.toml.d/10.toml"), "data_dir = \"/b\"\n").unwrap();
        std::fs::write(folder.path().join("coordinator.toml.d/20.toml"), "agent_listen = \"127.0.0.1:2\"\n").unwrap();
        std::fs::write(folder.path().join("coordinator.toml.d/note.txt"), "not = \"read\"\n").unwrap();
        let settings = load(
            &file,
            &[("HOSTLER_COORDINATOR_REPORT_INTERVAL_SECONDS", "30"), ("HOSTLER_OTHER", "x"), ("PATH", "y")],
        )
        .unwrap();
        assert_eq!(settings.data_dir, Path::new("/b"));
        assert_eq!(settings.agent_listen.port(), 2);
        assert_eq!(settings.report_interval, Duration::from_secs(30));
        assert_eq!(settings.enrolment_listen, SocketAddr::from(([0, 0, 0, 0], 7443)));
        assert_eq!(settings.metrics_listen, None);
    }

    #[test]
    fn an_unknown_key_names_itself_and_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "data_dir = \"/a\"\n").unwrap();
        std::fs::create_dir(folder.path().join("c.toml.d")).unwrap();
        std::fs::write(folder.path().join("c.toml.d/x.toml"), "dta_dir = \"/b\"\n").unwrap();
        let error = load(&file, &[]).unwrap_err().to_string();
        assert!(error.contains("dta_dir") && error.contains("c.toml.d/x.toml"), "{error}");
        std::fs::remove_file(folder.path().join("c.toml.d/x.toml")).unwrap();
        let error = load(&file, &[("HOSTLER_COORDINATOR_COLOUR", "red")]).unwrap_err().to_string();
        assert!(error.contains("colour") && error.contains("environment"), "{error}");
    }

    #[test]
    fn a_bad_value_says_where_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        for (text, key) in [
            ("agent_listen = \"7444\"", "agent_listen"),
            ("report_interval_seconds = 0", "report_interval_seconds"),
            ("advertised_host = \"a b\"", "advertised_host"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = load(&file, &[]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("c.toml"), "{error}");
        }
        std::fs::write(&file, "agent_listen = ").unwrap();
        assert!(load(&file, &[]).unwrap_err().to_string().contains("c.toml"));
        assert!(load(Path::new("/nonexistent/c.toml"), &[]).unwrap_err().to_string().contains("--config"));
    }
}
