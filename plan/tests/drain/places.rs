//! Where what takes a pod's place can run: for certain, just now, or nobody can tell.

use hostler_plan::{
    cluster::{
        Attachment, Effect, HostPort, Placement, PodTerm, PodVolume, Resources, Selector, Spread, Taint, Toleration,
    },
    drain::Look,
};

use crate::made::*;

fn of(name: &str, thousandths: u64) -> Resources {
    [(name.to_owned(), thousandths)].into()
}

/// Pods labelled `app=APP` of the namespace `shop`.
fn term(app: &str, topology_key: &str) -> PodTerm {
    let selector = Selector::All(vec![is_in("app", &[app])]);
    PodTerm { selector, namespaces: Some(vec!["shop".into()]), topology_key: topology_key.into() }
}

const HOST: &str = "kubernetes.io/hostname";

fn taint(key: &str, effect: Effect) -> Taint {
    Taint { key: key.into(), value: String::new(), effect }
}

fn tolerates(key: Option<&str>) -> Toleration {
    Toleration { key: key.map(str::to_owned), value: None, effect: None }
}

/// A pod `web-0` on `s1`, and `s1`, `w1` and `w2`, with what is different about them; its place and the reason.
fn place(change: impl FnOnce(&mut Look)) -> (&'static str, String) {
    let mut look = cluster(&["s1", "w1", "w2"]);
    look.deploy("web", &["s1"]);
    change(&mut look);
    said(&look.leaving("web-0").place)
}

fn asks(look: &mut Look) -> &mut Placement {
    &mut look.pod("web-0").placement
}

#[test]
fn what_is_certain_is_told_with_what_would_help() {
    type Change = fn(&mut Look);
    let selector: Change = |look| drop(asks(look).node_selector.insert("disk".into(), "nvme".into()));
    let affinity: Change = |look| asks(look).terms = vec![vec![is_in("zone", &["a"])], vec![]];
    let hard: Change =
        |look| look.nodes[1..].iter_mut().for_each(|node| node.taints = vec![taint("gpu", Effect::NoExecute)]);
    let cordons: Change = |look| look.nodes[1..].iter_mut().for_each(|node| node.unschedulable = true);
    let one_cordon: Change = |look| {
        asks(look).node_selector.insert("disk".into(), "nvme".into());
        look.node("w1").labels.insert("disk".into(), "nvme".into());
        look.node("w1").unschedulable = true;
    };
    let local: Change = |look| {
        let terms = vec![vec![is_in(HOST, &["s1"])]];
        look.pod("web-0").volumes =
            vec![PodVolume { claim: "data".into(), volume: Some("pv-7".into()), terms, ..PodVolume::default() }];
    };
    let parts: Change = |look| {
        asks(look).node_selector.insert("disk".into(), "nvme".into());
        asks(look).terms = vec![vec![is_in("zone", &["a"])]];
        look.node("w1").labels.insert("disk".into(), "nvme".into());
        look.node("w2").labels.insert("zone".into(), "a".into());
    };
    let cases: [(Change, &str, &str); 7] = [
        (selector, "(disk=nvme)", "Label another node disk=nvme"),
        (affinity, "(required node affinity)", "Give another node the labels"),
        (hard, "(taint gpu)", "Let it tolerate gpu, or take that taint off a node"),
        (cordons, "no other node is schedulable", "Uncordon or add a node"),
        (one_cordon, "(w1 is cordoned)", "Uncordon w1"),
        (local, "volume pv-7 exists on s1 only", "Move its data"),
        (parts, "no other node meets all", "disk=nvme, required node affinity"),
    ];
    for (change, why, advice) in cases {
        let (grade, said) = place(change);
        assert!(grade == "nowhere" && said.contains(why) && said.contains(advice), "{grade}: {said}");
        assert!(!said.contains("room"), "nobody's room would help: {said}");
    }
}

