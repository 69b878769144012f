//! Snapshots of etcd: sealed to the recovery keys of the root, kept by count, and asked for what they are.

use std::{io, path::Path};

use hostler_plan::{
    document::{Outcome, PlanKind, Receipt, RecoveryKey, SnapshotNote, TakenSnapshot},
    id::Digest,
    step::{Step, etcd},
};
use hostler_seal::{Identity, unpack};

use super::{NEW, OLD, double::Double, perform, reason, upgrade};
use crate::testing::{Fleet, Machine};

const CA_KEY: &str = "the key of the cluster's authority";

fn snapshot(to: &[&str]) -> Step {
    let to = to.iter().map(|folder| folder.parse().unwrap()).collect();
    Step::SnapshotEtcd(etcd::Snapshot { keep: 2, days: 30, to })
}

fn take(fleet: &Fleet, machine: &std::sync::Arc<Machine>, seq: u64, to: &[&str]) -> Receipt {
    let plan = fleet.plan(seq, vec![snapshot(to)], |plan| plan.kind = PlanKind::Snapshot);
    perform(fleet, machine, &plan, vec![]).unwrap()
}

/// A server, and who may open its snapshots.
fn server(recovery: Option<&Identity>) -> (Fleet, Double, std::sync::Arc<Machine>) {
    let keys = recovery.map(|identity| RecoveryKey { name: "safe".to_owned(), key: identity.recipient() });
    let (fleet, double) = (Fleet::with_recovery(keys.into_iter().collect()), Double::new(NEW));
    let machine = double.machine(&fleet);
    double.server_at(&machine, OLD, OLD);
    for name in crate::distribution::kubeadm::SERVER_FILES {
        machine.inner().put(&format!("/etc/kubernetes/pki/{name}"), CA_KEY);
    }
    (fleet, double, machine)
}

fn below(machine: &Machine, folder: &str) -> Vec<String> {
    machine.inner().files.keys().filter(|path| path.starts_with(folder)).map(|p| p.display().to_string()).collect()
}

#[test]
fn a_snapshot_is_sealed_with_what_a_restore_needs_and_the_receipt_names_it() {
    let safe = Identity::generate();
    let (fleet, _double, machine) = server(Some(&safe));
    let receipt = take(&fleet, &machine, 1, &["/mnt/nas"]);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    let taken = TakenSnapshot::of(&receipt).unwrap();
    assert_eq!((taken.cluster_id.as_str(), taken.revision, taken.kubernetes.as_str()), ("ab", 12, OLD));
    let sealed = taken.sealed.unwrap();
    for folder in ["/var/lib/hostler/sealed", "/mnt/nas"] {
        let file = machine.inner().files[Path::new(&format!("{folder}/{}.age", taken.name))].content.clone();
        assert_eq!((Digest::of(&file), file.len() as u64), (sealed.digest, sealed.size), "{folder}");
        assert!(!file.windows(CA_KEY.len()).any(|window| window == CA_KEY.as_bytes()));
        let (mut note, mut found) = (None::<SnapshotNote>, Vec::new());
        let open = |name: &str, size: u64, from: &mut dyn io::Read| {
            let mut content = Vec::new();
            from.read_to_end(&mut content)?;
            match name == SnapshotNote::NAME {
                true => note = Some(hostler_plan::json::parse(&content).unwrap()),
                false => found.push((name.to_owned(), Digest::of(&content), size)),
            }
            Ok(())
        };
        unpack(&safe, &file[..], open).unwrap();
        let listed = note.unwrap().files.into_iter().map(|f| (f.name, f.sha256, f.size)).collect::<Vec<_>>();
        assert_eq!(found, listed);
        assert!(
            found.iter().any(|(name, ..)| name == "etcd.db") && found.iter().any(|(name, ..)| name == "pki/ca.key")
        );
    }
    let said = format!("{receipt:?}");
    assert!(!said.contains(CA_KEY), "{said}");
}

