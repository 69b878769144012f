//! What people accept and let go: shown, without weight, and only as long as it is no worse.

use super::*;
use crate::timestamp::Timestamp;

const UNTIL: u64 = NOW + 86_400_000;

fn numbers(serial: &str) -> DiskNumbers {
    DiskNumbers { serial: Some(DiskNumber::new(serial).unwrap()), ..DiskNumbers::default() }
}

/// Anna accepts the worst verdict of that rule as it stands.
fn accept(verdicts: &[Verdict], rule: Rule) -> Acceptance {
    let found = verdicts.iter().find(|v| v.rule == rule).unwrap();
    Acceptance {
        rule,
        subject: found.subject.clone(),
        disk: found.disk.clone(),
        level: found.level,
        required: found.required,
        values: found.numbers.iter().map(|(c, value)| (*c, crate::form::Measured::of(*value).unwrap())).collect(),
        until: Timestamp::from_unix_milliseconds(UNTIL),
        reason: "a new one is ordered".parse().unwrap(),
    }
}

fn by_anna(acceptance: Acceptance) -> Decided {
    Decided { accepted: vec![(acceptance, "anna".to_owned())], released: Vec::new() }
}

/// How a rule stands: its level, and whether that is accepted.
fn stands(verdicts: &[Verdict], rule: Rule) -> (Level, bool) {
    let found = verdicts.iter().find(|v| v.rule == rule).unwrap();
    (found.level, found.accepted.is_some())
}

fn worn(used: f64) -> Values {
    set(pi(), "nvme_percentage_used_ratio", used)
}

#[test]
fn an_accepted_verdict_is_shown_with_its_reason_and_holds_nothing() {
    let mut health = health();
    let before = run(&mut health, 0, 60, &worn(0.95));
    assert_eq!((stands(&before, Rule::NvmeWear), worst(&before)), ((Level::Degraded, false), Level::Degraded));
    health.set_decided(by_anna(accept(&before, Rule::NvmeWear)));
    let after = run(&mut health, 70, 120, &worn(0.95));
    assert_eq!((stands(&after, Rule::NvmeWear), worst(&after)), ((Level::Degraded, true), Level::Ok));
    let sentence = after.iter().find(|v| v.rule == Rule::NvmeWear).unwrap().sentence();
    let said = "used life is 95 %, limit 90 %; accepted until 2026-11-21T13:06:40Z by anna because: a new one";
    assert!(sentence.starts_with("nvme_wear nvme0: ") && sentence.contains(said), "{sentence}");
    health.set_decided(Decided::default());
    assert_eq!(
        stands(&run(&mut health, 130, 130, &worn(0.95)), Rule::NvmeWear),
        (Level::Degraded, false),
        "it is over"
    );
}

#[test]
fn what_gets_worse_counts_as_if_nobody_had_accepted_it() {
    let mut health = health();
    let before = run(&mut health, 0, 60, &worn(0.95));
    health.set_decided(by_anna(accept(&before, Rule::NvmeWear)));
    let mut at = |second: u64, used: f64| stands(&run(&mut health, second, second, &worn(used)), Rule::NvmeWear);
    assert_eq!(at(70, 0.99), (Level::Degraded, true), "wear goes on");
    assert_eq!(at(80, 1.0 - 1e-9), (Level::Degraded, true));
    assert_eq!(at(90, 1.01), (Level::Critical, false), "the next level");
    let mut health = super::health();
    let before = run(&mut health, 0, 60, &worn(0.91));
    health.set_decided(by_anna(accept(&before, Rule::NvmeWear)));
    let mut at = |second: u64, used: f64| stands(&run(&mut health, second, second, &worn(used)), Rule::NvmeWear);
    assert_eq!(at(70, 0.96), (Level::Degraded, true));
    assert_eq!(at(80, 0.97), (Level::Degraded, false), "the same level, further than the margin");
    assert_eq!(at(90, 0.93), (Level::Degraded, true), "as it was accepted");
}