#[test]
fn what_is_not_certain_is_not_said_so() {
    type Change = fn(&mut Look);
    let soft: Change =
        |look| look.nodes[1..].iter_mut().for_each(|node| node.taints = vec![taint("gpu", Effect::PreferNoSchedule)]);
    let tolerated: Change = |look| {
        look.nodes[1..].iter_mut().for_each(|node| node.taints = vec![taint("gpu", Effect::NoSchedule)]);
        asks(look).tolerations = vec![tolerates(Some("gpu"))];
    };
    let other_term: Change =
        |look| asks(look).terms = vec![vec![is_in("zone", &["a"])], vec![is_in(HOST, &["w1", "w2"])]];
    let by_field: Change = |look| asks(look).terms = vec![vec![is_in("metadata.name", &["w1", "w2"])]];
    for change in [soft, tolerated, other_term, by_field] {
        assert_eq!(place(change), ("elsewhere", "w1 w2".to_owned()));
    }
    let foreign: Change = |look| asks(look).foreign_scheduler = true;
    let devices: Change = |look| asks(look).claims_devices = true;
    let comes_back: Change = |look| asks(look).tolerations = vec![tolerates(None)];
    for (change, why) in [
        (foreign, "another scheduler"),
        (devices, "claims devices"),
        (comes_back, "tolerates a cordon, and so may come back here"),
    ] {
        let (grade, said) = place(change);
        assert!(grade == "unknown" && said.contains(why), "{grade}: {said}");
    }
    let mut look = cluster(&["s1", "w1", "w2"]);
    look.deploy("web", &["s1"]);
    comes_back(&mut look);
    assert_eq!(look.leaving("web-0").never, None, "it may as well go to another");
    look.pod("web-0").placement.node_selector.insert("only".into(), "here".into());
    look.node("s1").labels.insert("only".into(), "here".into());
    let never = look.leaving("web-0").never.map(|never| never.reason.to_string()).unwrap_or_default();
    assert!(never.contains("would come back here at once and for ever. Take that toleration"), "{never}");
    let ended = place(|look| look.pod("web-0").owner = None);
    assert_eq!(ended.0, "not needed");
}

#[test]
fn just_now_a_node_is_full_or_its_port_taken_or_it_is_not_well() {
    type Change = fn(&mut Look);
    fn have(look: &mut Look, amounts: &[(&str, u64)]) {
        for node in &mut look.nodes {
            node.allocatable = amounts.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect();
        }
    }
    let cpu: Change = |look| {
        have(look, &[("cpu", 1000), ("pods", 110_000)]);
        look.deploy("big", &["w1", "w2"]);
        look.pods.iter_mut().for_each(|pod| pod.placement.requests = of("cpu", 600));
    };
    let extended: Change = |look| {
        have(look, &[("example.com/gpu", 1000)]);
        look.deploy("big", &["w1", "w2"]);
        look.pods.iter_mut().for_each(|pod| pod.placement.requests = of("example.com/gpu", 1000));
    };
    let scratch: Change = |look| {
        have(look, &[("ephemeral-storage", 2 << 30)]);
        look.deploy("big", &["w1", "w2"]);
        look.pods.iter_mut().for_each(|pod| pod.placement.requests = of("ephemeral-storage", 2 << 30));
    };
    let pods: Change = |look| {
        have(look, &[("pods", 1000)]);
        look.deploy("big", &["w1", "w2"]);
    };
    let ports: Change = |look| {
        let port =
            |address: Option<&str>| HostPort { port: 80, protocol: "TCP".into(), address: address.map(str::to_owned) };
        look.deploy("edge", &["w1", "w2"]);
        asks(look).host_ports = vec![port(None)];
        look.pod("edge-0").placement.host_ports = vec![port(None)];
        look.pod("edge-1").placement.host_ports = vec![port(Some("10.0.0.1"))];
    };
    let apart: Change = |look| {
        look.deploy("web", &["s1", "w1", "w2"]);
        look.pods.remove(0);
        asks(look).apart = vec![term("web", HOST)];
    };
    let kept_away: Change = |look| {
        look.deploy("lonely", &["w1", "w2"]);
        look.pod("lonely-0").placement.apart = vec![term("web", HOST)];
        look.pod("lonely-1").placement.apart = vec![term("web", HOST)];
    };
    let together: Change = |look| {
        look.deploy("cache", &["s1"]);
        asks(look).together = vec![term("cache", HOST)];
    };
    let ill: Change = |look| {
        let notes = taint("node.kubernetes.io/not-ready", Effect::NoSchedule);
        look.nodes[1..].iter_mut().for_each(|node| node.taints = vec![notes.clone()]);
    };
    let attached: Change = |look| {
        let volume = PodVolume { claim: "data".into(), driver: Some("csi.example.com".into()), ..PodVolume::default() };
        look.pod("web-0").volumes = vec![volume];
        for name in ["w1", "w2"] {
            look.node(name).attach_limits.insert("csi.example.com".into(), 1);
            let (driver, node) = ("csi.example.com".into(), name.into());
            look.attachments.push(Attachment { name: format!("a-{name}"), node, driver, volume: None });
        }
    };
    let cases: [(Change, &str, &str); 10] = [
        (cpu, "2 nodes have less than 600m cpu left", "free cpu"),
        (extended, "2 nodes have less than 1 example.com/gpu left", "Add a node"),
        (scratch, "Mi ephemeral-storage left", "Add a node"),
        (pods, "2 nodes have no place for another pod", "move pods off one"),
        (ports, "2 nodes have port 80 taken", "Free port 80"),
        (apart, "2 nodes have a pod from which it keeps apart", "prefer to keep apart"),
        (kept_away, "2 nodes have a pod from which it keeps apart", "Add a node"),
        (together, "no pod with which it must be", "go first"),
        (ill, "2 nodes have the condition not-ready", "Bring that node back"),
        (attached, "can attach no more volumes of csi.example.com", "detach volumes"),
    ];
    for (change, why, advice) in cases {
        let (grade, said) = place(change);
        assert!(grade == "no room" && said.contains(why) && said.contains(advice), "{grade}: {said}");
        assert!(said.contains("just now"), "{said}");
    }
}

