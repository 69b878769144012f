//! Thresholds that a fleet file may change per node group.

use super::Rule;
use super::condition::{Condition, Confirm};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Units of the distributions that may fail without the node being less well. Each runs once and ends (oneshot),
/// nothing is ordered behind its success, and what it may tell of is judged by a rule of its own or is no matter of
/// the node: news, keys and lists from a server that did not answer, an index, a check of the installation medium, the
/// console's font, and waiting for an interface that nobody uses (`network` judges the one with the default route).
pub const HARMLESS_UNITS: [&str; 28] = [
    "NetworkManager-wait-online.service",
    "apport-autoreport.service",
    "apt-daily-upgrade.service",
    "apt-daily.service",
    "apt-news.service",
    "archlinux-keyring-wkd-sync.service",
    "casper-md5check.service",
    "console-setup.service",
    "dnf-makecache.service",
    "dnf5-makecache.service",
    "dpkg-db-backup.service",
    "esm-cache.service",
    "fwupd-refresh.service",
    "ifupdown-wait-online.service",
    "keyboard-setup.service",
    "man-db.service",
    "mlocate-updatedb.service",
    "motd-news.service",
    "plocate-updatedb.service",
    "pollinate.service",
    "pve-daily-update.service",
    "rpi-eeprom-update.service",
    "systemd-networkd-wait-online.service",
    "systemd-networkd-wait-online@.service",
    "ua-timer.service",
    "update-notifier-download.service",
    "update-notifier-motd.service",
    "updatedb.service",
];

/// What a group of nodes judges differently. Empty is the table's defaults.
///
/// ```toml
/// off = ["disk_filling"]
/// optional = ["clock"]
/// ignore_units = ["motd-news.service"]
/// [limits.pi_hot]
/// raise = 78
/// clear = 72
/// hold_seconds = 60
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Rules that are not judged at all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub off: BTreeSet<Rule>,
    /// Required rules that are optional here: not knowing them does not make the node unknown.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub optional: BTreeSet<Rule>,
    /// Failed units that do not matter, instead of [`HARMLESS_UNITS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_units: Option<BTreeSet<String>>,
    /// Other numbers for single conditions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Condition, Adjustment>,
}

/// Other numbers for one condition; what is left out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adjustment {
    /// Bad from here on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raise: Option<f64>,
    /// Good again from here on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear: Option<f64>,
    /// How long it must be bad, instead of the table's hold or samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u32>,
    /// How long it must be good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_seconds: Option<u32>,
}

/// The numbers that hold for one observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limit {
    pub(super) raise: f64,
    pub(super) clear: f64,
    pub(super) confirm: Confirm,
    pub(super) clear_seconds: u32,
}

/// Why thresholds cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// Clear stands on the bad side of raise: the rule would be raised and cleared at once.
    #[error(
        "health limit {condition:?}: clear {clear} stands on the bad side of raise {raise}; \
         a rule that is bad above its limit needs clear <= raise, one that is bad below needs clear >= raise"
    )]
    Order { condition: Condition, raise: f64, clear: f64 },
    /// A number that is not finite.
    #[error("health limit {0:?}: raise and clear must be finite numbers")]
    NotFinite(Condition),
}

impl Thresholds {
    /// Whether a failed unit does not matter; `NAME@.service` stands for each of its instances. Units of Kubernetes are
    /// judged by themselves, whatever is listed.
    pub fn ignores(&self, unit: &str) -> bool {
        let is_listed = |unit: &str| match &self.ignore_units {
            Some(units) => units.contains(unit),
            None => HARMLESS_UNITS.contains(&unit),
        };
        let template = unit.split_once('@').zip(unit.rsplit_once('.'));
        is_listed(unit) || template.is_some_and(|((name, _), (_, kind))| is_listed(&format!("{name}@.{kind}")))
    }

    /// Checks every changed limit together with the defaults that stay.
    pub fn check(&self) -> Result<(), ThresholdError> {
        for condition in self.limits.keys().copied() {
            let limit = self.limit(condition, None, None);
            if !limit.raise.is_finite() || !limit.clear.is_finite() {
                return Err(ThresholdError::NotFinite(condition));
            }
            let ordered = match condition.row().side {
                super::condition::Side::Above => limit.clear <= limit.raise,
                // A hair below is the table's form of "equal".
                super::condition::Side::Below => limit.clear >= limit.raise * 0.999,
            };
            if !ordered {
                return Err(ThresholdError::Order { condition, raise: limit.raise, clear: limit.clear });
            }
        }
        Ok(())
    }

    /// The numbers for a condition: the table's, then those that the hardware itself reports, then the fleet file's.
    pub(super) fn limit(&self, condition: Condition, raise: Option<f64>, clear: Option<f64>) -> Limit {
        let row = condition.row();
        let change = self.limits.get(&condition).copied().unwrap_or_default();
        Limit {
            raise: change.raise.or(raise).unwrap_or(row.raise),
            clear: change.clear.or(clear).unwrap_or(row.clear),
            confirm: change.hold_seconds.map_or(row.confirm, Confirm::Seconds),
            clear_seconds: change.clear_seconds.unwrap_or(row.clear_seconds),
        }
    }
}

/// Why a `health` table of a fleet file cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TableError {
    /// An unknown rule, condition or key, or a value of another type.
    #[error("health: {0}; the names are those of `docs/facts.md`")]
    Form(String),
    /// Numbers that do not fit together.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
}

impl Thresholds {
    /// Reads and checks the `health` table of a node group in the fleet file.
    pub fn from_table(table: &toml::Table) -> Result<Self, TableError> {
        let thresholds: Thresholds =
            table.clone().try_into().map_err(|error: toml::de::Error| TableError::Form(error.message().to_owned()))?;
        thresholds.check()?;
        Ok(thresholds)
    }
}
