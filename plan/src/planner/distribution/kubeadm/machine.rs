//! What a machine needs before kubeadm: a container runtime, the kubelet's unit, and what the kernel has to allow
//! (<https://kubernetes.io/docs/setup/production-environment/container-runtimes/>).

use std::collections::BTreeMap;

use super::{
    super::{Member, install, machine as common},
    KUBELET, balancer, registry,
};
use crate::{
    fleet::{ArtifactKind, ContainerRuntime, FleetArtifact, Kubeadm, Machine, Swap, put_over},
    form::{FileMode, FilePath, ModuleName, SysctlKey, SysctlValue, UnitName},
    id::Digest,
    registry::HEAD,
    step::{ClusterRole, CurrentUnit, EnsureFile, EnsureImages, EnsureUnit, Step, UnitState},
};

pub(super) const KUBELET_UNIT: &str = "kubelet.service";
pub(super) const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
const CONTAINERD: &str = "containerd";
const CONTAINERD_UNIT: &str = "containerd.service";
const RUNTIME_CONFIG: &str = "/etc/containerd/config.toml";
const RUNTIME_UNIT: &str = "/etc/systemd/system/containerd.service";

/// Of overlay the layers of images are made; br_netfilter, which kubeadm does not test, shows a bridge's packets to the
/// rules of Services.
const MODULES: [&str; 2] = ["br_netfilter", "overlay"];
const SYSCTL: [(&str, &str); 2] = [("net.bridge.bridge-nf-call-iptables", "1"), ("net.ipv4.ip_forward", "1")];

/// Everything that a machine is made ready with, but for Kubernetes' own programs. One outside the cluster gets what
/// the fleet file says and nothing of a cluster's.
pub(in super::super) fn prepare(member: &Member<'_>) -> Vec<Step> {
    let mut machine = member.fleet.machine(member.node);
    if member.node.role == ClusterRole::Host {
        let mut steps = common::prepare(&machine, Vec::new());
        steps.extend(member.artifacts.iter().flat_map(|artifact| install(artifact)));
        steps.extend(common::clients(&machine));
        steps.extend(balancer::steps(member));
        return steps;
    }
    if member.fleet.kubeadm.is_some() {
        defaults(&mut machine);
    }
    let own = files(member, &machine);
    let mut steps = common::prepare(&machine, own.clone());
    steps.extend(registry::steps(&member.node.name, &machine.container_runtime));
    let others = member.artifacts.iter().filter(|a| a.kubernetes.is_none());
    steps.extend(others.flat_map(|artifact| install(artifact)));
    steps.extend(common::clients(&machine));
    steps.extend(balancer::steps(member));
    let images = images(member);
    if runtime(member).is_some() || !images.is_empty() {
        let unit = UnitName::new(CONTAINERD_UNIT).expect("our own unit is one");
        steps.push(Step::EnsureUnit(EnsureUnit { unit: unit.clone(), state: UnitState::Started, enabled: true }));
        let files = read_by_runtime(member, &own);
        if !files.is_empty() {
            steps.push(Step::CurrentUnit(CurrentUnit { unit, files }));
        }
    }
    steps.extend(images);
    if !steps.is_empty() {
        steps.push(registry::forget(&machine.container_runtime));
    }
    steps
}

/// Images, before somebody wants to start a container of them: nodes pull none where there is no Internet.
pub(in super::super) fn images(member: &Member<'_>) -> Vec<Step> {
    let images = member.artifacts.iter().filter(|a| a.kind == ArtifactKind::Image);
    images.map(|image| Step::EnsureImages(EnsureImages { artifact: image.plan_name() })).collect()
}

/// What a machine of a cluster that Hostler makes needs where the fleet file says nothing of it.
fn defaults(machine: &mut Machine) {
    let modules = || MODULES.iter().filter_map(|name| ModuleName::new(*name).ok()).collect();
    machine.modules.get_or_insert_with(modules);
    let sysctl = || {
        let parameter =
            |(key, value): &(&str, &str)| Some((SysctlKey::new(*key).ok()?, SysctlValue::new(*value).ok()?));
        SYSCTL.iter().filter_map(parameter).collect::<BTreeMap<_, _>>()
    };
    machine.sysctl.get_or_insert_with(sysctl);
    machine.swap.get_or_insert(Swap::Off);
}

/// containerd, where Hostler brings it.
fn runtime<'a>(member: &Member<'a>) -> Option<&'a FleetArtifact> {
    member.artifacts.iter().find(|a| a.name.as_str() == CONTAINERD).copied()
}

/// What containerd reads at its start, where Hostler writes it: who restarts it loses no pod. Registries are read anew
/// at every pull.
fn read_by_runtime(member: &Member<'_>, own: &[EnsureFile]) -> Vec<FilePath> {
    let of_runtime = [RUNTIME_CONFIG, RUNTIME_UNIT];
    let written = own.iter().filter(|file| of_runtime.contains(&file.path.as_str())).map(|file| file.path.clone());
    written.chain(program(runtime(member)).cloned()).collect()
}

/// Where a program goes; none for what comes otherwise.
fn program(artifact: Option<&FleetArtifact>) -> Option<&FilePath> {
    match &artifact?.kind {
        ArtifactKind::Program { to } => Some(to),
        ArtifactKind::Package { .. } | ArtifactKind::Image | ArtifactKind::Manifest | ArtifactKind::File => None,
    }
}

