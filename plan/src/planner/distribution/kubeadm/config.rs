//! kubeadm's configuration, written from the fleet file
//! (<https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/>).

use crate::{
    fleet::{Args, Component, Fleet, FleetNode, Kubeadm, Swap, args_over},
    network::Network,
    step::ClusterRole,
    version::Stage,
    yaml::{self, Yaml},
};

use super::{super::Member, machine};

const API: &str = "kubeadm.k8s.io/v1beta4";

/// How long kubeadm waits for what (its own defaults in brackets). Most faults show only when one of them ends.
const TIMEOUTS: [(&str, &str); 7] = [
    // The first start of a Pi unpacks four images (4m).
    ("controlPlaneComponentHealthCheck", "5m0s"),
    // The kubelet answers as soon as it runs (4m).
    ("kubeletHealthCheck", "2m0s"),
    // It was asked a moment ago whether it is ready (1m).
    ("kubernetesAPICall", "1m0s"),
    // A learner catches up with a database of 8 GB at most (2m).
    ("etcdAPICall", "2m0s"),
    // A certificate is asked for and given; a server starts its own API server meanwhile (5m).
    ("tlsBootstrap", "5m0s"),
    // Where the cluster is stands in a file (5m).
    ("discovery", "1m0s"),
    // Measured: 80 s for etcd on two shared cores (5m).
    ("upgradeManifests", "5m0s"),
];

/// What `kubeadm init` asks of etcd's folder.
const DATA_CHECK: &str = "DirAvailable--var-lib-etcd";

/// What an upgrade asks of CoreDNS, whose absence it takes for an old version.
const COREDNS_CHECKS: [&str; 2] = ["CoreDNSUnsupportedPlugins", "CoreDNSMigration"];

/// A cluster begins: InitConfiguration, ClusterConfiguration, KubeletConfiguration and, where the fleet file says
/// something of it, KubeProxyConfiguration. Where etcd's data are `seeded` kubeadm finds them there.
pub(super) fn init(member: &Member<'_>, seeded: bool) -> String {
    let default = Kubeadm::default();
    let settings = member.fleet.kubeadm.as_ref().unwrap_or(&default);
    let mut skipped = settings.skip_phases.clone();
    // It prints a token into the journal, for commands that nobody runs.
    if !skipped.iter().any(|phase| phase == "show-join-command") {
        skipped.push("show-join-command".to_owned());
    }
    let mut init = document("InitConfiguration");
    // kubeadm makes a token in any case; one that nobody uses ends at once.
    init.set("bootstrapTokens", vec![Yaml::from([("ttl", "1s".into())])].into());
    init.set("localAPIEndpoint", endpoint(member.node, settings));
    let mut registration = registration(member, settings);
    let mut ignored = settings.ignore_preflight.clone();
    if seeded && !ignored.iter().any(|check| check.eq_ignore_ascii_case("all")) {
        ignored.push(DATA_CHECK.to_owned());
        registration.set("ignorePreflightErrors", ignored.into());
    }
    init.set("nodeRegistration", registration);
    init.set("skipPhases", skipped.into());
    finish(&mut init, settings);
    let mut documents = vec![init, cluster(member, settings), kubelet(member.fleet, settings)];
    if !settings.proxy.disabled && !settings.proxy.config.is_empty() {
        let mut proxy = Yaml::from([
            ("apiVersion", "kubeproxy.config.k8s.io/v1alpha1".into()),
            ("kind", "KubeProxyConfiguration".into()),
        ]);
        proxy.put_over((&settings.proxy.config).into());
        documents.push(proxy);
    }
    yaml::write(&documents)
}

/// A node joins; how it finds the cluster is added on the node.
pub(super) fn join(member: &Member<'_>) -> String {
    let default = Kubeadm::default();
    let settings = member.fleet.kubeadm.as_ref().unwrap_or(&default);
    let mut join = document("JoinConfiguration");
    join.set("nodeRegistration", registration(member, settings));
    if member.node.role == ClusterRole::Server {
        join.set("controlPlane", [("localAPIEndpoint", endpoint(member.node, settings))].into());
    }
    finish(&mut join, settings);
    yaml::write(&[join])
}

