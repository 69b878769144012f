//! Programs that run as units of their own on a simulated machine, kubeadm first of all: each goes through phases, and
//! can be cut off in any of them.

use std::collections::VecDeque;

use hostler_plan::{id::NodeName, step::ClusterRole, version::Version};
use serde_json::Value;

use super::super::{K3sError, Millis, World};

/// A program that was started as a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub purpose: String,
    pub arguments: Vec<String>,
    pub state: RunState,
    phases: VecDeque<Phase>,
    /// When the first of them does what it does.
    at: Millis,
    said: String,
}

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    Running,
    /// The exit code, or the signal that ended it; and what it printed.
    Ended {
        code: Option<i32>,
        output: String,
    },
}

/// What kubeadm does, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A program that is done at once.
    AtOnce,
    InitPreflight,
    Certs,
    Kubeconfigs,
    StaticPods,
    InitKubelet,
    AwaitControlPlane,
    UploadConfig,
    LabelServer,
    BootstrapToken,
    FinalizeKubelet,
    Addons,
    JoinPreflight,
    /// A server's certificates and manifests, but for etcd's.
    PrepareServer,
    JoinKubelet,
    AwaitCertificate,
    AddMember,
    PromoteMember,
    UpgradePreflight,
    /// A component by its place in the order of upgrades.
    Upgrade(usize),
    UpgradeConfig,
    UpgradeKubelet,
    UpgradeAddons,
    /// Phases of `init` that are run alone.
    Certify,
    Configure(usize),
    KubeletStart,
    Proxy,
}

/// What became of a phase.
pub(super) enum Acted {
    Done,
    /// It waits, and this is what it says when that takes too long.
    Waits(String),
    Failed(String),
}

impl Phase {
    /// From the end of the one before until it does what it does.
    fn takes(self) -> Millis {
        match self {
            Phase::InitPreflight | Phase::JoinPreflight => 1_000,
            Phase::UpgradePreflight => 6_000,
            Phase::Upgrade(_) => 2_000,
            Phase::AtOnce => 1_000,
            Phase::Certs
            | Phase::Kubeconfigs
            | Phase::StaticPods
            | Phase::InitKubelet
            | Phase::AwaitControlPlane
            | Phase::UploadConfig
            | Phase::LabelServer
            | Phase::BootstrapToken
            | Phase::FinalizeKubelet
            | Phase::Addons
            | Phase::PrepareServer
            | Phase::JoinKubelet
            | Phase::AwaitCertificate
            | Phase::AddMember
            | Phase::PromoteMember
            | Phase::UpgradeConfig
            | Phase::UpgradeKubelet
            | Phase::UpgradeAddons
            | Phase::Certify
            | Phase::Configure(_)
            | Phase::KubeletStart
            | Phase::Proxy => 500,
        }
    }

    /// How long it waits at most (the time limits of the configuration that Hostler writes).
    const fn limit() -> Millis {
        300_000
    }
}

impl Run {
    /// Ends it by SIGKILL; whether it ran.
    pub(super) fn kill(&mut self) -> bool {
        let runs = self.state == RunState::Running;
        if runs {
            self.state = RunState::Ended { code: None, output: std::mem::take(&mut self.said) };
        }
        runs
    }

    /// The phase that it is in; none when it ended.
    pub fn phase(&self) -> Option<Phase> {
        self.phases.front().copied().filter(|_| self.state == RunState::Running)
    }
}

