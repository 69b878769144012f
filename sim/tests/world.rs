//! The simulated world behaves like the real one where a rollout can tell.

#![allow(clippy::unwrap_used, reason = "a test may end by panic, in its helpers too")]

use hostler_executor::{
    distribution::{
        Distribution as _, Status,
        k3s::{BINARY, K3s},
    },
    host::{CordonAnswer, Eviction, Host as _, NodeReady, PodScope, SELF_CORDON_MANAGER, SelfCordon, UnitActivity},
};
use hostler_plan::{
    cluster::BudgetLimit,
    health::Rule,
    id::{Arch, NodeName},
    step::{ClusterRole, UnitState},
    version::Version,
};
use hostler_sim::{
    clock::SharedWorld,
    host::SimHost,
    socket,
    world::{
        K3sError, PodKey, World,
        budget::{Allowance, Budget, Matching, allowance},
        cluster::{Owner, PodState},
        eviction::EvictionAnswer,
        fault::Fault,
        k3s_binary,
        machine::{BOOT, File},
        workload::{ControllerKind, Workload},
    },
};

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

const OLD: &str = "v1.33.5+k3s1";
const NEW: &str = "v1.34.2+k3s1";

fn put_binary(world: &mut World, node: &NodeName, text: &str) {
    let content = k3s_binary(version(text), Arch::Aarch64);
    world.machine_mut(node).unwrap().files.insert(BINARY.into(), File { mode: 0o755, content });
}

/// A cluster of `s1` and workers `w1`.. that runs nothing.
fn cluster(workers: usize, storage: bool) -> (World, Vec<NodeName>) {
    let names: Vec<NodeName> =
        std::iter::once(name("s1")).chain((1..=workers).map(|n| name(&format!("w{n}")))).collect();
    let mut world = World::new(7, names.iter().map(|n| (n.clone(), Arch::Aarch64)));
    world.deploy(storage);
    for node in &names {
        put_binary(&mut world, node, OLD);
    }
    world.k3s_bootstrap(&names[0]).unwrap();
    pass(&mut world, 30);
    for node in &names[1..] {
        let secret = world.k3s_token(&names[0], ClusterRole::Worker, 60_000).unwrap();
        world.k3s_join(node, ClusterRole::Worker, &secret).unwrap();
    }
    pass(&mut world, 60);
    assert!(world.cluster.nodes.values().all(|n| n.ready), "{:?}", world.cluster.nodes);
    (world, names)
}

fn pass(world: &mut World, seconds: u64) {
    let until = world.now() + seconds * 1000;
    world.advance(until);
}

#[test]
fn a_budget_counts_as_the_disruption_controller_does() {
    let rows = [
        // limit, pods, scale, healthy: expected, desired, allowed
        (BudgetLimit::MinAvailable(2), (3, 3, 3), (3, 2, 1)),
        (BudgetLimit::MinAvailable(1), (1, 1, 1), (1, 1, 0)),
        (BudgetLimit::MinAvailablePercent(60), (3, 3, 3), (3, 2, 1)),
        (BudgetLimit::MinAvailablePercent(51), (2, 2, 2), (2, 2, 0)),
        (BudgetLimit::MinAvailablePercent(100), (4, 4, 4), (4, 4, 0)),
        (BudgetLimit::MaxUnavailable(1), (4, 4, 4), (4, 3, 1)),
        (BudgetLimit::MaxUnavailable(0), (4, 4, 4), (4, 4, 0)),
        (BudgetLimit::MaxUnavailablePercent(30), (4, 4, 4), (4, 2, 2)),
        (BudgetLimit::MaxUnavailable(9), (4, 4, 1), (4, 0, 1)),
        // Scaled to 4, but only 3 pods are there yet and 3 are healthy.
        (BudgetLimit::MaxUnavailable(1), (3, 4, 3), (4, 3, 0)),
        // Pods without a controller are expected by nobody, except by a plain number.
        (BudgetLimit::MaxUnavailable(1), (2, 0, 2), (0, 0, 0)),
        (BudgetLimit::MinAvailablePercent(50), (2, 0, 2), (0, 0, 0)),
        (BudgetLimit::MinAvailable(1), (2, 0, 2), (2, 1, 1)),
    ];
    for (limit, (pods, scale, healthy), (expected, desired_healthy, allowed)) in rows {
        let found = allowance(limit, Matching { pods, scale, healthy });
        let wanted = Allowance { expected, desired_healthy, current_healthy: healthy, allowed };
        assert_eq!(found, wanted, "{limit:?} over {pods} pods of scale {scale}, {healthy} healthy");
    }
}