#[test]
fn without_a_recovery_key_it_stays_on_the_server_and_says_so() {
    let (fleet, _double, machine) = server(None);
    let receipt = take(&fleet, &machine, 1, &["/mnt/nas"]);
    assert!(receipt.outcome.is_success(), "{:?}", receipt.steps);
    assert!(receipt.steps[0].detail.contains("on this server alone: the root has no recovery key"), "{receipt:?}");
    assert_eq!(TakenSnapshot::of(&receipt).unwrap().sealed, None);
    assert!(below(&machine, "/var/lib/hostler/sealed").is_empty() && below(&machine, "/mnt/nas").is_empty());
    assert_eq!(below(&machine, "/var/lib/hostler/etcd").len(), 3, "the snapshot, what it says, and the README");
}

#[test]
fn the_newest_stay_in_every_place() {
    let safe = Identity::generate();
    let (fleet, _double, machine) = server(Some(&safe));
    for seq in 1..=4 {
        assert!(take(&fleet, &machine, seq, &["/mnt/nas"]).outcome.is_success());
        let now = machine.inner().now;
        machine.inner().now = now.plus(std::time::Duration::from_secs(100));
    }
    for folder in ["/var/lib/hostler/sealed", "/mnt/nas"] {
        assert_eq!(below(&machine, folder).len(), 2, "{folder}");
    }
}

#[test]
fn two_of_one_second_have_names_of_their_own_and_both_stay() {
    let safe = Identity::generate();
    let (fleet, _double, machine) = server(Some(&safe));
    let mut names = Vec::new();
    for seq in 1..=2 {
        let receipt = take(&fleet, &machine, seq, &[]);
        names.push(TakenSnapshot::of(&receipt).unwrap().name);
        let now = machine.inner().now;
        machine.inner().now = now.plus(std::time::Duration::from_millis(1));
    }
    assert_ne!(names[0], names[1]);
    let sealed: Vec<String> = names.iter().map(|name| format!("/var/lib/hostler/sealed/{name}.age")).collect();
    assert_eq!(below(&machine, "/var/lib/hostler/sealed"), sealed);
}

#[test]
fn those_before_an_upgrade_stay_beside_those_that_plans_asked_for_and_nothing_is_left_of_what_goes() {
    let safe = Identity::generate();
    let (fleet, _double, machine) = server(Some(&safe));
    let pass = |seconds| {
        let now = machine.inner().now;
        machine.inner().now = now.plus(std::time::Duration::from_secs(seconds));
    };
    let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
    let before = TakenSnapshot::of(&receipt).unwrap().name;
    for seq in 2..=4 {
        pass(100);
        assert!(take(&fleet, &machine, seq, &[]).outcome.is_success());
    }
    let sealed = below(&machine, "/var/lib/hostler/sealed");
    assert_eq!(sealed.len(), 3, "two that were asked for, and the one before: {sealed:?}");
    assert_eq!(sealed[0], format!("/var/lib/hostler/sealed/{before}.age"));
    let kept = below(&machine, "/var/lib/hostler/etcd");
    let of = |end: &str| kept.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((of(".db"), of(".json")), (3, 2), "{kept:?}");
}

#[test]
fn a_node_without_etcd_is_no_place_for_a_snapshot() {
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    assert!(reason(&take(&fleet, &machine, 1, &[])).contains("name another node"));
}

#[test]
fn an_alarm_of_etcd_stops_an_upgrade_before_anything_changes() {
    let (fleet, double, machine) = server(None);
    machine.inner().put("/alarm", "memberID:1 alarm:NOSPACE");
    let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
    assert!(reason(&receipt).contains("etcd has an alarm: memberID:1 alarm:NOSPACE"), "{}", reason(&receipt));
    assert!(double.runs(&machine).is_empty() && below(&machine, "/var/lib/hostler/etcd").is_empty());
}
