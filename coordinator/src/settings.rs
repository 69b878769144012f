//! Settings in three steps: fragments as written, merged, then checked and typed.
//!
//! A file, then every `*.toml` of the folder `<file>.d` in order of name, then `HOSTLER_COORDINATOR_*` of the
//! environment; later ones win. A key that is not known is an error that names the key and where it stands.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use hostler_daemon::settings::SettingsError;
use hostler_daemon::settings::{Places, Written};
use hostler_plan::{
    health::{DEFAULT_REPORT_INTERVAL, REPORT_INTERVAL_SECONDS},
    written,
};
use serde::Deserialize;

use crate::{grpc::ca::NODE_LIFETIME, limits::Limits};

/// Where the settings stand: `HOSTLER_COORDINATOR_DATA_DIR` and its like win.
const PLACES: Places = Places {
    file: "/etc/hostler/coordinator.toml",
    prefix: "HOSTLER_COORDINATOR",
    text: |bytes| written::read(bytes).map_err(|e| e.to_string()),
};
/// Where everything is kept when nobody says otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/hostler/coordinator";

/// Two nodes at the pace at which a node gives a download up (64 KiB a minute), sixty times over.
const LEAST_BYTES_PER_SECOND: u64 = 128 << 10;
const DAY: Duration = Duration::from_secs(86_400);
/// Whoever goes on with a rollout does so within a month, or uploads again.
const DEFAULT_ARTIFACT_DAYS: u32 = 30;
const ARTIFACT_DAYS: std::ops::RangeInclusive<u32> = 1..=3650;

/// How a coordinator runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where nodes without a certificate enrol.
    pub enrolment_listen: SocketAddr,
    /// Where nodes with a certificate hold their stream.
    pub agent_listen: SocketAddr,
    /// Where admins log in.
    pub admin_listen: SocketAddr,
    /// A Unix socket where admins of this machine log in, with places of its own; none unless set.
    pub admin_socket: Option<PathBuf>,
    /// Where `/metrics` is served without TLS; nowhere unless set.
    pub metrics_listen: Option<SocketAddr>,
    /// The host name or address that nodes and join strings use. The listen address where that names one host.
    pub advertised_host: Option<String>,
    /// The folder of the ledger, keys, artifacts and index. Only one coordinator uses it at a time.
    pub data_dir: PathBuf,
    /// How often a node reports its facts.
    pub report_interval: Duration,
    /// Bytes a second that downloads of artifacts take at most, all nodes together; none for as fast as it goes.
    pub artifact_bytes_per_second: Option<u64>,
    /// How long an artifact stays that no plan needs.
    pub artifact_keep: Duration,
    /// How long a node's certificate lives. No key of a file sets it: shorter ones are for tests of what runs out.
    pub node_certificate_lifetime: Duration,
    /// How many may be connected, and how long without a word. No key of a file sets them: smaller ones are for tests.
    pub limits: Limits,
}

/// Settings as files and variables write them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    enrolment_listen: Option<String>,
    agent_listen: Option<String>,
    admin_listen: Option<String>,
    admin_socket: Option<PathBuf>,
    metrics_listen: Option<String>,
    advertised_host: Option<String>,
    data_dir: Option<PathBuf>,
    report_interval_seconds: Option<u64>,
    artifact_bytes_per_second: Option<u64>,
    artifact_days: Option<u64>,
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
            admin_socket: None,
            metrics_listen: None,
            advertised_host: None,
            data_dir: data_dir.into(),
            report_interval: DEFAULT_REPORT_INTERVAL,
            artifact_bytes_per_second: None,
            artifact_keep: DEFAULT_ARTIFACT_DAYS * DAY,
            node_certificate_lifetime: NODE_LIFETIME,
            limits: Limits::default(),
        }
    }

    /// Reads `file`, or the usual one where it exists, its drop-in folder, and `environment`.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Self, SettingsError> {
        PLACES.read(file, environment).and_then(validate)
    }
}