/// A node is upgraded, as the first one or after another.
pub(super) fn upgrade(member: &Member<'_>) -> String {
    let default = Kubeadm::default();
    let settings = member.fleet.kubeadm.as_ref().unwrap_or(&default);
    let mut node = Yaml::from([("imagePullPolicy", "IfNotPresent".into())]);
    let mut ignored = settings.ignore_preflight.clone();
    if settings.dns.disabled && !ignored.iter().any(|check| check.eq_ignore_ascii_case("all")) {
        ignored.extend(COREDNS_CHECKS.map(str::to_owned));
    }
    if !ignored.is_empty() {
        node.set("ignorePreflightErrors", ignored.into());
    }
    let addons = settings.skip_phases.iter().filter(|phase| phase.split('/').next() == Some("addon"));
    let addons: Vec<String> = addons.cloned().collect();
    if !addons.is_empty() {
        node.set("skipPhases", addons.into());
    }
    patches(&mut node, settings);
    let mut apply = Yaml::from([("kubernetesVersion", member.version.to_string().into())]);
    match member.version.stage {
        Stage::Release => {}
        Stage::Candidate(_) => apply.set("allowRCUpgrades", true.into()),
        Stage::Alpha(_) | Stage::Beta(_) => apply.set("allowExperimentalUpgrades", true.into()),
    }
    apply.put_over(node.clone());
    let mut upgrade = document("UpgradeConfiguration");
    upgrade.set("apply", apply);
    upgrade.set("node", node);
    upgrade.set("timeouts", timeouts());
    yaml::write(&[upgrade])
}

/// A machine is emptied of its cluster. Another server has removed its member of etcd: kubeadm would wait for the
/// member where that server cannot be reached, and go on all the same.
pub(super) fn reset() -> String {
    let mut reset = document("ResetConfiguration");
    reset.set("cleanupTmpDir", true.into());
    reset.set("force", true.into());
    reset.set("skipPhases", vec!["remove-etcd-member".to_owned()].into());
    reset.set("timeouts", timeouts());
    yaml::write(&[reset])
}

fn document(kind: &str) -> Yaml {
    [("apiVersion", API.into()), ("kind", kind.into())].into()
}

fn timeouts() -> Yaml {
    Yaml::Map(TIMEOUTS.iter().map(|(name, time)| ((*name).to_owned(), (*time).into())).collect())
}

/// What every configuration ends with.
fn finish(document: &mut Yaml, settings: &Kubeadm) {
    patches(document, settings);
    document.set("timeouts", timeouts());
}

fn patches(document: &mut Yaml, settings: &Kubeadm) {
    if let Some(directory) = machine::patches_directory(settings) {
        document.set("patches", [("directory", directory.into())].into());
    }
}

fn endpoint(node: &FleetNode, settings: &Kubeadm) -> Yaml {
    let mut endpoint = Yaml::from([("bindPort", i64::from(settings.bind_port).into())]);
    if let Some(address) = node.address {
        endpoint.set("advertiseAddress", address.to_string().into());
    }
    endpoint
}

fn args(args: &Args) -> Yaml {
    let arg = |(name, value): &(String, String)| {
        Yaml::from([("name", name.as_str().into()), ("value", value.as_str().into())])
    };
    Yaml::List(args.iter().map(arg).collect())
}

/// What the node is in its cluster.
fn registration(member: &Member<'_>, settings: &Kubeadm) -> Yaml {
    let Member { fleet, node, .. } = member;
    let mut own = Args::new();
    if let Some(address) = node.address {
        own.push(("node-ip".to_owned(), address.to_string()));
    }
    if !node.labels.is_empty() {
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        own.push(("node-labels".to_owned(), labels.join(",")));
    }
    let mut extra = args_over(&own, settings.kubelet.extra_args.clone());
    extra = args_over(&extra, fleet.machine(node).kubelet_args);
    extra = args_over(&extra, node.kubelet_args.clone());
    let mut registration = Yaml::from([
        ("name", node.name.as_str().into()),
        ("criSocket", machine::CRI_SOCKET.into()),
        ("imagePullPolicy", "IfNotPresent".into()),
    ]);
    if let Some(taints) = &node.taints {
        let taint = |taint: &crate::cluster::Taint| {
            Yaml::from([
                ("key", taint.key.as_str().into()),
                ("value", taint.value.as_str().into()),
                ("effect", taint.effect.word().into()),
            ])
        };
        registration.set("taints", Yaml::List(taints.iter().map(taint).collect()));
    }
    if !extra.is_empty() {
        registration.set("kubeletExtraArgs", args(&extra));
    }
    if !settings.ignore_preflight.is_empty() {
        registration.set("ignorePreflightErrors", settings.ignore_preflight.clone().into());
    }
    registration
}