#[test]
fn a_budget_lets_one_pod_go_and_the_next_after_its_replacement_is_ready() {
    let (mut world, _) = cluster(3, false);
    let web = |world: &World| {
        let pods = world.cluster.pods.iter();
        pods.filter(|(key, p)| key.name.starts_with("web-") && p.is_ready()).map(|(k, _)| k.clone()).collect::<Vec<_>>()
    };
    let first = web(&world);
    assert_eq!(first.len(), 4);
    let evict = |world: &mut World, key: &PodKey, uid: Option<&str>| {
        let (now, faults) = (world.now(), world.faults.clone());
        world.cluster.evict(key, uid, now, &faults)
    };
    assert_eq!(evict(&mut world, &first[0], None), EvictionAnswer::Accepted);
    assert_eq!(
        evict(&mut world, &first[1], None),
        EvictionAnswer::Budget {
            budget: "shop/web".into(),
            sentence: "The disruption budget web needs 3 healthy pods and has 3 currently".into()
        }
    );
    // Asking again for a pod that is on its way out costs nothing and is accepted.
    assert_eq!(evict(&mut world, &first[0], None), EvictionAnswer::Accepted);
    pass(&mut world, 20);
    assert!(!world.cluster.pods.contains_key(&first[0]));
    assert_eq!(web(&world).len(), 4, "the replacement is ready");
    assert_eq!(evict(&mut world, &first[1], None), EvictionAnswer::Accepted);
    assert_eq!(evict(&mut world, &first[0], None), EvictionAnswer::NotFound);
}

#[test]
fn a_wrong_uid_is_refused_and_still_costs_a_disruption_for_two_minutes() {
    let (mut world, _) = cluster(3, false);
    let web: Vec<PodKey> = world.cluster.pods.keys().filter(|k| k.name.starts_with("web-")).cloned().collect();
    let (now, faults) = (world.now(), world.faults.clone());
    let answer = world.cluster.evict(&web[0], Some("another"), now, &faults);
    assert!(matches!(answer, EvictionAnswer::OtherUid { .. }), "{answer:?}");
    let blocked = |world: &mut World| {
        let now = world.now();
        matches!(world.cluster.evict(&web[1], None, now, &faults), EvictionAnswer::Budget { .. })
    };
    assert!(blocked(&mut world));
    pass(&mut world, 100);
    assert!(blocked(&mut world));
    pass(&mut world, 21);
    assert!(!blocked(&mut world));
}

#[test]
fn two_budgets_on_a_pod_block_for_ever_and_a_mirror_pod_comes_back_at_once() {
    let (mut world, names) = cluster(2, false);
    world.cluster.budgets.push(Budget {
        name: "everything".into(),
        selector: Default::default(),
        ..Budget::over("shop", "any", BudgetLimit::MaxUnavailable(1))
    });
    let web = world.cluster.pods.keys().find(|k| k.name.starts_with("web-")).cloned().unwrap();
    let (now, faults) = (world.now(), world.faults.clone());
    assert_eq!(
        world.cluster.evict(&web, None, now, &faults),
        EvictionAnswer::TooManyBudgets { budgets: vec!["shop/web".into(), "shop/everything".into()] }
    );
    let mirror = PodKey { namespace: "kube-system".into(), name: "static-w1".into() };
    world.cluster.add_pod(mirror.clone(), Owner::Mirror, &names[1]);
    let uid = world.cluster.pods[&mirror].uid.clone();
    assert_eq!(world.cluster.evict(&mirror, Some(&uid), now, &faults), EvictionAnswer::Accepted);
    assert_ne!(world.cluster.pods[&mirror].uid, uid);
    assert_eq!(world.cluster.pods[&mirror].state, PodState::Ready);
}

