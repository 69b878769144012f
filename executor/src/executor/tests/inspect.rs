//! An inspection says in what a machine differs from what each step wants, and changes nothing.

use hostler_plan::{
    document::DIFFERS,
    step::{EnsureHost, EnsureProgram, HoldPackage, SwapOff},
};

use super::*;

/// A machine on which a baseline has made everything so, and every step of that.
fn whole(fleet: &Fleet) -> (Arc<Machine>, Vec<Step>) {
    let machine = machine(fleet);
    let steps = vec![
        Step::EnsureModule(EnsureModule { module: "br_netfilter".parse().unwrap() }),
        Step::EnsureSysctl(EnsureSysctl { key: key("net.ipv4.ip_forward"), value: "1".parse().unwrap() }),
        file("/etc/motd", "a machine of the fleet\n"),
        Step::EnsureHost(EnsureHost { name: "k8s.lab".parse().unwrap(), address: "10.0.0.10".parse().unwrap() }),
        Step::EnsurePackage(EnsurePackage { package: "runc".parse().unwrap(), version: "1.1.5".parse().unwrap() }),
        Step::EnsureUnit(EnsureUnit {
            unit: "containerd.service".parse().unwrap(),
            state: UnitState::Started,
            enabled: true,
        }),
        Step::EnsureProgram(EnsureProgram {
            artifact: "ctr".parse().unwrap(),
            path: "/usr/local/bin/ctr".parse().unwrap(),
        }),
        Step::SwapOff(SwapOff {}),
    ];
    {
        let mut inner = machine.inner();
        inner.put("/etc/modules-load.d/hostler-br_netfilter.conf", "br_netfilter\n");
        inner.modules.push("br_netfilter".into());
        inner.put("/etc/sysctl.d/90-hostler-net.ipv4.ip_forward.conf", "net.ipv4.ip_forward = 1\n");
        inner.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        inner.put("/etc/motd", "a machine of the fleet\n");
        inner.put("/etc/hosts", "127.0.0.1 localhost\n10.0.0.10 k8s.lab # hostler\n");
        inner.packages.insert("runc".into(), "1.1.5".into());
        let unit = UnitStatus { exists: true, activity: UnitActivity::Active, enabled: true, main_pid: None };
        inner.units.insert("containerd.service".into(), unit);
        inner.put("/usr/local/bin/ctr", "ctr");
        inner.files.get_mut(Path::new("/usr/local/bin/ctr")).unwrap().mode = 0o755;
    }
    (machine, steps)
}

fn key(text: &str) -> SysctlKey {
    text.parse().unwrap()
}

/// What an inspection by these steps says; nothing on the machine may change.
fn inspect(fleet: &Fleet, machine: &Arc<Machine>, seq: u64, steps: Vec<Step>) -> Vec<String> {
    let plan = fleet.plan(seq, steps, |plan| {
        plan.kind = PlanKind::Inspect;
        plan.artifacts = vec![artifact("ctr", b"ctr")];
        plan.tasks[0].disrupts = false;
    });
    let before = machine.inner().files.clone();
    let (receipts, refusals) = work(fleet, machine, &grant(&plan));
    assert_eq!(refusals, []);
    let receipt = receipts.iter().find(|receipt| receipt.plan == plan.digest()).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert!(receipt.steps.iter().all(|step| !step.changed), "{:?}", receipt.steps);
    let inner = machine.inner();
    assert!(inner.acts.is_empty() && inner.files == before, "{:?}", inner.acts);
    let differs = receipt.observations.iter().filter(|observation| observation.name == DIFFERS);
    differs.map(|observation| observation.value.clone()).collect()
}

#[test]
fn a_machine_as_the_fleet_file_says_differs_in_nothing() {
    let fleet = Fleet::new();
    let (machine, steps) = whole(&fleet);
    assert_eq!(inspect(&fleet, &machine, 1, steps), Vec::<String>::new());
}

type Deviate = fn(&mut crate::testing::Inner);

#[test]
fn each_deviation_is_said_and_nothing_is_touched() {
    let deviations: [(&str, Deviate); 9] = [
        ("module.ensure: not so", |m| m.modules.clear()),
        ("sysctl.ensure: not so", |m| drop(m.sysctls.insert("net.ipv4.ip_forward".into(), "0".into()))),
        ("sysctl.ensure: expected kernel parameter", |m| m.sysctls.clear()),
        ("file.ensure: not so", |m| m.put("/etc/motd", "somebody was here\n")),
        ("hosts.ensure: expected k8s.lab to be 10.0.0.10", |m| m.put("/etc/hosts", "10.0.0.9 k8s.lab\n")),
        ("package.ensure: not so", |m| drop(m.packages.insert("runc".into(), "1.0".into()))),
        ("systemd.ensure: not so", |m| {
            m.units.get_mut("containerd.service").unwrap().activity = UnitActivity::Inactive;
        }),
        ("program.ensure: not so", |m| m.put("/usr/local/bin/ctr", "another")),
        ("swap.off: /etc/fstab", |m| m.put("/etc/fstab", "/swap none swap sw 0 0\n")),
    ];
    for (expected, deviate) in deviations {
        let fleet = Fleet::new();
        let (machine, steps) = whole(&fleet);
        deviate(&mut machine.inner());
        let found = inspect(&fleet, &machine, 1, steps);
        assert_eq!(found.len(), 1, "{expected}: {found:?}");
        assert!(found[0].starts_with(expected), "expected {expected}, found {found:?}");
    }
}

#[test]
fn what_is_missing_is_said_and_the_steps_after_it_are_looked_at_too() {
    let fleet = Fleet::new();
    let (machine, mut steps) = whole(&fleet);
    steps.insert(0, Step::HoldPackage(HoldPackage { package: "kubelet".parse().unwrap() }));
    machine.inner().units.clear();
    let found = inspect(&fleet, &machine, 1, steps);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("expected package kubelet, found it is not installed"), "{found:?}");
    assert!(found[1].contains("expected systemd unit containerd.service, found no such unit"), "{found:?}");
}

#[test]
fn a_plan_of_that_kind_holds_nothing_but_what_makes_a_machine_ready() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![Step::Reboot(Reboot {})], |plan| plan.kind = PlanKind::Inspect);
    let (receipts, refusals) = work(&fleet, &machine, &grant(&plan));
    assert!(receipts.is_empty() && !refusals.is_empty(), "{receipts:?} {refusals:?}");
}
