//! A cluster that stands is read and becomes a fleet file: the executor is real, its API server and kubeadm are played.

use hostler_cli::import;
use hostler_plan::{
    fleet::{Fleet, Kubeadm},
    import::{Enrolled, fleet_file},
    planner::Intent,
    step::Step,
};
use hostler_seal::Identity;

use super::{
    is_whole, join,
    stand::{NEW, Stand, artifacts},
    upgrade_plan, upgraded, well,
};

#[test]
fn an_imported_cluster_is_what_its_fleet_file_said_and_upgrades_without_being_made_anew() {
    let mut stand = Stand::new(1, 1);
    well(&mut stand, &Intent::Bootstrap {});
    well(&mut stand, &join());
    let identity = Identity::generate();
    let server = stand.fleet.nodes[0].name.clone();
    let endings = well(&mut stand, &Intent::Read { server, to: identity.recipient() });
    assert!(endings.iter().all(|ending| !ending.changed));
    let answer = import::answer(&endings[0].receipt, &identity, &stand.root.fleet_id).unwrap();
    let nodes = stand.roster.nodes.iter();
    let enrolled: Vec<Enrolled> = nodes
        .map(|node| Enrolled { name: node.name.clone(), object: node.name.clone(), role: node.role, arch: node.arch })
        .collect();
    let draft = fleet_file(&answer, &enrolled, "imported");
    let text = import::write(&draft, "a simulated cluster");
    let (lock, _) = artifacts();
    let (read, unwise) = Fleet::with_lock(("fleet.toml", &text), ("fleet.lock", &lock)).unwrap();
    println!("{text}{unwise:?}");
    let made = stand.fleet.kubeadm.clone().unwrap();
    assert_eq!(read.kubeadm, Some(Kubeadm { manifests: Vec::new(), ..made }), "{text}");
    assert_eq!((read.version, &read.api, &read.name), (stand.fleet.version, &stand.fleet.api, &stand.fleet.name));
    let nodes = |fleet: &Fleet| fleet.nodes.iter().map(|n| (n.name.clone(), n.role, n.arch)).collect::<Vec<_>>();
    assert_eq!(nodes(&read), nodes(&stand.fleet));
    assert_eq!(draft.unsaid.len(), 1, "{:?}", draft.unsaid);

    let policy = stand.fleet.policy.clone();
    stand.fleet = Fleet { policy, ..read };
    let plan =
        hostler_plan::json::parse::<hostler_plan::document::Plan>(&upgrade_plan(&mut stand).unwrap().bytes).unwrap();
    let asks = plan.tasks.iter().filter(|task| task.steps.iter().any(|step| matches!(step, Step::NoRemovedApis(_))));
    assert_eq!(asks.count(), 1, "from 1.35 to 1.36");
    assert!(
        plan.tasks.iter().all(|task| !task
            .steps
            .iter()
            .any(|step| { matches!(step, Step::EnsureModule(_) | Step::EnsureSysctl(_)) }))
    );
    upgraded(&mut stand);
    is_whole(&stand, NEW).unwrap();
}