#[test]
fn an_unready_pod_goes_only_if_enough_others_are_healthy() {
    let (mut world, names) = cluster(2, false);
    let sick = PodKey { namespace: "lab".into(), name: "sick".into() };
    world.cluster.workloads.push(Workload::new(ControllerKind::Deployment, "lab", "sick", 1));
    world.cluster.budgets.push(Budget::over("lab", "sick", BudgetLimit::MaxUnavailable(1)));
    let owner = Owner::Controller { kind: ControllerKind::Deployment, name: "sick".into() };
    world.cluster.add_pod(sick.clone(), owner, &names[1]);
    world.cluster.pods.get_mut(&sick).unwrap().state = PodState::Starting { until: u64::MAX };
    let (now, faults) = (world.now(), world.faults.clone());
    // maxUnavailable 1 of 1: desired 0, and IfHealthyBudget asks for desired > 0. Stuck for ever, as in real life.
    let answer = world.cluster.evict(&sick, None, now, &faults);
    assert!(
        matches!(&answer, EvictionAnswer::Budget { sentence, .. }
        if sentence == "The disruption budget sick needs 0 healthy pods and has 0 currently"),
        "{answer:?}"
    );
    world.cluster.budgets.last_mut().unwrap().always_allow_unhealthy = true;
    assert_eq!(world.cluster.evict(&sick, None, now, &faults), EvictionAnswer::Accepted);
}

#[test]
fn a_reboot_changes_the_boot_id_and_pods_come_back_after_the_node_is_ready() {
    let (mut world, names) = cluster(2, false);
    let before = world.machine(&names[1]).unwrap().boot_id.clone();
    world.reboot(&names[1]).unwrap();
    assert!(!world.machine(&names[1]).unwrap().is_up());
    pass(&mut world, BOOT / 1000 + 1);
    let machine = world.machine(&names[1]).unwrap();
    assert!(machine.is_up());
    assert_ne!(machine.boot_id, before);
    assert_eq!(machine.boots, 2);
    pass(&mut world, 16);
    assert!(!world.cluster.nodes[&names[1]].ready, "ready means that its network is there");
    pass(&mut world, 40);
    let node = &world.cluster.nodes[&names[1]];
    assert!(node.ready);
    assert_eq!(node.boot_id, world.machine(&names[1]).unwrap().boot_id.to_string());
    let (ready, wanted) = world.pods_ready();
    assert_eq!(ready, wanted);
}

#[test]
fn a_node_that_never_boots_loses_its_pods_after_five_minutes() {
    let (mut world, names) = cluster(2, false);
    world.add_fault(Fault::NoBoot { node: names[2].clone() });
    world.reboot(&names[2]).unwrap();
    pass(&mut world, 60);
    assert!(!world.cluster.nodes[&names[2]].ready, "silent for longer than the grace");
    assert!(world.cluster.pods_on(&names[2]).any(|(_, p)| p.state == PodState::Lost));
    pass(&mut world, 400);
    assert!(world.cluster.pods_on(&names[2]).all(|(_, p)| p.is_terminating()), "marked, and nobody there to stop them");
    let web = world.cluster.pods.iter().filter(|(k, p)| k.name.starts_with("web-") && p.is_ready()).count();
    assert_eq!(web, 4, "the replacements run elsewhere");
}

#[test]
fn an_upgrade_runs_the_new_version_and_pods_run_on() {
    let (mut world, names) = cluster(2, false);
    put_binary(&mut world, &names[1], NEW);
    world.k3s_restart(&names[1]).unwrap();
    assert_eq!(world.machine(&names[1]).unwrap().k3s.running(), None);
    assert_eq!(world.pods_ready().0, world.pods_ready().1);
    pass(&mut world, 20);
    assert_eq!(world.machine(&names[1]).unwrap().k3s.running(), Some(version(NEW)));
    assert_eq!(world.cluster.nodes[&names[1]].version, version(NEW));
}

#[test]
fn the_fault_brings_the_old_version_back_once() {
    let (mut world, names) = cluster(2, false);
    world.add_fault(Fault::OldVersion { node: names[1].clone(), times: 1 });
    put_binary(&mut world, &names[1], NEW);
    world.k3s_restart(&names[1]).unwrap();
    pass(&mut world, 20);
    let k3s = &world.machine(&names[1]).unwrap().k3s;
    assert_eq!((k3s.binary, k3s.running()), (Some(version(NEW)), Some(version(OLD))), "the binary is not what runs");
    world.k3s_restart(&names[1]).unwrap();
    pass(&mut world, 20);
    assert_eq!(world.machine(&names[1]).unwrap().k3s.running(), Some(version(NEW)));
}

#[test]
fn joining_needs_a_token_of_this_cluster_and_a_cluster_has_one_first_server() {
    let (mut world, names) = cluster(1, false);
    assert_eq!(world.k3s_join(&names[1], ClusterRole::Worker, "wrong"), Err(K3sError::Token));
    let secret = world.k3s_token(&names[0], ClusterRole::Worker, 1000).unwrap();
    assert_eq!(world.k3s_join(&names[1], ClusterRole::Server, &secret), Err(K3sError::Token), "made for a worker");
    pass(&mut world, 2);
    assert_eq!(world.k3s_join(&names[1], ClusterRole::Worker, &secret), Err(K3sError::Token), "expired");
    assert_eq!(world.k3s_bootstrap(&names[1]), Err(K3sError::ClusterExists(names[0].clone())));
}

