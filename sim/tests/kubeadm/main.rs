//! Fleets of kubeadm in the simulation: real executors, plans of the real planner, a kubeadm that does in memory what
//! the real one was seen to do.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod kills;
mod mortal;
mod process;
mod stand;

use hostler_plan::{
    document::{Outcome, Signed},
    planner::{Intent, PlanError, Quarantined, Selection},
};
use hostler_sim::world::fault::Fault;

use stand::{Ending, NEW, OLD, Stand};

pub(crate) fn join() -> Intent {
    Intent::Join { nodes: Selection::All }
}

pub(crate) fn upgrade(stand: &Stand) -> Intent {
    let nodes = Selection::All;
    let servers = stand.fleet.servers();
    // One of two, and the only one, are away while they are upgraded.
    let is_outage = servers.len() < 3;
    let accept_outage = servers.iter().filter(|_| is_outage).map(|server| server.name.clone()).collect();
    Intent::Upgrade { to: NEW.parse().unwrap(), nodes, quarantined: Quarantined::Refuse, accept_outage }
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
