//! Keys that a fleet file may have, so that a typo is met with the key that was meant.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    problem::{Location, Problem, nearest},
    registry,
};

const TOP: &[&str] = &[
    "name",
    "distribution",
    "version",
    "api",
    "policy",
    "nodes",
    "artifacts",
    "groups",
    "machine",
    "kubeadm",
    "snapshots",
    "maintenance",
    "handover",
    "balancer",
];
const POLICY: &[&str] = &[
    "max_unavailable",
    "canary",
    "soak_seconds",
    "drain_timeout_seconds",
    "ready_timeout_seconds",
    "lease_seconds",
    "plan_lifetime_seconds",
    "delete_empty_dir_data",
    "force_unmanaged",
    "new_owners",
    "drain",
];
const DRAIN: &[&str] = &["never", "slow", "unreachable", "taken_over"];
const ARTIFACT: &[&str] = &[
    "name",
    "kind",
    "package",
    "version",
    "kubernetes",
    "arch",
    "role",
    "to",
    "path",
    "url",
    "member",
    "sha256",
    "size",
];
const NODE: &[&str] = &["name", "role", "arch", "first", "address", "labels", "taints", "kubelet_args", "group"];
const GROUP: &[&str] = &["health", "machine", "maintenance"];
const MACHINE: &[&str] = &[
    "modules",
    "sysctl",
    "swap",
    "kernel_arguments",
    "memory_cgroup",
    "hosts",
    "time_sync",
    "files",
    "container_runtime",
    "kubelet_args",
    "cloud_init",
    "journal",
    "updates",
    "storage_clients",
    "multipath_exclude",
    "sshd",
];
const JOURNAL: &[&str] = &["storage", "max_use_mib"];
const SSHD: &[&str] = &["password_authentication", "root_login"];
const SNAPSHOTS: &[&str] = &["keep", "days", "to"];
const MAINTENANCE: &[&str] = &["zone", "windows"];
const WINDOW: &[&str] = &["days", "start", "end", "length"];
const BALANCER: &[&str] = &["address", "interface", "router_id", "nodes"];
const HANDOVER: &[&str] = &["manifest"];
const FILE: &[&str] = &["mode", "content"];
const RUNTIME: &[&str] = &["sandbox_image", "registries", "config"];
const REGISTRY: &[&str] = &["mirrors", "ca", "credentials"];
const A_REGISTRY: &str = "a registry";
const KUBEADM: &[&str] = &[
    "pod_network",
    "service_network",
    "dns_domain",
    "cert_sans",
    "bind_port",
    "image_repository",
    "manifests",
    "skip_phases",
    "feature_gates",
    "ignore_preflight",
    "api_server",
    "controller_manager",
    "scheduler",
    "etcd",
    "kubelet",
    "proxy",
    "dns",
    "patches",
    "cluster",
];
const COMPONENT: &[&str] = &["extra_args", "extra_volumes", "extra_envs"];
const VOLUME: &[&str] = &["name", "host_path", "mount_path", "read_only", "path_type"];
/// Tables of `[kubeadm]` with keys of ours.
const PARTS: &[(&str, &[&str])] = &[
    ("api_server", COMPONENT),
    ("controller_manager", COMPONENT),
    ("scheduler", COMPONENT),
    ("etcd", &["extra_args", "extra_envs", "image_repository", "image_tag", "server_cert_sans", "peer_cert_sans"]),
    ("kubelet", &["extra_args", "config"]),
    ("proxy", &["disabled", "config"]),
    ("dns", &["disabled", "image_repository", "image_tag"]),
];

/// What is told of an unknown key: the table, the keys that it may have, and its name for people.
type Check<'c> = dyn FnMut(&DeTable<'_>, &[&str], &str) + 'c;