#[test]
fn what_counts_is_worse_by_one_and_a_slower_link_by_the_next_step() {
    let link = |width: f64| {
        let address = vec![("segment", "0"), ("bus", "1"), ("device", "0"), ("function", "0")];
        let mut values = well();
        values.push(("node_pcidevice_current_link_transfers_per_second", address.clone(), 8e9));
        values.push(("node_pcidevice_current_link_width", address, width));
        values
    };
    let mut health = health();
    run(&mut health, 0, 0, &link(4.0));
    let before = run(&mut health, 10, 10, &link(2.0));
    health.set_decided(by_anna(accept(&before, Rule::PcieLink)));
    assert_eq!(stands(&run(&mut health, 20, 20, &link(2.0)), Rule::PcieLink), (Level::Degraded, true));
    assert_eq!(stands(&run(&mut health, 30, 30, &link(1.0)), Rule::PcieLink), (Level::Degraded, false));
    let errors = |count| with(well(), "hostler_ext4_errors_total", vec![("device", "sda1")], count);
    let mut health = super::health();
    let before = run(&mut health, 0, 0, &errors(7.0));
    health.set_decided(by_anna(accept(&before, Rule::FilesystemErrors)));
    let all = run(&mut health, 10, 10, &errors(7.0));
    assert_eq!(stands(&all, Rule::FilesystemErrors), (Level::Degraded, true));
    assert_eq!(stands(&run(&mut health, 20, 20, &errors(8.0)), Rule::FilesystemErrors), (Level::Critical, false));
}

fn pending(device: &'static str, serial: &'static str, sectors: f64, grown: f64) -> Values {
    let mut values = well();
    values.push(("smartctl_device", vec![("device", device), ("serial_number", serial)], 1.0));
    values.push(("smartctl_device_smart_status", vec![("device", device)], 1.0));
    values.push(("smartctl_device_pending_sectors", vec![("device", device)], sectors));
    values.push(("smartctl_read_total_uncorrected_errors", vec![("device", device)], grown));
    values
}

#[test]
fn an_accepted_disk_is_known_by_its_number_and_never_by_its_letter() {
    let mut health = health();
    let before = run(&mut health, 0, 60, &pending("sda", "A", 8.0, 0.0));
    let acceptance = accept(&before, Rule::DiskSmart);
    assert_eq!(acceptance.disk, Some(numbers("A")));
    let with_it = |values: &Values| {
        let mut health = super::health();
        health.set_decided(by_anna(acceptance.clone()));
        stands(&run(&mut health, 0, 60, values), Rule::DiskSmart)
    };
    assert_eq!(with_it(&pending("sda", "A", 8.0, 0.0)), (Level::Degraded, true));
    assert_eq!(with_it(&pending("sdb", "A", 8.0, 0.0)), (Level::Degraded, true), "the next boot");
    assert_eq!(with_it(&pending("sda", "B", 8.0, 0.0)), (Level::Degraded, false), "another disk");
    assert_eq!(with_it(&pending("sda", "A", 9.0, 0.0)), (Level::Degraded, false), "one sector more");
}

#[test]
fn what_else_a_rule_says_is_not_hidden_by_what_is_accepted_of_it() {
    let mut health = health();
    let before = run(&mut health, 0, 60, &pending("sda", "A", 8.0, 0.0));
    health.set_decided(by_anna(accept(&before, Rule::DiskSmart)));
    let other = run(&mut health, 70, 70, &pending("sda", "A", 8.0, 1.0));
    assert_eq!(stands(&other, Rule::DiskSmart), (Level::Degraded, false), "{other:?}");
    assert_eq!(other[0].condition, Some(Condition::UncorrectedGrew));
    assert_eq!(other[0].numbers.len(), 2, "who accepts that accepts both");
    health.set_decided(by_anna(accept(&other, Rule::DiskSmart)));
    let both = run(&mut health, 80, 80, &pending("sda", "A", 8.0, 1.0));
    assert_eq!(stands(&both, Rule::DiskSmart), (Level::Degraded, true));
}

#[test]
fn who_may_accept_only_what_is_not_required_accepts_no_required_critical_verdict() {
    let full = set(well(), "node_filesystem_avail_bytes", 1e9);
    let mut health = health();
    let before = run(&mut health, 0, 120, &full);
    let acceptance = accept(&before, Rule::DiskSpace);
    assert_eq!((acceptance.level, acceptance.required), (Level::Critical, true));
    for (acceptance, accepted) in [
        (acceptance.clone(), true),
        (Acceptance { required: false, ..acceptance.clone() }, false),
        (Acceptance { level: Level::Degraded, ..acceptance.clone() }, false),
        (Acceptance { rule: Rule::Inodes, ..acceptance }, false),
    ] {
        health.set_decided(by_anna(acceptance.clone()));
        let found = run(&mut health, 130, 130, &full);
        assert_eq!(stands(&found, Rule::DiskSpace), (Level::Critical, accepted), "{acceptance:?}");
        let cordons = matches!(desired(true, SETTLED_MS, &found), Desired::Cordon(..));
        assert_eq!((cordons, blockers(&found).is_empty()), (!accepted, accepted));
        let vitals = Vitals::of(NOW, &found, &Reading::new(NOW));
        let ill = Baseline::take(NOW, &Vitals::default()).regressions(&vitals);
        assert_eq!(ill.is_empty(), accepted, "{ill:?}");
    }
}