fn cluster(member: &Member<'_>, settings: &Kubeadm) -> Yaml {
    let fleet = member.fleet;
    let mut cluster = document("ClusterConfiguration");
    cluster.set("clusterName", fleet.name.as_str().into());
    cluster.set("kubernetesVersion", member.version.to_string().into());
    cluster.set("controlPlaneEndpoint", fleet.api.to_string().into());
    let mut networking = Yaml::from([
        ("serviceSubnet", networks(&settings.service_network)),
        ("dnsDomain", settings.dns_domain.as_str().into()),
    ]);
    if !settings.pod_network.is_empty() {
        networking.set("podSubnet", networks(&settings.pod_network));
    }
    cluster.set("networking", networking);
    if let Some(repository) = &settings.image_repository {
        cluster.set("imageRepository", repository.as_str().into());
    }
    let mut api_server = component(&settings.api_server);
    if !settings.cert_sans.is_empty() {
        api_server.set("certSANs", settings.cert_sans.clone().into());
    }
    cluster.set("apiServer", api_server);
    cluster.set("controllerManager", component(&settings.controller_manager));
    cluster.set("scheduler", component(&settings.scheduler));
    cluster.set("etcd", [("local", etcd(settings))].into());
    let mut dns = Yaml::from([("disabled", settings.dns.disabled.into())]);
    image(&mut dns, settings.dns.image_repository.as_ref(), settings.dns.image_tag.as_ref());
    cluster.set("dns", dns);
    cluster.set("proxy", [("disabled", settings.proxy.disabled.into())].into());
    if !settings.feature_gates.is_empty() {
        let gates = settings.feature_gates.iter().map(|(name, on)| (name.clone(), (*on).into()));
        cluster.set("featureGates", Yaml::Map(gates.collect()));
    }
    cluster.put_over((&settings.cluster).into());
    cluster
}

fn networks(networks: &[Network]) -> Yaml {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into()
}

fn environment(entries: &std::collections::BTreeMap<String, String>) -> Yaml {
    let entry = |(name, value): (&String, &String)| {
        Yaml::from([("name", name.as_str().into()), ("value", value.as_str().into())])
    };
    Yaml::List(entries.iter().map(entry).collect())
}

fn image(of: &mut Yaml, repository: Option<&String>, tag: Option<&String>) {
    if let Some(repository) = repository {
        of.set("imageRepository", repository.as_str().into());
    }
    if let Some(tag) = tag {
        of.set("imageTag", tag.as_str().into());
    }
}

fn component(settings: &Component) -> Yaml {
    let mut component = Yaml::Map(Vec::new());
    if !settings.extra_args.is_empty() {
        component.set("extraArgs", args(&settings.extra_args));
    }
    if !settings.extra_volumes.is_empty() {
        let volume = |volume: &crate::fleet::Volume| {
            let mut written = Yaml::from([
                ("name", volume.name.as_str().into()),
                ("hostPath", volume.host_path.as_str().into()),
                ("mountPath", volume.mount_path.as_str().into()),
                ("readOnly", volume.read_only.into()),
            ]);
            if let Some(kind) = &volume.path_type {
                written.set("pathType", kind.as_str().into());
            }
            written
        };
        component.set("extraVolumes", Yaml::List(settings.extra_volumes.iter().map(volume).collect()));
    }
    if !settings.extra_envs.is_empty() {
        component.set("extraEnvs", environment(&settings.extra_envs));
    }
    component
}

fn etcd(settings: &Kubeadm) -> Yaml {
    let settings = &settings.etcd;
    let mut etcd = Yaml::from([("dataDir", "/var/lib/etcd".into())]);
    image(&mut etcd, settings.image_repository.as_ref(), settings.image_tag.as_ref());
    if !settings.extra_args.is_empty() {
        etcd.set("extraArgs", args(&settings.extra_args));
    }
    if !settings.extra_envs.is_empty() {
        etcd.set("extraEnvs", environment(&settings.extra_envs));
    }
    if !settings.server_cert_sans.is_empty() {
        etcd.set("serverCertSANs", settings.server_cert_sans.clone().into());
    }
    if !settings.peer_cert_sans.is_empty() {
        etcd.set("peerCertSANs", settings.peer_cert_sans.clone().into());
    }
    etcd
}

/// Of every kubelet: the cluster keeps it, and nodes read it there.
fn kubelet(fleet: &Fleet, settings: &Kubeadm) -> Yaml {
    let mut kubelet =
        Yaml::from([("apiVersion", "kubelet.config.k8s.io/v1beta1".into()), ("kind", "KubeletConfiguration".into())]);
    let allowed = |node: &FleetNode| fleet.machine(node).swap == Some(Swap::Allowed);
    if fleet.nodes.iter().any(allowed) {
        kubelet.set("failSwapOn", false.into());
    }
    kubelet.put_over((&settings.kubelet.config).into());
    kubelet
}