fn file(path: &str, content: String) -> EnsureFile {
    let path = FilePath::new(path).expect("our own path is one");
    EnsureFile { path, mode: FileMode::new("0644").expect("our own mode is one"), content }
}

/// Units come with packages; where Hostler brings the programs it brings the units of the packages.
fn files(member: &Member<'_>, machine: &Machine) -> Vec<EnsureFile> {
    let mut files = Vec::new();
    let settings = &machine.container_runtime;
    if runtime(member).is_some() || *settings != ContainerRuntime::default() {
        files.push(file(RUNTIME_CONFIG, containerd(settings)));
        let of_registries = settings.registries.iter().flat_map(|(name, registry)| registry::files(name, registry));
        files.extend(of_registries.map(|(path, content)| file(&path, content)));
    }
    if let Some(path) = program(runtime(member)) {
        files.push(file(RUNTIME_UNIT, containerd_unit(path)));
    }
    let kubelet = member.fleet.artifact(KUBELET, member.version, member.node.arch);
    if let Some(path) = program(kubelet) {
        files.push(file("/etc/systemd/system/kubelet.service", kubelet_unit(path)));
        files.push(file("/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", kubelet_drop_in(path)));
    }
    files.extend(patches(member));
    files
}

/// What kubeadm changes in what it writes.
pub(super) fn patches(member: &Member<'_>) -> Vec<EnsureFile> {
    let Some(settings) = &member.fleet.kubeadm else { return Vec::new() };
    let Some(directory) = patches_directory(settings) else { return Vec::new() };
    let patch =
        |patch: &crate::fleet::Patch| file(&format!("{directory}/{}", patch.file()), format!("{}\n", patch.content));
    settings.patches.iter().map(patch).collect()
}

/// Where kubeadm finds the patches: a folder of their digest, because a patch that is gone must not lie in it any more.
pub(super) fn patches_directory(settings: &Kubeadm) -> Option<String> {
    if settings.patches.is_empty() {
        return None;
    }
    let all: Vec<String> = settings.patches.iter().map(|patch| format!("{} {}\n", patch.name, patch.content)).collect();
    let digest = Digest::of(all.concat().as_bytes()).hex();
    Some(format!("/etc/kubernetes/patches/{}", &digest[..16]))
}

/// Of containerd 2 (<https://github.com/containerd/containerd/blob/main/docs/cri/config.md>).
fn containerd(settings: &ContainerRuntime) -> String {
    let mut config: toml::Table = toml::from_str(
        "version = 3\n\
         [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n\
         runtime_type = 'io.containerd.runc.v2'\n\
         [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n\
         SystemdCgroup = true\n\
         [plugins.'io.containerd.cri.v1.images'.registry]\n\
         config_path = '/etc/containerd/certs.d'\n",
    )
    .expect("our own text is TOML");
    if let Some(image) = &settings.sandbox_image {
        let mut pinned = toml::Table::new();
        pinned.insert("sandbox".to_owned(), image.as_str().into());
        let images = toml::Table::from_iter([("pinned_images".to_owned(), pinned.into())]);
        let plugins = toml::Table::from_iter([("io.containerd.cri.v1.images".to_owned(), images.into())]);
        put_over(&mut config, &toml::Table::from_iter([("plugins".to_owned(), plugins.into())]));
    }
    put_over(&mut config, &settings.config);
    format!("{HEAD}{config}")
}

/// As containerd's own (<https://github.com/containerd/containerd/blob/main/containerd.service>).
fn containerd_unit(path: &FilePath) -> String {
    format!(
        "{HEAD}[Unit]\n\
         Description=containerd container runtime\n\
         Documentation=https://containerd.io\n\
         After=network.target dbus.service\n\
         \n\
         [Service]\n\
         ExecStart={path}\n\
         Type=notify\n\
         Delegate=yes\n\
         KillMode=process\n\
         Restart=always\n\
         RestartSec=5\n\
         LimitNPROC=infinity\n\
         LimitCORE=infinity\n\
         TasksMax=infinity\n\
         OOMScoreAdjust=-999\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// As in Kubernetes' own packages (<https://github.com/kubernetes/release/tree/master/cmd/krel/templates>), but that it
/// waits for kubeadm instead of failing every ten seconds until then.
fn kubelet_unit(path: &FilePath) -> String {
    format!(
        "{HEAD}[Unit]\n\
         Description=kubelet: The Kubernetes Node Agent\n\
         Documentation=https://kubernetes.io/docs/\n\
         Wants=network-online.target\n\
         After=network-online.target {CONTAINERD_UNIT}\n\
         ConditionPathExists=/var/lib/kubelet/config.yaml\n\
         \n\
         [Service]\n\
         ExecStart={path}\n\
         Restart=always\n\
         StartLimitInterval=0\n\
         RestartSec=10\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn kubelet_drop_in(path: &FilePath) -> String {
    format!(
        "{HEAD}[Service]\n\
         Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
         --kubeconfig=/etc/kubernetes/kubelet.conf\"\n\
         Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"\n\
         EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\n\
         EnvironmentFile=-/etc/default/kubelet\n\
         ExecStart=\n\
         ExecStart={path} $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n"
    )
}
