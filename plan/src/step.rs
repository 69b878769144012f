//! What a node can be asked to do. A closed list of typed operations: there is no shell string anywhere.
//!
//! The list is below; each family of steps has a file of its own, with a struct per step and what it says of itself.

pub mod cluster;
pub mod configure;
mod consent;
pub mod etcd;
mod host;
pub mod k3s;
mod kube;
pub mod kubeadm;
pub mod machine;
pub mod registry;
pub mod restore;
pub mod update;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    health::Rule,
    id::{ArtifactName, NodeName, TaskId},
    version::Version,
};

pub use consent::{Consent, Loss, NewOwners, TopOwner, Whose};
pub use host::{
    CurrentUnit, EnsureFile, EnsureHost, EnsureImages, EnsureModule, EnsurePackage, EnsureProgram, EnsureSysctl,
    EnsureUnit, HoldPackage, InstallPackage, Noop, Reboot, StageArtifact, SwapOff, UnitState,
};
pub use kube::{
    AdoptCordon, Apply, AwaitReady, Cordon, Drain, EmptyDirs, MAX_CONSENTS, NoRemovedApis, OutOfService, Reaction,
    Reactions, ReleaseCordon, RemoveNode, Uncordon,
};

/// Makes the enum and what goes through all of it from the one list of steps.
macro_rules! steps {
    ($($op:literal => $step:ident($of:ty),)*) => {
        /// One typed, idempotent operation of a task: the node checks whether it is already so, applies it, and
        /// verifies by asking the machine. `kube.*` steps act on the task's subject through the local API server of the
        /// task's node; all others act on the task's node itself.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "op")]
        pub enum Step {
            $(#[doc = concat!("`", $op, "`")] #[serde(rename = $op)] $step($of),)*
        }

        impl Step {
            /// The name of every operation, as documents write it.
            pub const OPS: &[&str] = &[$($op),*];

            /// The operation's name as documents write it.
            pub fn op(&self) -> &'static str {
                match self { $(Step::$step(_) => $op,)* }
            }

            fn operation(&self) -> &dyn Operation {
                match self { $(Step::$step(step) => step,)* }
            }
        }
    };
}

steps! {
    "host.noop" => Noop(Noop),
    "artifact.stage" => StageArtifact(StageArtifact),
    "file.ensure" => EnsureFile(EnsureFile),
    "module.ensure" => EnsureModule(EnsureModule),
    "sysctl.ensure" => EnsureSysctl(EnsureSysctl),
    "package.ensure" => EnsurePackage(EnsurePackage),
    "systemd.ensure" => EnsureUnit(EnsureUnit),
    "systemd.current" => CurrentUnit(CurrentUnit),
    "program.ensure" => EnsureProgram(EnsureProgram),
    "image.ensure" => EnsureImages(EnsureImages),
    "package.install" => InstallPackage(InstallPackage),
    "package.hold" => HoldPackage(HoldPackage),
    "swap.off" => SwapOff(SwapOff),
    "hosts.ensure" => EnsureHost(EnsureHost),
    "kernel.arguments" => KernelArguments(machine::KernelArguments),
    "kernel.boot" => BootKernel(machine::BootKernel),
    "cloud_init.fence" => FenceCloudInit(machine::FenceCloudInit),
    "iscsi.initiator" => NamedInitiator(machine::NamedInitiator),
    "network.lasts" => LastingNetwork(machine::LastingNetwork),
    "sshd.set" => SetSshd(machine::SetSshd),
    "registry.ensure" => EnsureRegistry(registry::Ensure),
    "registry.forget" => ForgetRegistries(registry::Forget),
    "k3s.bootstrap" => BootstrapK3s(k3s::Bootstrap),
    "k3s.admit" => AdmitToK3s(k3s::Admit),
    "k3s.join" => JoinK3s(k3s::Join),
    "k3s.upgrade" => UpgradeK3s(k3s::Upgrade),
    "kubeadm.bootstrap" => BootstrapKubeadm(kubeadm::Bootstrap),
    "kubeadm.admit" => AdmitToKubeadm(kubeadm::Admit),
    "kubeadm.join" => JoinKubeadm(kubeadm::Join),
    "kubeadm.revoke" => RevokeKubeadm(kubeadm::Revoke),
    "kubeadm.upgrade" => UpgradeKubeadm(kubeadm::Upgrade),
    "kubelet.ensure" => EnsureKubelet(kubeadm::EnsureKubelet),
    "kubeadm.expel" => ExpelFromKubeadm(kubeadm::Expel),
    "kubeadm.reset" => ResetKubeadm(kubeadm::Reset),
    "kubeadm.reach" => ReachKubeadm(configure::Reach),
    "kubeadm.certify" => CertifyKubeadm(configure::Certify),
    "kubeadm.configure" => ConfigureKubeadm(configure::Configure),
    "kubelet.configure" => ConfigureKubelet(configure::ConfigureKubelet),
    "kube.describe" => Describe(configure::Describe),
    "etcd.snapshot" => SnapshotEtcd(etcd::Snapshot),
    "cluster.read" => ReadCluster(cluster::Read),
    "apt.read" => ReadUpdates(update::Read),
    "apt.install" => InstallUpdates(update::Install),
    "kernel.runs" => RunsKernel(update::RunsKernel),
    "etcd.receive" => ReceiveEtcd(restore::Receive),
    "etcd.stop" => StopEtcd(restore::Stop),
    "etcd.restore" => RestoreEtcd(restore::Restore),
    "etcd.start" => StartEtcd(restore::Start),
    "etcd.seed" => SeedEtcd(restore::Seed),
    "kubeadm.bare" => BareOfKubeadm(restore::Bare),
    "kube.forget_nodes" => ForgetNodes(restore::Forget),
    "kube.cordon" => Cordon(Cordon),
    "kube.drain" => Drain(Drain),
    "kube.uncordon" => Uncordon(Uncordon),
    "kube.adopt_cordon" => AdoptCordon(AdoptCordon),
    "kube.release_cordon" => ReleaseCordon(ReleaseCordon),
    "kube.out_of_service" => OutOfService(OutOfService),
    "kubeadm.renew" => RenewKubeadm(kubeadm::Renew),
    "kube.remove_node" => RemoveNode(RemoveNode),
    "kube.apply" => Apply(Apply),
    "kube.no_removed_apis" => NoRemovedApis(NoRemovedApis),
    "kube.await_ready" => AwaitReady(AwaitReady),
    "host.reboot" => Reboot(Reboot),
}