/// The phases of a command of kubeadm, with the machine's role and the role that it joins as.
fn phases(arguments: &[String], is_server: bool, joins_as: ClusterRole) -> Option<VecDeque<Phase>> {
    use Phase::*;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let components = || (0..super::COMPONENTS.len()).map(Upgrade);
    Some(match words.as_slice() {
        ["kubeadm", "init", "phase", "certs", "apiserver", ..] => [Certify].into(),
        ["kubeadm", "init", "phase", "upload-config", "all", ..] => [UploadConfig].into(),
        ["kubeadm", "init", "phase", "addon", "kube-proxy", ..] => [Proxy].into(),
        ["kubeadm", "init", "phase", "kubelet-start", ..] => [KubeletStart].into(),
        ["kubeadm", "init", "phase", "etcd", "local", ..] => [Configure(0)].into(),
        ["kubeadm", "init", "phase", "control-plane", component, ..] => {
            let named = |known: &&str| known.strip_prefix("kube-") == Some(component);
            [Configure(super::COMPONENTS.iter().position(named)?)].into()
        }
        ["kubeadm", "init", "phase", ..] => return None,
        ["kubeadm", "init", ..] => [
            InitPreflight,
            Certs,
            Kubeconfigs,
            StaticPods,
            InitKubelet,
            AwaitControlPlane,
            UploadConfig,
            LabelServer,
            BootstrapToken,
            FinalizeKubelet,
            Addons,
        ]
        .into(),
        ["kubeadm", "join", ..] if joins_as == ClusterRole::Server => {
            [JoinPreflight, PrepareServer, JoinKubelet, AwaitCertificate, AddMember, PromoteMember, LabelServer].into()
        }
        ["kubeadm", "join", ..] => [JoinPreflight, JoinKubelet, AwaitCertificate].into(),
        ["kubeadm", "upgrade", "apply", ..] => std::iter::once(UpgradePreflight)
            .chain(components())
            .chain([UpgradeConfig, UpgradeKubelet, UpgradeAddons])
            .collect(),
        ["kubeadm", "upgrade", "node", ..] if is_server => {
            std::iter::once(UpgradePreflight).chain(components()).chain([UpgradeKubelet, UpgradeAddons]).collect()
        }
        ["kubeadm", "upgrade", "node", ..] => [UpgradeKubelet].into(),
        ["kubeadm", ..] => return None,
        _ => [AtOnce].into(),
    })
}

impl World {
    /// Starts a program as a unit.
    pub fn start_run(
        &mut self,
        name: &NodeName,
        unit: &str,
        purpose: &str,
        arguments: &[String],
    ) -> Result<(), K3sError> {
        let config = self.run_config(name);
        let joins_as = match config.iter().any(|doc| !doc["controlPlane"].is_null()) {
            true => ClusterRole::Server,
            false => ClusterRole::Worker,
        };
        let now = self.now;
        let machine = self.machine(name)?;
        if machine.kubeadm.runs.contains_key(unit) {
            return Err(K3sError::Usage { found: format!("a second {unit}") });
        }
        let program = arguments.first().map_or("", String::as_str);
        if program == "kubeadm" {
            machine
                .program_version("kubeadm")
                .ok_or_else(|| K3sError::Missing { what: format!("program {program}") })?;
        }
        let is_server = machine.kubeadm_role() == Some(ClusterRole::Server);
        let phases =
            phases(arguments, is_server, joins_as).ok_or_else(|| K3sError::Usage { found: arguments.join(" ") })?;
        let at = now + phases.front().map_or(0, |phase| phase.takes());
        let (purpose, arguments, state) = (purpose.to_owned(), arguments.to_vec(), RunState::Running);
        let run = Run { purpose, arguments, state, phases, at, said: String::new() };
        self.machine_mut(name)?.kubeadm.runs.insert(unit.to_owned(), run);
        Ok(())
    }

    /// What kubeadm reads: JSON documents, as the executor writes them.
    pub(super) fn run_config(&self, name: &NodeName) -> Vec<Value> {
        let text = self.machines.get(name).and_then(|machine| machine.text("/run/hostler/kubeadm.yaml")).unwrap_or("");
        text.split("\n---\n").filter_map(|document| serde_json::from_str(document).ok()).collect()
    }