#[test]
fn room_on_one_node_is_enough_and_is_used_up_by_those_that_leave_before() {
    let mut look = cluster(&["s1", "w1", "w2"]);
    look.deploy("web", &["s1", "s1", "s1"]);
    for node in &mut look.nodes {
        node.allocatable = of("memory", 2000);
    }
    look.pods.iter_mut().for_each(|pod| pod.placement.requests = of("memory", 1500));
    let grades: Vec<_> = ["web-0", "web-1", "web-2"].map(|name| said(&look.leaving(name).place).0).into();
    assert_eq!(grades, ["elsewhere", "elsewhere", "no room"]);
    // What has finished takes nothing, and a node of which nothing is known is not called full.
    look.deploy("job", &["w1"]);
    look.pod("job-0").phase = hostler_plan::cluster::Phase::Succeeded;
    look.pod("job-0").placement.requests = of("memory", 2000);
    look.node("w2").allocatable.clear();
    let grades: Vec<_> = ["web-0", "web-1", "web-2"].map(|name| said(&look.leaving(name).place).0).into();
    assert_eq!(grades, ["elsewhere"; 3]);
}

#[test]
fn who_may_push_out_others_is_not_said_to_wait() {
    let full = |look: &mut Look, priority: i32, never: bool| {
        look.deploy("big", &["w1", "w2"]);
        look.nodes.iter_mut().for_each(|node| node.allocatable = of("cpu", 1000));
        look.pods.iter_mut().for_each(|pod| pod.placement.requests = of("cpu", 600));
        (asks(look).priority, asks(look).never_preempts) = (priority, never);
    };
    for (priority, never, grade) in [(0, false, "no room"), (100, false, "unknown"), (100, true, "no room")] {
        let (found, why) = place(|look| full(look, priority, never));
        assert_eq!(found, grade, "{why}");
        assert_eq!(why.contains("push out pods of a lower priority"), grade == "unknown", "{why}");
    }
}

#[test]
fn the_first_of_a_group_that_must_be_together_may_go_anywhere() {
    let (grade, said) = place(|look| asks(look).together = vec![term("web", HOST)]);
    assert_eq!(grade, "elsewhere", "{said}");
    let (grade, said) = place(|look| {
        look.deploy("web", &["s1", "w2"]);
        look.pods.remove(0);
        asks(look).together = vec![term("web", HOST)];
    });
    assert_eq!((grade, said.as_str()), ("elsewhere", "w2"));
}

