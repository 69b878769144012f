//! Fleets of kubeadm in the simulation: real executors, plans of the real planner, a kubeadm that does in memory what
//! the real one was seen to do.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod configure;
mod import;
mod kills;
mod mortal;
mod process;
mod restore;
mod stand;
mod whole;

use hostler_plan::{
    document::{Outcome, Signed},
    planner::{Intent, PlanError, Selection},
};
use hostler_sim::world::fault::Fault;

use stand::{Ending, NEW, OLD, Stand, upgrade_of};

pub(crate) fn join() -> Intent {
    Intent::Join { nodes: Selection::All }
}

pub(crate) fn upgrade(stand: &Stand) -> Intent {
    upgrade_of(&stand.fleet)
}

pub(crate) fn baseline() -> Intent {
    Intent::Baseline { nodes: Selection::All }
}

/// Performs a plan that has to end well.
pub(crate) fn well(stand: &mut Stand, intent: &Intent) -> Vec<Ending> {
    let plan = stand.plan(intent).unwrap();
    let endings = stand.perform(&plan);
    for ending in &endings {
        assert_eq!(ending.outcome, Outcome::Succeeded {}, "{}", ending.task);
    }
    endings
}

fn upgraded(stand: &mut Stand) {
    let intent = upgrade(stand);
    well(stand, &intent);
}

fn upgrade_plan(stand: &mut Stand) -> Result<Signed, PlanError> {
    let intent = upgrade(stand);
    stand.plan(&intent)
}

/// Everything of the fleet is as it should be at that version.
pub(crate) fn is_whole(stand: &Stand, version: &str) -> Result<(), String> {
    let world = stand.world.now();
    let version = version.parse().unwrap();
    for node in &stand.fleet.nodes {
        match world.cluster.nodes.get(&node.name) {
            Some(found) if found.ready && found.version == version && !found.unschedulable => {}
            found => return Err(format!("{}: expected Ready at {version}, found {found:?}", node.name)),
        }
        let machine = world.machine(&node.name).unwrap();
        for path in ["/run/hostler/kubeadm-discovery.conf", "/etc/kubernetes/bootstrap-kubelet.conf"] {
            if machine.files.contains_key(path) {
                return Err(format!("{}: {path} stays", node.name));
            }
        }
    }
    let servers = stand.fleet.servers().len();
    let voters = world.kubeadm.members.iter().filter(|member| !member.is_learner && member.has_started).count();
    if (voters, world.kubeadm.members.len()) != (servers, servers) {
        return Err(format!("expected {servers} voting members, found {:?}", world.kubeadm.members));
    }
    match world.kubeadm.objects.keys().find(|path| path.contains("bootstrap-token")) {
        Some(token) => Err(format!("{token} stays")),
        None => Ok(()),
    }
}

#[test]
fn fleets_of_one_and_of_three_servers_live_from_bare_machines_to_the_next_version() {
    for (servers, workers) in [(1, 1), (3, 1)] {
        let mut stand = Stand::new(servers, workers);
        well(&mut stand, &Intent::Bootstrap {});
        well(&mut stand, &join());
        is_whole(&stand, OLD).unwrap();
        let again = well(&mut stand, &baseline());
        // That a node was seen Ready counts as a change.
        let changed: Vec<&Ending> =
            again.iter().filter(|e| e.changed && !e.task.to_string().ends_with(".ready")).collect();
        assert!(changed.is_empty(), "a baseline of whole machines changes nothing: {changed:?}");
        upgraded(&mut stand);
        is_whole(&stand, NEW).unwrap();
        assert!(upgrade_plan(&mut stand).is_err(), "there is nothing to do any more");
    }
}