impl Step {
    /// The artifact that must be in the plan for this step.
    pub fn artifact(&self) -> Option<&ArtifactName> {
        self.operation().artifact()
    }

    /// Whether the step does something about the task's subject; all others act on the task's own node, and people who
    /// sign a task about one node must not reboot another with it.
    pub fn acts_on_subject(&self) -> bool {
        self.operation().acts_on_subject()
    }

    /// Whether it only waits for the subject's health or puts it back into service.
    pub fn puts_back(&self) -> bool {
        matches!(self, Step::Noop(_) | Step::AwaitReady(_) | Step::Uncordon(_))
    }

    /// Whether it makes the machine ready and does nothing else: neither to the cluster nor to who is in it.
    pub fn readies_machine(&self) -> bool {
        matches!(
            self,
            Step::StageArtifact(_)
                | Step::EnsureFile(_)
                | Step::EnsureModule(_)
                | Step::EnsureSysctl(_)
                | Step::EnsurePackage(_)
                | Step::EnsureUnit(_)
                | Step::CurrentUnit(_)
                | Step::EnsureProgram(_)
                | Step::EnsureImages(_)
                | Step::InstallPackage(_)
                | Step::HoldPackage(_)
                | Step::SwapOff(_)
                | Step::EnsureHost(_)
                | Step::KernelArguments(_)
                | Step::FenceCloudInit(_)
                | Step::NamedInitiator(_)
                | Step::LastingNetwork(_)
                | Step::SetSshd(_)
                | Step::EnsureRegistry(_)
                | Step::ForgetRegistries(_)
        )
    }

    /// Whether it may reboot the machine that it is on.
    pub fn reboots(&self) -> bool {
        matches!(self, Step::Reboot(_) | Step::BootKernel(_))
    }

    /// What of a node's health is no reason to wait with it, because it is the cure.
    pub fn cures(&self) -> Option<Rule> {
        matches!(self, Step::RenewKubeadm(_)).then_some(Rule::Certificate)
    }

    /// Whether it takes a node out of its cluster for good.
    pub fn takes_away(&self) -> bool {
        matches!(self, Step::OutOfService(_) | Step::ExpelFromKubeadm(_) | Step::ResetKubeadm(_) | Step::RemoveNode(_))
    }

    /// Whether it reads something for who signed it: its answer is all that it does.
    pub fn only_reads(&self) -> bool {
        matches!(self, Step::ReadCluster(_) | Step::ReadUpdates(_))
    }

    /// Whether it belongs to an update of a machine's system, and to nothing else.
    pub fn updates(&self) -> bool {
        matches!(self, Step::InstallUpdates(_) | Step::RunsKernel(_))
    }