fn validate(written: Written<Keys>) -> Result<Settings, SettingsError> {
    let keys = &written.values;
    let address = |key, text: &Option<String>, default: u16| match text {
        None => Ok(SocketAddr::from(([0, 0, 0, 0], default))),
        Some(text) => text.parse().map_err(|_| written.wrong(key, "an address and port such as 0.0.0.0:7443", text)),
    };
    let metrics_listen = match &keys.metrics_listen {
        None => None,
        text => Some(address("metrics_listen", text, 0)?),
    };
    if let Some(host) = &keys.advertised_host
        && (host.is_empty() || host.len() > 253 || host.contains(|c: char| c.is_whitespace() || c == '/'))
    {
        return Err(written.wrong("advertised_host", "a host name or an address without a port", host));
    }
    if let Some(path) = keys.admin_socket.as_ref().filter(|path| !path.is_absolute()) {
        return Err(written.wrong("admin_socket", "an absolute path", path.display().to_string()));
    }
    let report_interval = written.seconds(
        "report_interval_seconds",
        keys.report_interval_seconds,
        REPORT_INTERVAL_SECONDS,
        DEFAULT_REPORT_INTERVAL,
    )?;
    let artifact_bytes_per_second = keys.artifact_bytes_per_second;
    if let Some(rate) = artifact_bytes_per_second.filter(|rate| *rate < LEAST_BYTES_PER_SECOND) {
        let expected = format!("at least {LEAST_BYTES_PER_SECOND} bytes a second");
        return Err(written.wrong("artifact_bytes_per_second", expected, rate));
    }
    let days = keys.artifact_days.map(u32::try_from).unwrap_or(Ok(DEFAULT_ARTIFACT_DAYS));
    let Some(days) = days.ok().filter(|days| ARTIFACT_DAYS.contains(days)) else {
        let found = keys.artifact_days.unwrap_or_default();
        let expected = format!("{} to {} days", ARTIFACT_DAYS.start(), ARTIFACT_DAYS.end());
        return Err(written.wrong("artifact_days", expected, found));
    };
    let artifact_keep = days * DAY;
    Ok(Settings {
        enrolment_listen: address("enrolment_listen", &keys.enrolment_listen, 7443)?,
        agent_listen: address("agent_listen", &keys.agent_listen, 7444)?,
        admin_listen: address("admin_listen", &keys.admin_listen, 7445)?,
        admin_socket: keys.admin_socket.clone(),
        metrics_listen,
        advertised_host: keys.advertised_host.clone(),
        data_dir: keys.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
        report_interval,
        artifact_bytes_per_second,
        artifact_keep,
        node_certificate_lifetime: NODE_LIFETIME,
        limits: Limits::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("coordinator.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(Some(&file), environment.iter().copied())
    }

    #[test]
    fn values_are_taken_and_defaults_fill_the_rest() {
        let text = "data_dir = \"/a\"\nreport_interval_seconds = 20\nagent_listen = \"127.0.0.1:2\"\n";
        let settings = load(text, &[("HOSTLER_COORDINATOR_REPORT_INTERVAL_SECONDS", "30")]).unwrap();
        assert_eq!(settings.data_dir, Path::new("/a"));
        assert_eq!(settings.agent_listen.port(), 2);
        assert_eq!(settings.report_interval, Duration::from_secs(30));
        assert_eq!(settings.enrolment_listen, SocketAddr::from(([0, 0, 0, 0], 7443)));
        assert_eq!(settings.metrics_listen, None);
    }

    #[test]
    fn a_bad_value_says_where_it_stands() {
        for (text, key) in [
            ("agent_listen = \"7444\"", "agent_listen"),
            ("metrics_listen = \"here\"", "metrics_listen"),
            ("admin_socket = \"admin.sock\"", "admin_socket"),
            ("report_interval_seconds = 0", "report_interval_seconds"),
            ("report_interval_seconds = 31", "report_interval_seconds"),
            ("artifact_bytes_per_second = 1000", "artifact_bytes_per_second"),
            ("artifact_days = 0", "artifact_days"),
            ("artifact_days = 4294967297", "artifact_days"),
            ("advertised_host = \"a b\"", "advertised_host"),
            ("dta_dir = \"/b\"", "dta_dir"),
        ] {
            let error = load(text, &[]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("coordinator.toml"), "{error}");
        }
    }
}
