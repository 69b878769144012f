//! The scenarios that the lab plays on a real cluster, played on the one in memory: `tests/lab/drains/parity.txt`.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::cluster::{HostPort, Owner, Pod, PodTerm, Scale, Selector, Spread, Toleration};

use super::*;
use crate::{host::Budget, testing::budget};

const SCENARIOS: &str = include_str!("../../../../../../tests/lab/drains/parity.txt");
/// The node that is drained, there and here.
const SUBJECT: (&str, &str) = ("w1", "s1");
const NAMESPACE: &str = "shop";

/// What stands on the cluster, and what a drain must say of it.
#[derive(Default)]
struct Scenario<'s> {
    name: &'s str,
    things: Vec<Thing<'s>>,
    flags: Vec<&'s str>,
    expected: Option<&'s str>,
    limit_seconds: Option<u64>,
    /// Why it cannot be played here.
    lab_only: Option<&'s str>,
}

/// One line: a kind, a name, and what it is like.
#[derive(Default)]
struct Thing<'s> {
    kind: &'s str,
    name: &'s str,
    is: BTreeMap<&'s str, &'s str>,
}

impl<'s> Scenario<'s> {
    /// All of a table, without what is said there of differences from kubectl.
    fn read(text: &'s str) -> Vec<Self> {
        let mut scenarios: Vec<Self> = Vec::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            let rest = line.trim_start()[first.len()..].trim();
            match (line.starts_with(' '), scenarios.last_mut()) {
                (false, _) if first == "scenario" => scenarios.push(Self { name: rest, ..Self::default() }),
                (false, _) => assert_eq!(first, "difference", "{line}"),
                (true, Some(scenario)) => scenario.add(first, rest),
                (true, None) => panic!("belongs to no scenario: {line}"),
            }
        }
        scenarios
    }

    fn add(&mut self, word: &'s str, rest: &'s str) {
        match word {
            "kubectl" | "differs" => {}
            "hostler" => self.flags.extend(rest.split_whitespace()),
            "expect" => self.expected = Some(rest),
            "limit" => self.limit_seconds = Some(rest.trim_end_matches('s').parse().unwrap()),
            "lab-only" => self.lab_only = Some(rest),
            kind => {
                let mut thing = Thing { kind, ..Thing::default() };
                for word in rest.split_whitespace() {
                    match word.split_once('=') {
                        Some((key, value)) => drop(thing.is.insert(key, value)),
                        None if thing.name.is_empty() => thing.name = word,
                        None => drop(thing.is.insert(word, "")),
                    }
                }
                self.things.push(thing);
            }
        }
    }

    fn step(&self) -> Drain {
        let mut step = drain(self.limit_seconds.unwrap_or(8), EmptyDirs::None, false);
        let mut flags = self.flags.iter();
        while let Some(flag) = flags.next() {
            match flag.split_once('=').unwrap_or((flag, "")) {
                ("--force-unmanaged", _) => step.force_unmanaged = true,
                ("--delete-emptydir-data", "") => step.delete_empty_dir_data = EmptyDirs::All,
                ("--delete-emptydir-data", which) => step.delete_empty_dir_data = which.parse().unwrap(),
                ("--evict-anyway", _) => {
                    let pod = flags.next().unwrap().replace('@', NAMESPACE);
                    step.evict_anyway.push(pod.parse().unwrap());
                }
                _ => panic!("{}: {flag} is unknown here", self.name),
            }
        }
        step
    }

    fn set(&self, lab: &Lab) {
        let mut state = lab.cluster().state();
        for node in &mut state.nodes {
            node.allocatable = [("cpu".into(), 2000), ("pods".into(), 110_000)].into();
        }
        for thing in &self.things {
            let here = |node: &str| node_here(thing.is.get("on").copied().unwrap_or(node));
            match thing.kind {
                "deployment" | "replicaset" | "statefulset" | "controller" | "daemonset" | "job" | "pod" | "static" => {
                    for pod in thing.pods() {
                        let node = self.first_node(thing, &pod, &state);
                        // The lab makes them just before the drain.
                        let unready_since = thing.has("unready").then(|| lab.machine.inner().now);
                        state.pods.push(Pod { node, unready_since, ..pod });
                    }
                    if let "deployment" | "replicaset" | "statefulset" | "controller" = thing.kind {
                        let replicas = thing.replicas();
                        state.scales.insert(thing.name.into(), Scale::of(replicas, 1));
                    }
                    state.start_seconds = thing.number("start").unwrap_or(1);
                }
                "budget" => state.budgets.push(thing.budget()),
                "scaler" => {
                    let scale = state.scales.get_mut(thing.name).unwrap();
                    scale.max_replicas = thing.number("max").map(|most| u32::try_from(most).unwrap());
                }
                "volume" => {}
                "attachment" => {
                    let (name, driver, volume) = (thing.name.into(), "csi".into(), Some(thing.name.into()));
                    state.attachments.push(Attachment { name, driver, volume, node: here("w1") });
                }
                "webhook" | "policy" => match thing.name {
                    "denies" => state.guard = Some(Eviction::Denied("the shop is open until six".into())),
                    "dead" => state.guard = Some(Eviction::Webhook("failed calling webhook".into())),
                    "deletions" => state.keeps = true,
                    "allows" | "ignored" | "warns" => {}
                    other => panic!("{}: {other} is unknown here", self.name),
                },
                "taint" => {
                    let taint = Taint { key: "judge".into(), value: String::new(), effect: Effect::NoSchedule };
                    let name = node_here(thing.name);
                    state.nodes.iter_mut().filter(|node| node.name == name).for_each(|n| n.taints.push(taint.clone()));
                }
                "cordon" => {
                    state.nodes[0].unschedulable = true;
                    state.nodes[0].unschedulable_by = Some("kubectl".into());
                }
                "delete" => {
                    let (now, on) = (state.now, thing.is.get("on").map(|node| node_here(node)));
                    let is_it = |pod: &&mut Pod| pod.labels.get("app").is_some_and(|app| app == thing.name);
                    let is_there = |pod: &&mut Pod| on.is_none() || pod.node == on;
                    for pod in state.pods.iter_mut().filter(is_it).filter(is_there) {
                        pod.deletion = Some(Deletion { ends: now.plus(pod.grace), grace: pod.grace });
                    }
                }
                "orphan" => {
                    let is_it = |pod: &&mut Pod| pod.labels.get("app").is_some_and(|app| app == thing.name);
                    state.pods.iter_mut().filter(is_it).for_each(|pod| pod.owner = None);
                }
                "wait" => {
                    let now = state.now.plus(Duration::from_secs(thing.number("seconds").unwrap()));
                    state.now = now;
                }
                other => panic!("{}: {other} is unknown here", self.name),
            }
        }
    }

    /// What can be on the subject is there.
    fn first_node(&self, thing: &Thing<'_>, pod: &Pod, state: &crate::testing::State) -> Option<String> {
        if thing.kind == "static" || pod.is_finished() {
            return Some(SUBJECT.1.into());
        }
        let waiting = Pod { node: None, phase: Phase::Pending, ..pod.clone() };
        let found = state.place(&waiting);
        assert_eq!(found.is_none(), thing.is.contains_key("nowhere"), "{}: {}", self.name, pod.key);
        found
    }
}