    /// Whether it takes a snapshot of etcd.
    pub fn takes_snapshot(&self) -> bool {
        matches!(self, Step::SnapshotEtcd(_) | Step::UpgradeKubeadm(_))
    }

    /// Whether it brings etcd back from a snapshot where it is.
    pub fn restores(&self) -> bool {
        matches!(self, Step::ReceiveEtcd(_) | Step::StopEtcd(_) | Step::RestoreEtcd(_) | Step::StartEtcd(_))
    }

    /// Whether it goes on with a restore for which etcd has stopped on a server.
    pub fn ends_restore(&self) -> bool {
        matches!(self, Step::StopEtcd(_) | Step::RestoreEtcd(_) | Step::StartEtcd(_))
    }

    /// Whether it belongs to a cluster that is made anew on bare machines.
    pub fn rebuilds(&self) -> bool {
        matches!(self, Step::SeedEtcd(_) | Step::BareOfKubeadm(_) | Step::ForgetNodes(_))
    }

    /// Whether it compares a running cluster's settings with those of the plan, by the machine that it is on.
    pub fn configures(&self) -> bool {
        matches!(
            self,
            Step::ReachKubeadm(_) | Step::CertifyKubeadm(_) | Step::ConfigureKubeadm(_) | Step::ConfigureKubelet(_)
        )
    }

    /// The version for which it writes settings of the fleet file on a node.
    pub fn settles(&self) -> Option<Version> {
        if let Step::ConfigureKubeadm(step) = self {
            return Some(step.version);
        }
        if let Step::ConfigureKubelet(step) = self { Some(step.version) } else { None }
    }

    /// How many snapshots stay and for how many days, where it says that.
    pub fn keeps_snapshots(&self) -> Option<(u32, u32)> {
        if let Step::SnapshotEtcd(step) = self { Some((step.keep, step.days)) } else { None }
    }

    /// The version that a member of the cluster is brought to.
    pub fn upgrades_to(&self) -> Option<Version> {
        self.operation().upgrades_to()
    }

    /// The task whose receipt holds what lets the task's node into the cluster.
    pub fn admitted_by(&self) -> Option<&TaskId> {
        self.operation().admitted_by()
    }

    /// The task that removed the task's node from its cluster before the node is emptied.
    pub fn expelled_by(&self) -> Option<&TaskId> {
        self.operation().expelled_by()
    }

    /// The version that the subject must be seen to run.
    pub fn awaits_version(&self) -> Option<Version> {
        self.operation().awaits_version()
    }

    /// Whether it leaves the subject unschedulable (`Some(true)`), schedulable (`Some(false)`) or as it was.
    pub fn leaves_unschedulable(&self) -> Option<bool> {
        self.operation().leaves_unschedulable()
    }

    /// All that it says, for who signs it: a line, and more of them for what does not fit into one.
    pub fn said(&self) -> Vec<String> {
        let operation = self.operation();
        let first = match operation.said() {
            nothing if nothing.is_empty() => self.op().to_owned(),
            said => format!("{} {said}", self.op()),
        };
        std::iter::once(first).chain(operation.more()).collect()
    }

    /// What it does, for progress: a sentence without its subject, the task's node.
    pub fn sentence(&self, subject: &NodeName) -> String {
        self.operation().sentence(subject)
    }
}

/// What a step says of itself.
trait Operation {
    fn artifact(&self) -> Option<&ArtifactName> {
        None
    }
    fn acts_on_subject(&self) -> bool;
    fn upgrades_to(&self) -> Option<Version> {
        None
    }
    fn admitted_by(&self) -> Option<&TaskId> {
        None
    }
    fn expelled_by(&self) -> Option<&TaskId> {
        None
    }
    fn awaits_version(&self) -> Option<Version> {
        None
    }
    fn leaves_unschedulable(&self) -> Option<bool> {
        None
    }
    /// Every choice in it, in a line; nothing for a step that leaves none.
    fn said(&self) -> String;
    /// What of it does not fit into a line.
    fn more(&self) -> Vec<String> {
        Vec::new()
    }
    fn sentence(&self, subject: &NodeName) -> String;
}

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterRole {
    /// Runs the API server: a server, or control plane.
    Server,
    /// Runs pods only.
    Worker,
    /// Outside the cluster: a machine that Hostler tends and Kubernetes does not know, such as a balancer.
    Host,
}

impl ClusterRole {
    /// The word that people use.
    pub fn word(self) -> &'static str {
        match self {
            ClusterRole::Server => "server",
            ClusterRole::Worker => "worker",
            ClusterRole::Host => "host",
        }
    }
}