#[test]
fn an_api_server_that_does_not_start_is_named_with_the_mixture_and_the_next_plan_goes_on() {
    let mut stand = Stand::new(1, 1);
    well(&mut stand, &Intent::Bootstrap {});
    well(&mut stand, &join());
    stand.world.now().add_fault(Fault::BrokenApiServer { node: hostler_fixtures::name("s1") });
    let plan = upgrade_plan(&mut stand).unwrap();
    let endings = stand.perform(&plan);
    let last = endings.last().unwrap();
    let said = format!("{:?}", last.outcome);
    assert!(last.task.to_string().starts_with("s1.upgrade"), "{endings:?}");
    assert!(said.contains("etcd 3.6.8-0, kube-apiserver v1.35.4"), "{said}");
    // What was drained is out of service, and goes on where it stands.
    stand.world.now().cluster.nodes.values_mut().for_each(|node| node.unschedulable = false);
    upgraded(&mut stand);
}

#[test]
fn a_machine_says_in_what_it_differs_and_a_baseline_mends_it_and_restarts_the_runtime_alone() {
    let mut stand = Stand::new(1, 0);
    well(&mut stand, &Intent::Bootstrap {});
    let s1 = hostler_fixtures::name("s1");
    let inspect = Intent::Inspect { nodes: Selection::All };
    let differs = |stand: &mut Stand| -> Vec<String> {
        well(stand, &inspect).iter().flat_map(|ending| ending.differs.clone()).collect()
    };
    assert_eq!(differs(&mut stand), Vec::<String>::new());
    let change = |stand: &mut Stand| {
        let mut world = stand.world.now();
        let now = world.now();
        let machine = world.machine_mut(&s1).unwrap();
        machine.files.get_mut("/etc/containerd/config.toml").unwrap().content = b"version = 2\n".to_vec();
        machine.kubeadm.changed.insert("/etc/containerd/config.toml".into(), now);
        machine.sysctls.insert("net.ipv4.ip_forward".into(), "0".into());
    };
    stand.world.pass(std::time::Duration::from_secs(5));
    change(&mut stand);
    let before = stand.world.now().machine(&s1).unwrap().files.clone();
    let found = differs(&mut stand);
    let ops: Vec<&str> = found.iter().filter_map(|found| found.split(':').next()).collect();
    assert_eq!(ops, ["sysctl.ensure", "file.ensure", "systemd.current"], "{found:?}");
    assert_eq!(stand.world.now().machine(&s1).unwrap().files, before);
    let started = |stand: &Stand| stand.world.now().machine(&s1).unwrap().kubeadm.started["containerd.service"];
    let first = started(&stand);
    well(&mut stand, &baseline());
    assert!(started(&stand) > first, "containerd was restarted");
    assert_eq!(differs(&mut stand), Vec::<String>::new());
    assert!(stand.world.now().machine(&s1).unwrap().kubeadm.pods.len() == 4, "its pods run on");
}

#[test]
fn what_an_earlier_cluster_left_of_its_network_is_named_before_anything_starts() {
    let mut stand = Stand::new(1, 1);
    well(&mut stand, &Intent::Bootstrap {});
    well(&mut stand, &join());
    // As a person takes a worker out: its Node goes, and kubeadm empties the machine but for the network.
    let w1 = hostler_fixtures::name("w1");
    let mut world = stand.world.now();
    world.run(&w1, &["kubeadm", "reset", "--force"]).unwrap();
    world.kubeadm_delete("/api/v1/nodes/w1").unwrap();
    world.machine_mut(&w1).unwrap().files.remove("/etc/kubernetes/hostler-kubeadm.yaml");
    drop(world);
    let plan = stand.plan(&join()).unwrap();
    let endings = stand.perform(&plan);
    let said = endings.last().unwrap().outcome.to_string();
    assert!(said.contains("network configuration in /etc/cni/net.d (10-net.conflist)"), "{said}");
    assert!(said.contains("rules of kube-proxy (`nft list tables`), which a reboot removes"), "{said}");
    stand.world.now().machine_mut(&w1).unwrap().files.remove("/etc/cni/net.d/10-net.conflist");
    stand.reboot(&w1);
    well(&mut stand, &join());
    is_whole(&stand, OLD).unwrap();
}