/// The name that a node of the lab has here.
fn node_here(name: &str) -> String {
    match name {
        name if name == SUBJECT.0 => SUBJECT.1.into(),
        "w2" => "w1".into(),
        "w3" => "w2".into(),
        other => panic!("there is no node {other} here"),
    }
}

impl Thing<'_> {
    fn number(&self, key: &str) -> Option<u64> {
        Some(self.is.get(key)?.parse().unwrap_or_else(|_| panic!("{} {key}", self.name)))
    }

    fn replicas(&self) -> u32 {
        let nodes = if self.kind == "daemonset" { 3 } else { 1 };
        self.number("replicas").map_or(nodes, |replicas| u32::try_from(replicas).unwrap())
    }

    fn has(&self, key: &str) -> bool {
        self.is.contains_key(key)
    }

    fn owner(&self) -> Option<Owner> {
        let (api_version, kind) = match self.kind {
            "deployment" | "replicaset" => ("apps/v1", "ReplicaSet"),
            "statefulset" => ("apps/v1", "StatefulSet"),
            "daemonset" => ("apps/v1", "DaemonSet"),
            "controller" => ("v1", "ReplicationController"),
            "job" => ("batch/v1", "Job"),
            _ => self.is.get("owner")?.split_once(':')?,
        };
        let uid = format!("uid-{}", self.name);
        Some(Owner { api_version: api_version.into(), kind: kind.into(), name: self.name.into(), uid })
    }

    fn pods(&self) -> Vec<Pod> {
        let replicas = self.replicas();
        let hosts = ["s1", "w1", "w2"];
        (0..replicas)
            .map(|number| {
                let is_alone = replicas == 1 && matches!(self.kind, "pod" | "static");
                let name = if is_alone { self.name.to_owned() } else { format!("{}-{number}", self.name) };
                let mut pod = pod(&name, self.name, "");
                (pod.owner, pod.mirror) = (self.owner().map(Into::into), self.kind == "static");
                pod.empty_dirs = EmptyDirMedia { disk: self.has("disk"), memory: self.has("memory") };
                pod.grace = Duration::from_secs(self.number("stop").unwrap_or(1));
                pod.ready = !["unready", "image", "nowhere", "ends"].iter().any(|key| self.has(key));
                pod.phase = match (self.is.get("ends"), self.has("image") || self.has("nowhere")) {
                    (Some(&"well"), _) => Phase::Succeeded,
                    (Some(_), _) => Phase::Failed,
                    (None, true) => Phase::Pending,
                    (None, false) => Phase::Running,
                };
                pod.finalizers = self.has("finalizer").then(|| "judge.example/held".to_owned()).into_iter().collect();
                pod.priority_class = self.has("critical").then(|| "system-cluster-critical".to_owned());
                self.place(&mut pod);
                if self.kind == "daemonset" {
                    let host = hosts[number as usize].to_owned();
                    pod.placement.node_selector = [("kubernetes.io/hostname".to_owned(), host)].into();
                }
                pod
            })
            .collect()
    }

    fn place(&self, pod: &mut Pod) {
        let host = "kubernetes.io/hostname".to_owned();
        let placement = &mut pod.placement;
        let same = Requirement { key: "app".into(), operator: Operator::In, values: vec![self.name.into()] };
        let selector = Selector::All(vec![same]);
        let term = PodTerm { selector, namespaces: Some(vec![NAMESPACE.into()]), topology_key: host.clone() };
        if let Some(only) = self.is.get("only") {
            placement.node_selector.insert(host.clone(), node_here(only));
        }
        if self.has("tolerates") {
            placement.tolerations.push(Toleration { key: None, value: None, effect: None });
        }
        if self.has("apart") {
            placement.apart.push(term.clone());
        }
        if self.has("spread") {
            placement.spread.push(Spread {
                pods: term,
                max_skew: 1,
                min_domains: 1,
                honours_affinity: true,
                honours_taints: true,
            });
        }
        if let Some(port) = self.number("hostport") {
            let port = u16::try_from(port).unwrap();
            placement.host_ports.push(HostPort { port, protocol: "TCP".into(), address: None });
        }
        if let Some(cpu) = self.is.get("cpu") {
            let thousandths = cpu.strip_suffix('m').map_or_else(|| format!("{cpu}000"), str::to_owned);
            placement.requests.insert("cpu".into(), thousandths.parse().unwrap());
        }
        if let Some(claim) = self.is.get("claim") {
            let terms = vec![vec![Requirement { key: host, operator: Operator::In, values: vec![SUBJECT.1.into()] }]];
            let (claim, volume) = ((*claim).to_owned(), Some(format!("{NAMESPACE}-{claim}")));
            pod.volumes.push(PodVolume { claim, volume, terms, ..PodVolume::default() });
        }
    }

    fn budget(&self) -> Budget {
        let of = self.is.get("of").copied().unwrap_or(self.name);
        let part = |text: &str| text.strip_suffix('%').map(|percent| percent.parse().unwrap());
        let number = |text: &str| text.parse().unwrap();
        let limit = match (self.is.get("min"), self.is.get("max")) {
            (Some(min), _) => {
                part(min).map_or_else(|| BudgetLimit::MinAvailable(number(min)), BudgetLimit::MinAvailablePercent)
            }
            (None, Some(max)) => {
                part(max).map_or_else(|| BudgetLimit::MaxUnavailable(number(max)), BudgetLimit::MaxUnavailablePercent)
            }
            (None, None) => panic!("{} says neither min nor max", self.name),
        };
        let selector = match of {
            "none" => Selector::Nothing,
            "all" => Selector::All(Vec::new()),
            _ => budget(of, limit).selector,
        };
        Budget { name: self.name.into(), selector, always_allow_unhealthy: self.has("unhealthy"), ..budget(of, limit) }
    }
}