#[test]
fn the_storage_systems_budget_goes_once_a_cordoned_node_has_no_engine_and_every_copy_a_twin() {
    let (mut world, names) = cluster(3, true);
    pass(&mut world, 60);
    let engine = world.cluster.volumes["pvc-db-0"].attached.clone().unwrap().0;
    let manager = PodKey { namespace: "longhorn-system".into(), name: format!("instance-manager-{engine}") };
    let evict = |world: &mut World, key: &PodKey| {
        let (now, faults) = (world.now(), world.faults.clone());
        world.cluster.evict(key, None, now, &faults)
    };
    assert!(matches!(evict(&mut world, &manager), EvictionAnswer::Budget { .. }), "allowed is always 0");
    world.cluster.nodes.get_mut(&engine).unwrap().unschedulable = true;
    pass(&mut world, 5);
    assert!(matches!(evict(&mut world, &manager), EvictionAnswer::Budget { .. }), "the engine still runs here");
    let db = PodKey { namespace: "shop".into(), name: "db-0".into() };
    assert_eq!(evict(&mut world, &db), EvictionAnswer::Accepted);
    pass(&mut world, 20);
    assert_eq!(evict(&mut world, &manager), EvictionAnswer::Accepted);
    assert_ne!(world.cluster.pods[&db].node.as_ref(), Some(&engine));
    let home: Vec<_> = world.cluster.volumes["pvc-db-0"].replicas.keys().filter(|n| **n != engine).cloned().collect();
    for other in home {
        world.cluster.nodes.get_mut(&other).unwrap().unschedulable = true;
    }
    pass(&mut world, 20);
    let last =
        names.iter().filter(|n| **n != engine).find(|n| world.cluster.volumes["pvc-db-0"].replicas.contains_key(*n));
    let manager = PodKey { namespace: "longhorn-system".into(), name: format!("instance-manager-{}", last.unwrap()) };
    assert!(
        matches!(evict(&mut world, &manager), EvictionAnswer::Budget { .. }),
        "cordoning all copies blocks them all"
    );
}

#[test]
fn under_voltage_shows_in_the_facts_while_it_lasts_and_stays_in_the_sticky_bit() {
    let (mut world, names) = cluster(1, false);
    let at = world.now() + 5_000;
    world.add_fault(Fault::UnderVoltage { node: names[1].clone(), from: at, until: at + 10_000 });
    let look = |world: &World| {
        let facts = world.facts(world.machine(&names[1]).unwrap(), 1_000_000);
        let bit = |scope| facts.get("hostler_rpi_throttle", &[("reason", "under_voltage"), ("scope", scope)]);
        (facts.get("hostler_rpi_under_voltage", &[]), bit("now"), bit("since_boot"))
    };
    assert_eq!(look(&world), (Some(0.0), Some(0.0), Some(0.0)));
    pass(&mut world, 6);
    assert_eq!(look(&world), (Some(1.0), Some(1.0), Some(1.0)));
    pass(&mut world, 10);
    assert_eq!(look(&world), (Some(0.0), Some(0.0), Some(1.0)));
    world.reboot(&names[1]).unwrap();
    pass(&mut world, 40);
    assert_eq!(look(&world), (Some(0.0), Some(0.0), Some(0.0)), "a reboot clears it");
}

#[test]
fn the_same_seed_is_the_same_world_however_often_one_looks() {
    let run = |steps: u64| {
        let (mut world, names) = cluster(3, true);
        world.reboot(&names[2]).unwrap();
        for _ in 0..steps {
            pass(&mut world, 120 / steps);
        }
        let pods: Vec<_> = world.cluster.pods.iter().map(|(k, p)| (k.clone(), p.clone())).collect();
        (world.machine(&names[2]).unwrap().boot_id.clone(), pods)
    };
    assert_eq!(run(1), run(60));
}

