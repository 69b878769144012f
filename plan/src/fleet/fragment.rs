//! Fleet files as they were written, and put together.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::{Spanned, de::DeTable};

use super::{
    balancer::BalancerFragment,
    keys,
    kubeadm::KubeadmFragment,
    machine::MachineFragment,
    maintenance::MaintenanceFragment,
    node::NodeFragment,
    problem::{At, FleetError, Location, Problem},
    snapshots::SnapshotsFragment,
};
use crate::step::{EmptyDirs, NewOwners};

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    name: Option<Spanned<String>>,
    distribution: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    api: Option<Spanned<String>>,
    #[serde(default)]
    policy: PolicyFragment,
    #[serde(default)]
    nodes: Vec<Spanned<NodeFragment>>,
    #[serde(default)]
    artifacts: Vec<Spanned<ArtifactFragment>>,
    #[serde(default)]
    groups: BTreeMap<String, Spanned<GroupFragment>>,
    machine: Option<Spanned<MachineFragment>>,
    kubeadm: Option<Spanned<KubeadmFragment>>,
    snapshots: Option<Spanned<SnapshotsFragment>>,
    maintenance: Option<Spanned<MaintenanceFragment>>,
    handover: Option<Spanned<HandoverFragment>>,
    balancer: Option<Spanned<BalancerFragment>>,
}