impl fmt::Display for ClusterRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation as documents write it. What is signed is these bytes, so none of them ever changes.
    const WRITTEN: &[&str] = &[
        r#"{"op":"host.noop"}"#,
        r#"{"op":"artifact.stage","artifact":"k3s-aarch64"}"#,
        r#"{"op":"file.ensure","path":"/etc/motd","mode":"0644","content":"hello\n"}"#,
        r#"{"op":"module.ensure","module":"br_netfilter"}"#,
        r#"{"op":"sysctl.ensure","key":"net.ipv4.ip_forward","value":"1"}"#,
        r#"{"op":"package.ensure","package":"curl","version":"8.1-2"}"#,
        r#"{"op":"systemd.ensure","unit":"ssh.service","state":"started","enabled":true}"#,
        r#"{"op":"systemd.current","unit":"containerd.service","files":["/etc/containerd/config.toml"]}"#,
        r#"{"op":"program.ensure","artifact":"kubelet-aarch64","path":"/usr/local/bin/kubelet"}"#,
        r#"{"op":"image.ensure","artifact":"images-aarch64"}"#,
        r#"{"op":"package.install","artifact":"kubelet-aarch64","package":"kubelet","version":"1.36.3-1.1"}"#,
        r#"{"op":"package.hold","package":"kubelet"}"#,
        r#"{"op":"swap.off"}"#,
        r#"{"op":"hosts.ensure","name":"k8s.lab","address":"10.0.0.10"}"#,
        r#"{"op":"kernel.arguments","arguments":["panic=10"],"memory_control_group":true}"#,
        r#"{"op":"kernel.boot","arguments":["panic=10"],"memory_control_group":true}"#,
        r#"{"op":"cloud_init.fence","fence":"names"}"#,
        r#"{"op":"iscsi.initiator"}"#,
        r#"{"op":"network.lasts","address":"10.0.0.11","is_server":true}"#,
        r#"{"op":"sshd.set","password_authentication":false,"root_login":"keys"}"#,
        concat!(
            r#"{"op":"registry.ensure","artifact":"registry-credentials","registry":"registry.lab:5000","hosts":["#,
            r#"{"url":"https://mirror.lab","ca":true,"credentials":false},"#,
            r#"{"url":"https://registry.lab:5000","ca":false,"credentials":true}]}"#
        ),
        r#"{"op":"registry.forget","keep":["registry.lab:5000"]}"#,
        r#"{"op":"k3s.bootstrap","artifact":"k3s-aarch64","version":"v1.34.3+k3s1"}"#,
        r#"{"op":"k3s.admit","lifetime_seconds":900}"#,
        concat!(
            r#"{"op":"k3s.join","artifact":"k3s-aarch64","version":"v1.34.3+k3s1","role":"worker","#,
            r#""server_url":"https://api:6443","admitted_by":"w1.admit"}"#
        ),
        r#"{"op":"k3s.upgrade","artifact":"k3s-aarch64","version":"v1.34.3+k3s1"}"#,
        r#"{"op":"kubeadm.bootstrap","version":"v1.36.3","config":"kind: InitConfiguration\n"}"#,
        r#"{"op":"kubeadm.admit","role":"worker","lifetime_seconds":900}"#,
        concat!(
            r#"{"op":"kubeadm.join","version":"v1.36.3","role":"server","config":"kind: JoinConfiguration\n","#,
            r#""admitted_by":"s2.admit"}"#
        ),
        r#"{"op":"kubeadm.revoke"}"#,
        r#"{"op":"kubeadm.upgrade","version":"v1.36.3","config":"kind: UpgradeConfiguration\n"}"#,
        r#"{"op":"kubelet.ensure","version":"v1.36.3"}"#,
        r#"{"op":"kubeadm.expel","role":"server","address":"10.0.0.13","silent":false}"#,
        r#"{"op":"kubeadm.reset","config":"kind: ResetConfiguration\n","expelled_by":"c3.expel"}"#,
        r#"{"op":"kubeadm.reach","endpoint":"https://k8s.lab:6443"}"#,
        r#"{"op":"kubeadm.certify","version":"v1.36.3","config":"kind: InitConfiguration\n"}"#,
        r#"{"op":"kubeadm.configure","version":"v1.36.3","config":"kind: InitConfiguration\n"}"#,
        r#"{"op":"kubelet.configure","version":"v1.36.3","config":"kind: InitConfiguration\n","drained":false}"#,
        r#"{"op":"kube.describe","labels":{"disk":"ssd"},"taints":["gpu=true:NoSchedule"]}"#,
        r#"{"op":"etcd.snapshot","keep":7,"days":30,"to":["/mnt/nas/etcd"]}"#,
        r#"{"op":"cluster.read","to":"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}"#,
        r#"{"op":"apt.read","security_only":true}"#,
        concat!(
            r#"{"op":"apt.install","packages":[{"artifact":"deb-libc6-0123","package":"libc6","arch":"amd64","#,
            r#""from":"2.36-9","version":"2.36-9+deb12u10","auto":false}],"drained":true}"#
        ),
        r#"{"op":"kernel.runs","release":"6.1.0-28-amd64"}"#,
        concat!(
            r#"{"op":"etcd.receive","artifact":"snapshot","snapshot":{"name":"s1-20261128T201500Z","revision":12,"#,
            r#""kubernetes":"v1.36.3","etcd":"3.6.8"},"restored":{"name":"20261129T001500Z-57","#,
            r#""members":[{"name":"s1","address":"10.0.0.11"}]}}"#
        ),
        r#"{"op":"etcd.stop","restored":{"name":"20261129T001500Z-57","members":[]}}"#,
        r#"{"op":"etcd.restore","restored":{"name":"20261129T001500Z-57","members":[]},"bump_revision":1000000000}"#,
        r#"{"op":"etcd.start","restored":{"name":"20261129T001500Z-57","members":[]}}"#,
        concat!(
            r#"{"op":"etcd.seed","artifact":"snapshot","snapshot":{"name":"s1-20261128T201500Z","revision":12,"#,
            r#""kubernetes":"v1.36.3","etcd":"3.6.8"},"restored":{"name":"20261129T001500Z-57","members":[]},"#,
            r#""bump_revision":1000000000}"#
        ),
        r#"{"op":"kubeadm.bare"}"#,
        r#"{"op":"kube.forget_nodes","made_until":"2026-11-28T20:15:00Z"}"#,
        r#"{"op":"kube.cordon","reason":"drain"}"#,
        r#"{"op":"kube.drain","timeout_seconds":600,"delete_empty_dir_data":"all","force_unmanaged":false}"#,
        r#"{"op":"kube.uncordon"}"#,
        r#"{"op":"kube.adopt_cordon","reason":"the disk is swapped"}"#,
        r#"{"op":"kube.release_cordon","reason":"the lab needs it"}"#,
        r#"{"op":"kube.out_of_service","power_off_proof":"pulled the plug"}"#,
        r#"{"op":"kubeadm.renew","within_days":90}"#,
        r#"{"op":"kube.remove_node"}"#,
        r#"{"op":"kube.apply","artifact":"cni"}"#,
        r#"{"op":"kube.no_removed_apis","version":"v1.37.2","accepted":["policy/v1beta1/podsecuritypolicies"]}"#,
        r#"{"op":"kube.await_ready","version":null,"for_seconds":60,"timeout_seconds":600}"#,
        r#"{"op":"host.reboot"}"#,
    ];

    #[test]
    fn every_operation_is_written_as_it_was_read() {
        let parsed: Vec<Step> = WRITTEN
            .iter()
            .map(|written| {
                let step: Step = crate::json::parse(written.as_bytes()).expect(written);
                assert_eq!(serde_json::to_string(&step).expect("serialisable"), *written);
                step
            })
            .collect();
        assert_eq!(parsed.iter().map(Step::op).collect::<Vec<_>>(), Step::OPS, "one of each, in the order of the list");
    }

    #[test]
    fn an_unknown_key_is_refused_in_every_operation() {
        for written in WRITTEN {
            let longer = written.replacen('}', r#","x":1}"#, 1);
            assert!(crate::json::parse::<Step>(longer.as_bytes()).is_err(), "{longer}");
        }
        assert!(crate::json::parse::<Step>(br#"{"op":"shell","command":"id"}"#).is_err());
        assert!(crate::json::parse::<Step>(br#"{"op":"kube.cordon","reason":"r","force":true}"#).is_err());
    }

    #[test]
    fn a_missing_key_is_refused_also_where_it_may_be_null() {
        for written in WRITTEN {
            let serde_json::Value::Object(whole) = serde_json::from_str(written).expect(written) else { panic!() };
            for key in whole.keys() {
                let mut shorter = whole.clone();
                shorter.remove(key);
                let parsed = crate::json::parse::<Step>(&serde_json::to_vec(&shorter).expect("serialisable"));
                assert!(parsed.is_err(), "{written} without {key}");
            }
        }
    }
}