#[test]
fn pods_that_must_lie_evenly_need_the_node_that_they_leave() {
    let spread = |honours_taints| Spread {
        pods: term("web", HOST),
        max_skew: 1,
        min_domains: 1,
        honours_affinity: true,
        honours_taints,
    };
    // One on each of three nodes: a second one on another node would be two more than on the node that is drained,
    // which counts as empty because it is only cordoned.
    let spread_over = |honours_taints: bool, cordoned: bool| {
        place(|look| {
            look.deploy("web", &["s1", "w1", "w2"]);
            look.pods.remove(0);
            for name in ["web-0", "web-1", "web-2"] {
                look.pod(name).placement.spread = vec![spread(honours_taints)];
            }
            if cordoned {
                look.node("s1").taints = vec![taint("node.kubernetes.io/unschedulable", Effect::NoSchedule)];
            }
        })
    };
    let (grade, said) = spread_over(false, true);
    assert!(grade == "no room" && said.contains("too many of its pods already (kubernetes.io/hostname)"), "{said}");
    assert!(said.contains("nodeTaintsPolicy"), "{said}");
    assert_eq!(spread_over(true, true).0, "elsewhere", "a node that takes nobody is not counted");
    // By zone there is another node in the same one.
    let (grade, said) = place(|look| {
        for (name, zone) in [("s1", "a"), ("w1", "a"), ("w2", "b")] {
            look.node(name).labels.insert("zone".into(), zone.into());
        }
        look.deploy("web", &["s1", "w2"]);
        look.pods.remove(0);
        look.pod("web-0").placement.spread = vec![Spread { pods: term("web", "zone"), ..spread(false) }];
    });
    assert_eq!((grade, said.as_str()), ("elsewhere", "w1"));
}

#[test]
fn a_volume_for_one_node_at_a_time_has_to_be_detached_first() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("db", &["s1"]);
    let volume =
        PodVolume { claim: "data".into(), volume: Some("pv-7".into()), one_node: true, ..PodVolume::default() };
    look.pod("db-0").volumes = vec![volume];
    assert_eq!(look.leaving("db-0").slow, None);
    let (driver, volume) = ("csi.example.com".into(), Some("pv-7".into()));
    look.attachments.push(Attachment { name: "a".into(), node: "s1".into(), driver, volume });
    let slow = look.leaving("db-0").slow.unwrap().to_string();
    assert!(slow.contains("volume pv-7 has to be detached from s1"), "{slow}");
    assert_eq!(look.view().attached[0].volume.as_str(), "pv-7");
    look.pod("db-0").volumes[0].one_node = false;
    assert_eq!(look.leaving("db-0").slow, None);
}

#[test]
fn what_ends_for_good_takes_no_room() {
    for (finished, owned) in [(true, true), (false, false)] {
        let mut look = cluster(&["s1", "w1"]);
        // The first that is asked about.
        look.deploy("ends", &["s1"]);
        look.deploy("web", &["s1"]);
        look.nodes.iter_mut().for_each(|node| node.allocatable = of("cpu", 1000));
        look.pods.iter_mut().for_each(|pod| pod.placement.requests = of("cpu", 800));
        if finished {
            look.pod("ends-0").phase = hostler_plan::cluster::Phase::Succeeded;
        }
        look.pod("ends-0").owner.take_if(|_| !owned);
        let place = said(&look.leaving("web-0").place);
        assert_eq!(place, ("elsewhere", "w1".to_owned()), "finished {finished}, owned {owned}");
    }
}

#[test]
fn a_volume_that_goes_with_its_pod_binds_nobody() {
    let with = |ephemeral: bool, look: &mut Look| {
        let terms = vec![vec![is_in(HOST, &["s1"])]];
        let volume = Some("pv-7".to_owned());
        look.pod("web-0").volumes =
            vec![PodVolume { volume, terms, one_node: true, ephemeral, ..PodVolume::default() }];
        let (name, node, driver) = ("a".into(), "s1".into(), "csi.example.com".into());
        look.attachments = vec![Attachment { name, node, driver, volume: Some("pv-7".into()) }];
    };
    assert_eq!(place(|look| with(false, look)).0, "nowhere");
    assert_eq!(place(|look| with(true, look)), ("elsewhere", "w1 w2".to_owned()));
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1"]);
    with(true, &mut look);
    assert_eq!(look.leaving("web-0").slow, None);
}

#[test]
fn a_volume_of_a_zone_asks_for_a_node_there() {
    let (grade, said) = place(|look| {
        look.node("s1").labels.insert("topology.kubernetes.io/zone".into(), "a".into());
        let terms = vec![vec![is_in("topology.kubernetes.io/zone", &["a"])]];
        let volume = Some("pv-7".into());
        look.pod("web-0").volumes = vec![PodVolume { volume, terms, ..PodVolume::default() }];
    });
    assert_eq!(grade, "nowhere");
    assert!(
        said.contains("pv-7 exists in topology.kubernetes.io/zone=a only") && said.contains("add a node there"),
        "{said}"
    );
}