/// What the new cluster is left to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandoverFragment {
    pub manifest: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFragment {
    max_unavailable: Option<Spanned<i64>>,
    canary: Option<Spanned<toml::Value>>,
    soak_seconds: Option<Spanned<i64>>,
    drain_timeout_seconds: Option<Spanned<i64>>,
    ready_timeout_seconds: Option<Spanned<i64>>,
    lease_seconds: Option<Spanned<i64>>,
    plan_lifetime_seconds: Option<Spanned<i64>>,
    #[serde(default, deserialize_with = "empty_dirs")]
    delete_empty_dir_data: Option<EmptyDirs>,
    force_unmanaged: Option<bool>,
    new_owners: Option<NewOwners>,
    #[serde(default)]
    drain: ReactionsFragment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReactionsFragment {
    never: Option<Spanned<toml::Value>>,
    slow: Option<Spanned<toml::Value>>,
    unreachable: Option<Spanned<toml::Value>>,
    taken_over: Option<Spanned<toml::Value>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArtifactFragment {
    pub name: String,
    pub kind: Option<String>,
    pub package: Option<String>,
    pub version: Option<String>,
    pub kubernetes: Option<String>,
    pub arch: Option<String>,
    pub role: Option<String>,
    pub to: Option<String>,
    pub path: Option<String>,
    pub url: Option<String>,
    pub member: Option<String>,
    pub sha256: String,
    pub size: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFragment {
    pub health: Option<toml::Table>,
    pub machine: Option<MachineFragment>,
    pub maintenance: Option<MaintenanceFragment>,
}

/// One of its words; a file of before says whether.
fn empty_dirs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EmptyDirs>, D::Error> {
    let written = toml::Value::deserialize(deserializer)?;
    if let Some(whether) = written.as_bool() {
        return Ok(Some(if whether { EmptyDirs::All } else { EmptyDirs::None }));
    }
    let word = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
    word.parse().map(Some).map_err(D::Error::custom)
}

/// All files together.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// The beginning of the first file: where what is missing is to be written.
    pub top: Location,
    pub name: Option<At<String>>,
    pub distribution: Option<At<String>>,
    pub version: Option<At<String>>,
    pub api: Option<At<String>>,
    pub max_unavailable: Option<At<i64>>,
    pub canary: Option<At<toml::Value>>,
    pub soak_seconds: Option<At<i64>>,
    pub drain_timeout_seconds: Option<At<i64>>,
    pub ready_timeout_seconds: Option<At<i64>>,
    pub lease_seconds: Option<At<i64>>,
    pub plan_lifetime_seconds: Option<At<i64>>,
    pub delete_empty_dir_data: Option<EmptyDirs>,
    pub force_unmanaged: Option<bool>,
    pub new_owners: Option<NewOwners>,
    pub never: Option<At<toml::Value>>,
    pub slow: Option<At<toml::Value>>,
    pub unreachable: Option<At<toml::Value>>,
    pub taken_over: Option<At<toml::Value>>,
    pub nodes: Vec<At<NodeFragment>>,
    pub artifacts: Vec<At<ArtifactFragment>>,
    pub groups: BTreeMap<String, At<GroupFragment>>,
    pub machine: Option<At<MachineFragment>>,
    pub kubeadm: Option<At<KubeadmFragment>>,
    pub snapshots: Option<At<SnapshotsFragment>>,
    pub maintenance: Option<At<MaintenanceFragment>>,
    pub handover: Option<At<HandoverFragment>>,
    pub balancer: Option<At<BalancerFragment>>,
}

/// Reads every file and puts them together; later ones over earlier ones.
pub(super) fn read(files: &[(&str, &str)]) -> Result<Merged, FleetError> {
    together(files.iter().map(|(file, text)| (*file, *text, keys::unknown as Unknown)))
}

/// Reads a fleet file and its lock, which may hold artifacts alone.
pub(super) fn read_with_lock(file: (&str, &str), lock: (&str, &str)) -> Result<Merged, FleetError> {
    together([(file.0, file.1, keys::unknown as Unknown), (lock.0, lock.1, keys::unknown_in_lock)].into_iter())
}

/// Finds the keys of a file, by its name and text, that it may not have.
type Unknown = fn(&str, &str, &DeTable<'_>) -> Vec<Problem>;

fn together<'f>(files: impl Iterator<Item = (&'f str, &'f str, Unknown)>) -> Result<Merged, FleetError> {
    let mut files = files.peekable();
    let top = Location::of(files.peek().map_or("the fleet file", |(file, ..)| file), "", 0);
    let mut merged = Merged { top, ..Merged::default() };
    let mut problems = Vec::new();
    for (file, text, unknown) in files {
        match parse(file, text, unknown) {
            Ok(fragment) => merged.add(file, text, fragment),
            Err(FleetError(more)) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(merged) } else { Err(FleetError(problems)) }
}

/// What a reader of TOML expected, in the words of people who write it.
fn plain(message: &str) -> String {
    let mut message = message.replace('\n', ", ");
    for (word, instead) in [
        ("expected i64", "expected a whole number"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected a text in quotes"),
        ("expected a sequence", "expected a list in [ ]"),
        ("expected a map", "expected a table"),
    ] {
        message = message.replace(word, instead);
    }
    message
}

fn parse(file: &str, text: &str, unknown: Unknown) -> Result<Fragment, FleetError> {
    let foreign = |e: &toml::de::Error| {
        let location = Location::of(file, text, e.span().map_or(0, |span| span.start));
        let message = format!("{}; see docs/fleet-file.md", plain(e.message()));
        FleetError(vec![Problem { location, message }])
    };
    let document = DeTable::parse(text).map_err(|e| foreign(&e))?;
    let unknown = unknown(file, text, document.get_ref());
    if !unknown.is_empty() {
        return Err(FleetError(unknown));
    }
    toml::from_str(text).map_err(|e| foreign(&e))
}

impl Merged {
    fn add(&mut self, file: &str, text: &str, new: Fragment) {
        fn put<T>(slot: &mut Option<At<T>>, file: &str, text: &str, value: Option<Spanned<T>>) {
            if let Some(value) = value {
                *slot = Some(at(file, text, value));
            }
        }
        put(&mut self.name, file, text, new.name);
        put(&mut self.distribution, file, text, new.distribution);
        put(&mut self.version, file, text, new.version);
        put(&mut self.api, file, text, new.api);
        let policy = new.policy;
        put(&mut self.max_unavailable, file, text, policy.max_unavailable);
        put(&mut self.canary, file, text, policy.canary);
        put(&mut self.soak_seconds, file, text, policy.soak_seconds);
        put(&mut self.drain_timeout_seconds, file, text, policy.drain_timeout_seconds);
        put(&mut self.ready_timeout_seconds, file, text, policy.ready_timeout_seconds);
        put(&mut self.lease_seconds, file, text, policy.lease_seconds);
        put(&mut self.plan_lifetime_seconds, file, text, policy.plan_lifetime_seconds);
        put(&mut self.never, file, text, policy.drain.never);
        put(&mut self.slow, file, text, policy.drain.slow);
        put(&mut self.unreachable, file, text, policy.drain.unreachable);
        put(&mut self.taken_over, file, text, policy.drain.taken_over);
        self.delete_empty_dir_data = policy.delete_empty_dir_data.or(self.delete_empty_dir_data);
        self.force_unmanaged = policy.force_unmanaged.or(self.force_unmanaged);
        self.new_owners = policy.new_owners.or(self.new_owners);
        self.nodes.extend(new.nodes.into_iter().map(|n| at(file, text, n)));
        self.artifacts.extend(new.artifacts.into_iter().map(|a| at(file, text, a)));
        self.groups.extend(new.groups.into_iter().map(|(name, group)| (name, at(file, text, group))));
        put(&mut self.machine, file, text, new.machine);
        put(&mut self.kubeadm, file, text, new.kubeadm);
        put(&mut self.snapshots, file, text, new.snapshots);
        put(&mut self.maintenance, file, text, new.maintenance);
        put(&mut self.handover, file, text, new.handover);
        put(&mut self.balancer, file, text, new.balancer);
    }
}

fn at<T>(file: &str, text: &str, value: Spanned<T>) -> At<T> {
    let location = Location::of(file, text, value.span().start);
    At { value: value.into_inner(), location }
}