/// Every unknown key of the file.
pub(super) fn unknown(file: &str, text: &str, document: &DeTable<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |table: &DeTable<'_>, known: &[&str], of: &str| {
        for key in table.keys().filter(|k| !known.contains(&k.get_ref().as_ref())) {
            problems.push(Problem {
                location: Location::of(file, text, key.span().start),
                message: sentence(key.get_ref(), known, of),
            });
        }
    };
    check(document, TOP, "a fleet file");
    for (key, value) in document {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("policy", DeValue::Table(policy)) => {
                check(policy, POLICY, "[policy]");
                if let Some(DeValue::Table(drain)) = policy.get("drain").map(Spanned::get_ref) {
                    check(drain, DRAIN, "[policy.drain]");
                }
            }
            ("nodes", DeValue::Array(nodes)) => tables(nodes).for_each(|t| check(t, NODE, "[[nodes]]")),
            ("artifacts", DeValue::Array(files)) => tables(files).for_each(|t| check(t, ARTIFACT, "[[artifacts]]")),
            ("groups", DeValue::Table(groups)) => {
                for group in groups.values().filter_map(|g| g.get_ref().as_table()) {
                    check(group, GROUP, "a group");
                    below(group, "machine").into_iter().for_each(|t| machine(t, &mut check));
                    below(group, "maintenance").into_iter().for_each(|t| maintenance(t, &mut check));
                }
            }
            ("machine", DeValue::Table(table)) => machine(table, &mut check),
            ("maintenance", DeValue::Table(table)) => maintenance(table, &mut check),
            ("snapshots", DeValue::Table(table)) => check(table, SNAPSHOTS, "[snapshots]"),
            ("balancer", DeValue::Table(table)) => check(table, BALANCER, "[balancer]"),
            ("handover", DeValue::Table(table)) => check(table, HANDOVER, "[handover]"),
            ("kubeadm", DeValue::Table(table)) => kubeadm(table, &mut check),
            _ => {}
        }
    }
    problems
}

/// Every key of a lock but its artifacts, and every unknown key of those.
pub(super) fn unknown_in_lock(file: &str, text: &str, document: &DeTable<'_>) -> Vec<Problem> {
    let other = |key: &&Spanned<_>| AsRef::<str>::as_ref(key.get_ref()) != "artifacts";
    let foreign = document.keys().filter(other).map(|key| Problem {
        location: Location::of(file, text, key.span().start),
        message: format!("a lock holds [[artifacts]] alone, found {:?}; move it to the fleet file", key.get_ref()),
    });
    let foreign: Vec<Problem> = foreign.collect();
    if foreign.is_empty() { unknown(file, text, document) } else { foreign }
}

fn below<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t DeTable<'i>> {
    table.get(key)?.get_ref().as_table()
}

fn maintenance(table: &DeTable<'_>, check: &mut Check<'_>) {
    check(table, MAINTENANCE, "[maintenance]");
    if let Some(DeValue::Array(windows)) = table.get("windows").map(Spanned::get_ref) {
        tables(windows).for_each(|window| check(window, WINDOW, "a window of [maintenance]"));
    }
}

fn machine(table: &DeTable<'_>, check: &mut Check<'_>) {
    check(table, MACHINE, "[machine]");
    let files = below(table, "files").into_iter().flat_map(|files| files.values());
    files.filter_map(|file| file.get_ref().as_table()).for_each(|file| check(file, FILE, "a file of [machine]"));
    below(table, "journal").into_iter().for_each(|journal| check(journal, JOURNAL, "journal of [machine]"));
    below(table, "sshd").into_iter().for_each(|sshd| check(sshd, SSHD, "sshd of [machine]"));
    let Some(runtime) = below(table, "container_runtime") else { return };
    check(runtime, RUNTIME, "container_runtime");
    let registries = below(runtime, "registries").into_iter().flat_map(|registries| registries.values());
    registries.filter_map(|r| r.get_ref().as_table()).for_each(|r| check(r, REGISTRY, A_REGISTRY));
}

fn kubeadm(table: &DeTable<'_>, check: &mut Check<'_>) {
    check(table, KUBEADM, "[kubeadm]");
    for (name, known) in PARTS {
        let Some(part) = below(table, name) else { continue };
        check(part, known, &format!("[kubeadm.{name}]"));
        if let Some(DeValue::Array(volumes)) = part.get("extra_volumes").map(Spanned::get_ref) {
            tables(volumes).for_each(|t| check(t, VOLUME, "extra_volumes"));
        }
    }
}

fn tables<'t, 'i>(array: &'t [Spanned<DeValue<'i>>]) -> impl Iterator<Item = &'t DeTable<'i>> {
    array.iter().filter_map(|value| value.get_ref().as_table())
}

fn sentence(found: &str, known: &[&str], of: &str) -> String {
    if of == A_REGISTRY && registry::is_secret(found) {
        return format!("{of}: {found} is no key of it. {}", registry::PUT_ASIDE);
    }
    match nearest(found, known.iter().copied()) {
        Some(meant) => format!("unknown key {found:?} in {of}; write {meant:?} if that is meant"),
        None => format!("unknown key {found:?} in {of}, expected one of {}; remove it", known.join(", ")),
    }
}