#[test]
fn places_for_volumes_are_used_up_and_a_volume_that_is_there_needs_none() {
    let driver = || Some("csi.example.com".to_owned());
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("db", &["s1", "s1"]);
    look.node("w1").attach_limits.insert(driver().unwrap(), 1);
    for name in ["db-0", "db-1"] {
        let volume = Some(format!("pv-{name}"));
        look.pod(name).volumes = vec![PodVolume { volume, driver: driver(), ..PodVolume::default() }];
    }
    let grades = |look: &Look| ["db-0", "db-1"].map(|name| said(&look.leaving(name).place).0);
    assert_eq!(grades(&look), ["elsewhere", "no room"]);
    // Both use one volume that many nodes may use.
    look.pod("db-1").volumes = look.pod("db-0").volumes.clone();
    assert_eq!(grades(&look), ["elsewhere", "elsewhere"]);
}

#[test]
fn a_node_counts_for_spread_with_the_labels_of_all_and_not_once_it_is_cordoned() {
    let spread = |key: &str, honours_taints| Spread {
        pods: term("web", key),
        max_skew: 1,
        min_domains: 1,
        honours_affinity: true,
        honours_taints,
    };
    let over = |change: &dyn Fn(&mut Look), spreads: &[Spread]| {
        place(|look| {
            look.deploy("web", &["s1", "w1", "w2"]);
            look.pods.remove(0);
            look.pods.iter_mut().for_each(|pod| pod.placement.spread = spreads.to_vec());
            change(look);
        })
    };
    // Nobody has cordoned the node yet.
    assert_eq!(over(&|_| {}, &[spread(HOST, true)]).0, "elsewhere");
    let min = Spread { min_domains: 3, ..spread(HOST, true) };
    let (grade, said) = over(&|_| {}, &[min]);
    assert!(grade == "no room" && said.contains("Add a node, or allow a larger maxSkew"), "{said}");
    // The drained node has no zone, and so counts for neither.
    let zones = |look: &mut Look| {
        for name in ["w1", "w2"] {
            look.node(name).labels.insert("zone".into(), "a".into());
        }
    };
    assert_eq!(over(&zones, &[spread(HOST, false), spread("zone", false)]).0, "elsewhere");
    assert_eq!(over(&|_| {}, &[spread(HOST, false)]).0, "no room");
}

#[test]
fn what_no_other_node_has_is_nowhere_and_not_a_matter_of_room() {
    let gpu = |change: &dyn Fn(&mut Look)| {
        place(|look| {
            look.nodes.iter_mut().for_each(|node| node.allocatable = of("cpu", 4000));
            look.node("s1").allocatable.insert("example.com/gpu".into(), 2000);
            asks(look).requests = of("example.com/gpu", 1000);
            change(look);
        })
    };
    let (grade, said) = gpu(&|_| {});
    assert_eq!(grade, "nowhere", "{said}");
    assert!(said.contains("has 1 example.com/gpu, were it empty. Add a node that has as much"), "{said}");
    // The only other one that has it is cordoned, tainted, or of another kind.
    let has = |look: &mut Look| look.node("w1").allocatable.extend(of("example.com/gpu", 1000));
    let cordoned = |look: &mut Look| (has(look), look.node("w1").unschedulable = true).1;
    let tainted = |look: &mut Look| (has(look), look.node("w1").taints = vec![taint("gpu", Effect::NoSchedule)]).1;
    assert!(gpu(&cordoned).1.contains("Uncordon w1"), "{}", gpu(&cordoned).1);
    assert!(gpu(&tainted).1.contains("(taint gpu)"), "{}", gpu(&tainted).1);
    assert_eq!(gpu(&|look| has(look)).0, "elsewhere");
    assert_eq!(gpu(&|look| look.node("w2").allocatable.clear()).0, "elsewhere", "nobody knows what it has");
    // Under a budget the rest never goes.
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "s1"]);
    look.protect("web", hostler_plan::cluster::BudgetLimit::MinAvailable(1));
    look.nodes.iter_mut().for_each(|node| node.allocatable = of("cpu", 4000));
    look.pods.iter_mut().for_each(|pod| pod.placement.requests = of("example.com/gpu", 1000));
    assert_eq!(look.blocked().len(), 1, "{:?}", look.blocked());
}
