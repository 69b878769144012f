//! The fleet that the demo plays with: the admin's file, with simulated binaries and shorter waits.

use std::{collections::BTreeSet, path::Path};

use anyhow::Context as _;
use hostler_plan::{
    distribution::Distribution,
    fleet::{ArtifactKind, Fleet, FleetArtifact, Source},
    form::FilePath,
    id::{Arch, ArtifactName, Digest, NodeName},
    step::{ClusterRole, EmptyDirs},
    version::{Build, Version},
};

use crate::world::k3s_binary;

/// What the demo plays when nobody names a file: eight Raspberry Pi 5.
const PI_RACK: &str = include_str!("../../../examples/pi-rack.toml");

/// Where the same file stands in a clone.
const PI_RACK_PATH: &str = "examples/pi-rack.toml";

/// How long a supply must be weak before the node is critical, and good before it is not: 15 minutes by default.
pub(super) const SUPPLY_HOLD_SECONDS: u32 = 1;
pub(super) const SUPPLY_CLEAR_SECONDS: u32 = 2;

/// How long a node must stay no worse after its work. The coordinator watches that by its own clock, which the demo
/// does not make faster.
pub(super) const SOAK_SECONDS: u64 = 1;

/// A fleet ready to be played.
#[derive(Debug)]
pub(super) struct DemoFleet {
    /// As the planner gets it.
    pub fleet: Fleet,
    /// The soak of the file, before the demo made it shorter.
    pub soak_seconds: u64,
    /// The file it came from.
    pub source: String,
    pub from: Version,
    pub to: Version,
    /// The file's text, for the coordinator: it judges the hardware by it.
    pub text: String,
    /// The simulated K3s of both versions, for every processor of the fleet.
    pub binaries: Vec<(FleetArtifact, Vec<u8>)>,
}

impl DemoFleet {
    /// Reads the fleet file and makes what the demo changes about it.
    ///
    /// With a node that is to have a weak supply, its group's rules about the supply react within seconds.
    pub(super) fn read(file: Option<&Path>, weak_supply: Option<&NodeName>) -> anyhow::Result<Self> {
        let (source, mut text) = match file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read the fleet file {}", file.display()))?;
                (file.display().to_string(), text)
            }
            None => match std::fs::read_to_string(PI_RACK_PATH) {
                Ok(text) => (PI_RACK_PATH.to_owned(), text),
                Err(_) => ("the built-in examples/pi-rack.toml".to_owned(), PI_RACK.to_owned()),
            },
        };
        let (mut fleet, _) = Fleet::from_toml(&[(&source, &text)])?;
        if fleet.distribution != Distribution::K3s {
            anyhow::bail!(
                "{source}: the demo simulates K3s, found {}; name a K3s fleet with --fleet",
                fleet.distribution
            );
        }
        let servers = fleet.servers().len();
        if let Some(host) = fleet.nodes.iter().find(|node| node.role == ClusterRole::Host) {
            anyhow::bail!(
                "{source}: the demo has no machines outside the cluster, found the host {}; leave it out",
                host.name
            );
        }
        if servers != 1 || fleet.nodes.len() < 4 || fleet.nodes.len() > 64 {
            anyhow::bail!(
                "{source}: the demo needs one server and 3 to 63 workers, found {servers} and {}; name another file \
                 with --fleet",
                fleet.nodes.len() - servers
            );
        }
        if let Some(node) = weak_supply {
            text += &quick_supply_rules(&source, &fleet, node)?;
            (fleet, _) = Fleet::from_toml(&[(&source, &text)])?;
        }
        let soak_seconds = fleet.policy.soak_seconds;
        let from = fleet.version;
        let to = Version {
            patch: from.patch + 1,
            build: Some(Build { distribution: Distribution::K3s, revision: 1 }),
            ..from
        };
        let binaries = binaries(&fleet, [from, to])?;
        fleet.policy.soak_seconds = fleet.policy.soak_seconds.min(SOAK_SECONDS);
        if fleet.policy.delete_empty_dir_data == EmptyDirs::None {
            // The demo's own pods keep caches in emptyDirs.
            fleet.policy.delete_empty_dir_data = EmptyDirs::All;
        }
        fleet.artifacts = binaries.iter().map(|(artifact, _)| artifact.clone()).collect();
        Ok(Self { fleet, soak_seconds, source, from, to, text, binaries })
    }
}

/// The fleet file's own way of changing thresholds, for the conditions that a weak supply raises.
fn quick_supply_rules(source: &str, fleet: &Fleet, node: &NodeName) -> anyhow::Result<String> {
    let found =
        fleet.node(node).with_context(|| format!("{source}: expected a node {node} for --undervoltage, found none"))?;
    if found.arch != Arch::Aarch64 {
        anyhow::bail!(
            "{source}: expected {node} to be a Raspberry Pi (aarch64) for --undervoltage, found {}",
            found.arch
        );
    }
    let group = found.group.as_ref().with_context(|| {
        format!(
            "{source}: expected {node} to be in a group, whose rules --undervoltage makes quicker; add group = \"NAME\""
        )
    })?;
    let conditions = ["under_voltage", "under_voltage_often", "supply_too_low", "input_low", "input_too_low"];
    let rules = conditions.map(|condition| {
        format!(
            "\n[groups.{group}.health.limits.{condition}]\nhold_seconds = {SUPPLY_HOLD_SECONDS}\nclear_seconds = \
             {SUPPLY_CLEAR_SECONDS}\n"
        )
    });
    Ok(rules.concat())
}

fn binaries(fleet: &Fleet, versions: [Version; 2]) -> anyhow::Result<Vec<(FleetArtifact, Vec<u8>)>> {
    let archs: BTreeSet<Arch> = fleet.nodes.iter().map(|node| node.arch).collect();
    let mut binaries = Vec::new();
    for version in versions {
        for arch in &archs {
            let content = k3s_binary(version, *arch);
            let artifact = FleetArtifact {
                name: ArtifactName::new("k3s")?,
                kind: ArtifactKind::Program { to: FilePath::new("/usr/local/bin/k3s")? },
                version: Some(version.to_string()),
                kubernetes: Some(version),
                arch: Some(*arch),
                role: None,
                member: None,
                source: Source::Path(format!("k3s-{version}-{arch}")),
                sha256: Digest::of(&content),
                size: content.len() as u64,
            };
            binaries.push((artifact, content));
        }
    }
    Ok(binaries)
}