#[test]
fn every_scenario_of_the_lab_ends_here_as_it_does_there() {
    let scenarios = Scenario::read(SCENARIOS);
    let mut wrong: Vec<String> = Vec::new();
    for scenario in &scenarios {
        if let Some(why) = scenario.lab_only {
            println!("not played: {} ({why})", scenario.name);
            continue;
        }
        let lab = Lab::new();
        scenario.set(&lab);
        let was_cordoned = lab.is_cordoned();
        let steps = vec![Step::Cordon(step::Cordon { reason: "test".parse().unwrap() }), Step::Drain(scenario.step())];
        let tasks = vec![task("w1.work", "w1", "s1", &[], steps)];
        let (receipt, _) = lab.run(&lab.fleet.plan(1, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, tasks)));
        let found = match receipt.outcome.word() {
            "succeeded" => "drained",
            "timed_out" => "timed out",
            other => other,
        };
        let expected = scenario.expected.unwrap_or("drained");
        if found != expected {
            wrong.push(format!("{}: expected {expected}, found {found} ({})", scenario.name, receipt.outcome));
        }
        let state = lab.cluster().state();
        let evicted: Vec<&String> = state.evicted.iter().map(|(pod, _)| pod).collect();
        let once: BTreeSet<&String> = evicted.iter().copied().collect();
        if once.len() != evicted.len() {
            wrong.push(format!("{}: evicted twice: {evicted:?}", scenario.name));
        }
        if found == "blocked" && !evicted.is_empty() {
            wrong.push(format!("{}: blocked after {evicted:?} had gone", scenario.name));
        }
        let is_cordoned = state.nodes[0].unschedulable;
        if is_cordoned != (was_cordoned || found == "drained") {
            wrong.push(format!("{}: {found}, and cordoned is {is_cordoned}", scenario.name));
        }
    }
    assert!(wrong.is_empty(), "of {}:\n{}", scenarios.len(), wrong.join("\n"));
}