    /// What the programs of all machines do in one moment.
    pub(in super::super) fn go_on_with_runs(&mut self) {
        let names: Vec<(NodeName, String)> = self
            .machines
            .values()
            .filter(|machine| machine.is_up())
            .flat_map(|machine| machine.kubeadm.runs.keys().map(|unit| (machine.name.clone(), unit.clone())))
            .collect();
        for (name, unit) in names {
            self.go_on_with(&name, &unit);
        }
    }

    fn go_on_with(&mut self, name: &NodeName, unit: &str) {
        let now = self.now;
        let Some(run) = self.machines.get(name).and_then(|machine| machine.kubeadm.runs.get(unit)) else { return };
        let Some(phase) = run.phase().filter(|_| now >= run.at) else { return };
        let (since, arguments) = (run.at, run.arguments.clone());
        let acted = self.act(name, phase, &arguments);
        let Some(run) = self.machines.get_mut(name).and_then(|machine| machine.kubeadm.runs.get_mut(unit)) else {
            return;
        };
        match acted {
            Acted::Done => {
                run.phases.pop_front();
                run.said += &format!("[{phase:?}] done\n");
                match run.phases.front() {
                    Some(next) => run.at = now + next.takes(),
                    None => run.state = RunState::Ended { code: Some(0), output: std::mem::take(&mut run.said) },
                }
            }
            Acted::Waits(why) if now >= since + Phase::limit() => {
                run.state = RunState::Ended { code: Some(1), output: format!("{}{why}\n", run.said) };
            }
            Acted::Waits(_) => {}
            Acted::Failed(why) => {
                run.state = RunState::Ended { code: Some(1), output: format!("{}{why}\n", run.said) };
            }
        }
    }

    fn act(&mut self, name: &NodeName, phase: Phase, arguments: &[String]) -> Acted {
        let config = self.run_config(name);
        match phase {
            Phase::AtOnce => match self.run(name, &arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
                Ok(_) => Acted::Done,
                Err(error) => Acted::Failed(error.to_string()),
            },
            Phase::InitPreflight | Phase::JoinPreflight => self.preflight(name, phase, &config),
            Phase::Certs => self.certs(name, &config),
            Phase::Kubeconfigs => self.kubeconfigs(name, &config),
            Phase::StaticPods => self.static_pods(name, &config),
            Phase::InitKubelet | Phase::KubeletStart => self.start_kubelet_by(name, &config),
            Phase::AwaitControlPlane => self.await_control_plane(name),
            Phase::UploadConfig => self.upload_config(&config),
            Phase::LabelServer => self.label_server(name),
            Phase::BootstrapToken => self.bootstrap_token(&config),
            Phase::FinalizeKubelet => self.finalize_kubelet(name),
            Phase::Addons => self.addons(&config),
            Phase::PrepareServer => self.prepare_server(name, &config),
            Phase::JoinKubelet => self.join_kubelet(name, &config),
            Phase::AwaitCertificate => self.await_certificate(name),
            Phase::AddMember => self.add_member(name),
            Phase::PromoteMember => self.promote_member(name),
            Phase::UpgradePreflight => self.upgrade_preflight(name, &config),
            Phase::Upgrade(at) => self.upgrade_component(name, at),
            Phase::UpgradeConfig => self.upgrade_config(name),
            Phase::UpgradeKubelet => self.upgrade_kubelet(name),
            Phase::UpgradeAddons => self.upgrade_addons(),
            Phase::Certify => self.certify(name, &config),
            Phase::Configure(at) => self.configure_component(name, super::COMPONENTS[at], &config),
            Phase::Proxy => {
                self.put_proxy(&config);
                Acted::Done
            }
        }
    }

    /// The version of the program kubeadm on a machine.
    pub(super) fn kubeadm_version(&self, name: &NodeName) -> Option<Version> {
        self.machines.get(name)?.program_version("kubeadm")
    }
}

/// The document of that kind.
pub(super) fn kind<'a>(config: &'a [Value], kind: &str) -> &'a Value {
    config.iter().find(|document| document["kind"] == kind).unwrap_or(&Value::Null)
}