#[test]
fn a_disk_that_is_let_go_is_forgotten_once_and_remembered_when_it_fails_again() {
    let failing = |passed: Option<f64>| {
        let mut values = well();
        values.push(("hostler_disk_carries", vec![("device", "sda"), ("what", "nothing"), ("id", "wwn-1")], 1.0));
        if let Some(passed) = passed {
            values.push(("smartctl_device", vec![("device", "sda"), ("serial_number", "A")], 1.0));
            values.push(("smartctl_device_smart_status", vec![("device", "sda")], passed));
        }
        values
    };
    let found = |verdicts: &[Verdict]| level(verdicts, Rule::DiskSmart);
    let release = |disk: &str| {
        let (subject, disk, reason) = ("sda".to_owned(), Some(numbers(disk)), "tested".parse().unwrap());
        let release = Release { subject, disk, level: Level::Critical, required: false, reason };
        Decided { accepted: Vec::new(), released: vec![(release, NOW + 3_600_000)] }
    };
    let mut health = health();
    run(&mut health, 0, 60, &failing(Some(0.0)));
    assert_eq!(found(&run(&mut health, HOUR, HOUR, &failing(None))), Some(Level::Critical), "it sleeps");
    health.set_decided(release("B"));
    assert_eq!(found(&run(&mut health, HOUR + 10, HOUR + 10, &failing(None))), Some(Level::Critical), "another disk");
    health.set_decided(release("A"));
    assert_eq!(found(&run(&mut health, HOUR + 20, HOUR + 20, &failing(None))), None, "let go");
    // It says again that it fails, longer after than clocks differ.
    let again = HOUR + 10 * MINUTE;
    assert_eq!(found(&run(&mut health, again, again, &failing(Some(0.0)))), Some(Level::Critical));
    assert_eq!(found(&run(&mut health, again + 60, again + 60, &failing(None))), Some(Level::Critical), "once");
}

#[test]
fn the_margin_is_none_for_what_counts_and_the_tables_own_for_what_wobbles() {
    let margin = |condition: Condition| condition.margin();
    assert_eq!(margin(Condition::PendingSectors), 0.0);
    assert_eq!(margin(Condition::NvmeMediaErrorMany), 0.0);
    assert_eq!(margin(Condition::NvmeHot), 5.0);
    assert_eq!(margin(Condition::NvmeWornOut), 0.05);
    assert!((margin(Condition::DiskUsed) - 0.1).abs() < 1e-9);
    assert!(Condition::ALL.iter().all(|c| c.margin() >= 0.0 && c.margin().is_finite()));
}

#[test]
fn a_disk_that_was_taken_out_is_let_go_by_its_number_whoever_has_its_name_now() {
    let disk = |values: &mut Values, device: &'static str, id: &'static str| {
        values.push(("hostler_disk_carries", vec![("device", device), ("what", "data"), ("id", id)], 1.0));
    };
    let both = || {
        let mut values = well();
        disk(&mut values, "sda", "wwn-1");
        disk(&mut values, "sdb", "wwn-2");
        values
    };
    let one = || {
        let mut values = well();
        disk(&mut values, "sdb", "wwn-2");
        values
    };
    let release = |number: &str, at: u64| {
        let disk = DiskNumbers { wwid: Some(DiskNumber::new(number).unwrap()), ..DiskNumbers::default() };
        let (subject, reason) = ("sda".to_owned(), "taken out".parse().unwrap());
        let release = Release { subject, disk: Some(disk), level: Level::Critical, required: true, reason };
        Decided { accepted: Vec::new(), released: vec![(release, NOW + at * 1000)] }
    };
    let mut health = health();
    run(&mut health, 0, 60, &both());
    let gone = run(&mut health, 70, 200, &one());
    let verdict = gone.iter().find(|v| v.rule == Rule::DiskGone && v.level != Level::Ok).unwrap();
    let number = verdict.disk.as_ref().and_then(|disk| disk.wwid.as_ref()).map(|n| n.as_str().to_owned());
    assert_eq!((verdict.subject.as_str(), verdict.level, number.as_deref()), ("sda", Level::Critical, Some("wwn-1")));
    health.set_decided(release("wwn-2", 200));
    assert_eq!(level(&run(&mut health, 600, 700, &one()), Rule::DiskGone), Some(Level::Critical), "another disk");
    health.set_decided(release("wwn-1", 700));
    assert_eq!(level(&run(&mut health, 710, 710, &one()), Rule::DiskGone), Some(Level::Ok), "let go");
}