#[test]
fn an_agent_sees_the_same_machine_through_the_socket_and_in_the_process() {
    let dir = std::env::temp_dir().join(format!("hostler-sim-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("world");
    let (world, names) = cluster(2, true);
    let world = SharedWorld::new(world, 1.0);
    socket::serve(world.clone(), &path).unwrap();
    let near = SimHost::here(world.clone(), names[0].clone()).unwrap();
    let far = SimHost::there(&path, names[0].clone()).unwrap();
    assert_eq!(near.hardware().unwrap(), far.hardware().unwrap());
    assert_eq!(near.boot_id().unwrap(), far.boot_id().unwrap());
    assert_eq!(K3s::status(&far).unwrap(), Status { running: Some(version(OLD)), role: Some(ClusterRole::Server) });
    assert_eq!(far.unit("k3s.service").unwrap().activity, UnitActivity::Active);
    assert!(far.set_unit("nothing.service", UnitState::Started, true).is_err());
    let cluster = far.cluster().expect("a server has credentials");
    assert!(cluster.nodes().unwrap().iter().all(|n| n.ready == NodeReady::Ready && n.version == OLD));
    let pods = cluster.pods(PodScope::OnNode("w1")).unwrap();
    let manager = pods.iter().find(|p| p.key.name.starts_with("instance-manager")).unwrap();
    assert!(matches!(cluster.evict(&manager.key), Eviction::Budget(_)));
    let worker = SimHost::there(&path, names[1].clone()).unwrap();
    assert!(worker.cluster().is_none(), "a worker has none");
    let own = worker.own_cluster().expect("but a kubelet");
    let node = || own.node("w1").unwrap().unwrap();
    let note = SelfCordon {
        rule: Rule::DiskSpace,
        reason: "full".into(),
        since: worker.now().whole_seconds(),
        was_unschedulable: false,
    };
    let before = node();
    assert_eq!(own.cordon_itself(&before, &note).unwrap(), CordonAnswer::Done);
    assert_eq!(own.cordon_itself(&before, &note).unwrap(), CordonAnswer::Changed, "somebody was faster");
    assert_eq!((node().unschedulable, node().self_cordon, node().cordon), (true, Some(note), None));
    assert_eq!(node().unschedulable_by.as_deref(), Some(SELF_CORDON_MANAGER));
    assert_eq!(own.uncordon_itself(&node(), false).unwrap(), CordonAnswer::Done);
    assert!(own.nodes().is_err() && own.node("s1").is_err(), "its own and no other");
    assert_eq!((node().unschedulable, node().self_cordon), (false, None));
    assert!(SimHost::there(&path, name("nobody")).is_err());

    world.now().reboot(&names[0]).unwrap();
    assert!(far.boot_id().is_err(), "a machine that is down answers nothing");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_dead_node_that_is_given_up_loses_its_pods_and_volumes_at_once_and_they_start_elsewhere() {
    let (mut world, _) = cluster(3, true);
    let key = PodKey { namespace: "shop".into(), name: "db-0".into() };
    let db = |world: &World| world.cluster.pods.get(&key).and_then(|pod| pod.node.clone().filter(|_| pod.is_ready()));
    // Everything began on the server, which is to live on.
    world.cluster.nodes.get_mut(&name("s1")).unwrap().unschedulable = true;
    let (now, faults) = (world.now(), world.faults.clone());
    assert_eq!(world.cluster.evict(&key, None, now, &faults), EvictionAnswer::Accepted);
    pass(&mut world, 60);
    let home = db(&world).expect("db-0 runs");
    assert_ne!(home, name("s1"));
    world.add_fault(Fault::NoBoot { node: home.clone() });
    world.reboot(&home).unwrap();
    pass(&mut world, 120);
    let attached = |world: &World| world.cluster.volumes["pvc-db-0"].attached.as_ref().map(|(node, _)| node.clone());
    assert_eq!(
        (db(&world), attached(&world)),
        (None, Some(home.clone())),
        "it waits for a kubelet that does not answer"
    );
    let world = SharedWorld::new(world, 1.0);
    let host = SimHost::here(world.clone(), name("s1")).unwrap();
    let api = host.cluster().unwrap();
    let seen = api.node(home.as_str()).unwrap().unwrap();
    assert_eq!(api.give_up(&seen, true).unwrap(), CordonAnswer::Done);
    assert_eq!(api.give_up(&seen, true).unwrap(), CordonAnswer::Changed, "it is another version by now");
    assert!(api.node(home.as_str()).unwrap().unwrap().is_given_up());
    let mut world = world.now().clone();
    pass(&mut world, 30);
    let elsewhere = db(&world).expect("it starts elsewhere");
    assert!(elsewhere != home && attached(&world) == Some(elsewhere));
    assert_eq!(world.cluster.pods_on(&home).filter(|(_, pod)| pod.owner != Owner::Mirror).count(), 0);
}
