//! Disks that are there no more: dead, or taken out in order.

use super::*;

/// A disk: its name, its number, what it carries.
type Disk = (&'static str, &'static str, &'static [&'static str]);

const SYSTEM: Disk = ("sda", "A", &["root", "data"]);

fn machine(boot: &'static str, disks: &[Disk]) -> Values {
    let mut values = with(well(), "hostler_node_info", vec![("boot_id", boot), ("model", "PC")], 1.0);
    for (device, id, carries) in disks {
        let series = |what| ("hostler_disk_carries", vec![("device", *device), ("what", what), ("id", *id)], 1.0);
        values.extend(carries.iter().map(|what| series(*what)));
    }
    values
}

fn live(mut values: Values, controller: &'static str) -> Values {
    values.push(("hostler_nvme_live", vec![("device", controller)], 1.0));
    values
}

fn array(mut values: Values, missing: f64, rebuilding: Option<f64>) -> Values {
    let md = || vec![("kind", "md"), ("name", "md0")];
    values.push(("hostler_redundancy_required", md(), 1.0));
    values.push(("hostler_redundancy_missing", md(), missing));
    values.extend(rebuilding.map(|rebuilding| ("hostler_redundancy_rebuilding", md(), rebuilding)));
    values
}

/// What is not well at the end of the last of these states, each of which lasts for a while.
fn after(states: &[Values]) -> Vec<(Rule, String, Level, bool)> {
    let (mut health, mut found) = (health(), Vec::new());
    for (values, at) in states.iter().zip((0..).step_by(20 * MINUTE as usize)) {
        // Whoever evaluates may start anew at any time.
        let mut next = HealthEvaluator::default();
        next.remember(health.remembered().clone());
        health = next;
        found = run(&mut health, at, at + 19 * MINUTE, values);
    }
    found.retain(|verdict| verdict.level > Level::Ok && (verdict.required || verdict.level != Level::Unknown));
    found.into_iter().map(|verdict| (verdict.rule, verdict.subject, verdict.level, verdict.required)).collect()
}

fn one(rule: Rule, subject: &str, level: Level, required: bool) -> Vec<(Rule, String, Level, bool)> {
    vec![(rule, subject.to_owned(), level, required)]
}

#[test]
fn a_disk_that_was_replaced_while_the_machine_was_off_is_not_missed() {
    for carries in [&["root"][..], &["root", "data"], &["root", "data", "swap"]] {
        for (name, other) in [("nvme0n1", "nvme0n1"), ("nvme0n1", "nvme1n1"), ("sda", "nvme1n1")] {
            let before = live(machine("one", &[(name, "AAA", carries)]), "nvme0");
            let controller = if other == name { "nvme0" } else { "nvme1" };
            let swapped = live(machine("two", &[(other, "BBB", carries)]), controller);
            assert_eq!(after(&[before, swapped]), [], "{name} by {other}, {carries:?}");
        }
    }
    let cloned = [
        machine("one", &[SYSTEM]),
        machine("two", &[SYSTEM, ("sdb", "B", &["nothing"])]),
        machine("three", &[("sda", "B", SYSTEM.2)]),
    ];
    assert_eq!(after(&cloned), [], "it was there beside the old one for a while");
    let data = |id| ("sdb", id, &["data"][..]);
    let late = [machine("one", &[SYSTEM, data("B")]), machine("two", &[SYSTEM]), machine("two", &[SYSTEM, data("C")])];
    assert_eq!(after(&late), [], "it is mounted later");
}

#[test]
fn a_disk_that_nobody_replaced_is_missed_less_after_a_reboot() {
    for (carries, required) in [(&["data"][..], true), (&["swap"], false)] {
        let both = machine("one", &[SYSTEM, ("sdb", "B", carries)]);
        let critical = one(Rule::DiskGone, "sdb", Level::Critical, required);
        assert_eq!(after(&[both.clone(), machine("one", &[SYSTEM])]), critical);
        let degraded = one(Rule::DiskGone, "sdb", Level::Degraded, false);
        assert_eq!(after(&[both.clone(), machine("one", &[SYSTEM]), machine("two", &[SYSTEM])]), degraded);
        assert_eq!(after(&[both, machine("two", &[SYSTEM])]), degraded);
    }
    let other = [machine("one", &[SYSTEM]), machine("one", &[("sdb", "B", &["nothing"])])];
    assert_eq!(after(&other), one(Rule::DiskGone, "sda", Level::Critical, true));
}

#[test]
fn a_member_is_missed_until_its_array_is_whole() {
    let member = |device, id| (device, id, &["root", "array"][..]);
    let idle = Some(0.0);
    let two = |boot, id| machine(boot, &[member("sda", "A"), member("sdb", id)]);
    let alone = |boot| array(machine(boot, &[member("sda", "A")]), 1.0, idle);
    let lacks = [
        (Rule::DiskGone, "sdb".to_owned(), Level::Degraded, false),
        (Rule::Redundancy, "md md0".to_owned(), Level::Degraded, true),
    ];
    for boot in ["one", "two"] {
        let mut states = vec![array(two("one", "B"), 0.0, idle), alone(boot)];
        let mut found = after(&states);
        found.sort();
        let mut wanted = lacks.clone();
        wanted.sort();
        assert_eq!(found, wanted, "boot {boot}");
        states.push(array(two(boot, "C"), 1.0, Some(1.0)));
        assert_eq!(after(&states), one(Rule::Redundancy, "md md0", Level::Degraded, true), "boot {boot}, rebuilding");
        states.push(array(two(boot, "C"), 0.0, idle));
        assert_eq!(after(&states), [], "boot {boot}, whole again");
    }
    let striped = |boot, disks: &[Disk]| array(machine(boot, disks), 0.0, None);
    let (system, stripe) = (SYSTEM, ("sdb", "B", &["data", "array"][..]));
    let lost = [striped("one", &[system, stripe]), striped("one", &[system])];
    assert_eq!(after(&lost), one(Rule::DiskGone, "sdb", Level::Critical, true), "no RAID 0 can do without");
    let rebuilt = [striped("one", &[system, stripe]), striped("two", &[system, ("sdb", "C", stripe.2)])];
    assert_eq!(after(&rebuilt), [], "made anew on another disk");
}

#[test]
fn a_controller_that_left_is_missed_where_its_disk_carried_something() {
    for (carries, wanted) in [
        (&["nothing"][..], vec![]),
        (&["root"][..], one(Rule::NvmeState, "nvme1", Level::Critical, true)),
        (&["data"][..], one(Rule::NvmeState, "nvme1", Level::Critical, true)),
        (&["swap"][..], one(Rule::NvmeState, "nvme1", Level::Critical, false)),
    ] {
        let both = machine("one", &[("nvme0n1", "A", &["data"]), ("nvme1n1", "B", carries)]);
        let both = live(live(both, "nvme0"), "nvme1");
        let gone = live(machine("one", &[("nvme0n1", "A", &["data"])]), "nvme0");
        let found = after(&[both.clone(), gone.clone()]);
        assert_eq!(found, wanted, "{carries:?}");
        let mut dead = gone;
        dead.push(("hostler_nvme_live", vec![("device", "nvme1")], 0.0));
        let required = wanted.iter().any(|(.., required)| *required);
        let found = after(&[both, dead]);
        assert_eq!(found, one(Rule::NvmeState, "nvme1", Level::Critical, required), "{carries:?}, dead");
    }
    // The volume of a pod: there is nothing of it once it is mounted, or there never was.
    let attached = machine("one", &[SYSTEM, ("nvme1n1", "V", &["nothing"])]);
    assert_eq!(after(&[live(attached, "nvme1"), machine("one", &[SYSTEM])]), []);
    assert_eq!(after(&[live(machine("one", &[SYSTEM]), "nvme1"), machine("one", &[SYSTEM])]), []);
}

#[test]
fn another_disk_is_missed_while_a_controller_is_dead() {
    let disks: [Disk; 3] = [("sda", "A", &["root"]), ("nvme0n1", "B", &["nothing"]), ("nvme1n1", "C", &["data"])];
    let both = live(live(machine("one", &disks), "nvme0"), "nvme1");
    // The first controller died, and of the second only the disk is gone.
    let mut states = live(machine("one", &disks[..1]), "nvme1");
    states.push(("hostler_nvme_live", vec![("device", "nvme0")], 0.0));
    let found = after(&[both, states]);
    assert!(found.contains(&(Rule::DiskGone, "nvme1n1".to_owned(), Level::Critical, true)), "{found:?}");
}

#[test]
fn what_is_kept_of_one_node_has_an_end() {
    let mut health = health();
    for number in 0..600_u64 {
        let mut reading = reading(number, &machine("one", &[SYSTEM]));
        let (controller, bond) = (format!("nvme{number}"), format!("bond{number}"));
        reading.set(Series::new("hostler_nvme_live", &[("device", &controller)]), 1.0);
        let labels = [("kind", "bond"), ("name", bond.as_str())];
        for name in ["hostler_redundancy_required", "hostler_redundancy_members", "hostler_redundancy_missing"] {
            reading.set(Series::new(name, &labels), 0.0);
        }
        health.observe(NOW + number * 1000, &reading);
    }
    let kept = health.remembered();
    assert!(kept.controllers.len() <= 257, "{} controllers", kept.controllers.len());
    assert!(kept.members.len() <= 257, "{} bonds", kept.members.len());
}

#[test]
fn a_failing_disk_is_failing_under_its_next_name() {
    let disks = |boot, first, second| machine(boot, &[("sda", first, &["root"]), ("sdb", second, &["nothing"])]);
    let mut failing = disks("one", "A", "B");
    failing.push(("smartctl_device_smart_status", vec![("device", "sdb")], 0.0));
    let asleep = disks("two", "B", "A");
    assert_eq!(after(&[failing.clone(), asleep.clone()]), one(Rule::DiskSmart, "sda", Level::Critical, false));
    let mut well = asleep.clone();
    well.push(("smartctl_device_smart_status", vec![("device", "sda")], 1.0));
    assert_eq!(after(&[failing.clone(), asleep, well]), []);
    assert_eq!(after(&[failing, disks("two", "A", "C")]), [], "another disk");
}

#[test]
fn a_failing_disk_whose_name_went_to_its_neighbour_is_not_forgotten() {
    let disks = |boot, disks: &[Disk]| machine(boot, disks);
    let mut failing = disks("one", &[("sda", "A", &["nothing"]), ("sdb", "B", &["root"])]);
    failing.push(("smartctl_device_smart_status", vec![("device", "sda")], 0.0));
    let mut without = disks("two", &[("sda", "B", &["root"])]);
    without.push(("smartctl_device_smart_status", vec![("device", "sda")], 1.0));
    let lost = one(Rule::DiskSmart, "A", Level::Critical, false);
    assert_eq!(after(&[failing.clone(), without.clone()]), lost);
    let mut back = disks("three", &[("sda", "B", &["root"]), ("sdb", "A", &["nothing"])]);
    back.push(("smartctl_device_smart_status", vec![("device", "sda")], 1.0));
    let again = one(Rule::DiskSmart, "sdb", Level::Critical, false);
    assert_eq!(after(&[failing.clone(), without.clone(), back.clone()]), again);
    back.push(("smartctl_device_smart_status", vec![("device", "sdb")], 1.0));
    assert_eq!(after(&[failing, without, back]), []);
}

#[test]
fn disks_that_say_the_same_number_are_two() {
    let alone = machine("one", &[SYSTEM, ("sdb", "0123456789", &["data"])]);
    // Of a number that two disks have nothing is told.
    let numberless = |mut values: Values, devices: &[&'static str]| {
        for device in devices {
            values.push(("hostler_disk_carries", vec![("device", device), ("what", "data")], 1.0));
        }
        values
    };
    let both = numberless(machine("one", &[SYSTEM]), &["sdb", "sdc"]);
    assert_eq!(after(&[alone.clone(), both.clone()]), [], "another one came and neither is gone");
    assert_eq!(after(&[both.clone(), alone.clone()]), one(Rule::DiskGone, "sdc", Level::Critical, true));
    assert_eq!(after(&[alone, both, machine("one", &[SYSTEM])]).len(), 2, "both are gone");
}

#[test]
fn a_disk_that_came_back_under_another_name_is_missed_where_it_is_still_mounted() {
    let before = machine("one", &[SYSTEM, ("sdb", "B", &["data"])]);
    let back = machine("one", &[SYSTEM, ("sdc", "B", &["nothing"])]);
    let mut stands = back.clone();
    stands.push(("hostler_disk_carries", vec![("device", "sdb"), ("what", "data")], 0.0));
    let lost = one(Rule::DiskGone, "sdb", Level::Critical, true);
    assert_eq!(after(&[before.clone(), stands.clone()]), lost);
    assert_eq!(after(&[stands.clone()]), lost, "nobody has to have seen it before");
    assert_eq!(after(&[before.clone(), stands.clone(), back]), [], "it is mounted no more");
    assert_eq!(after(&[before, stands, machine("one", &[SYSTEM, ("sdc", "B", &["data"])])]), [], "mounted anew");
}

#[test]
fn a_member_whose_spare_took_over_is_noted_for_a_day() {
    let member = |device, id| (device, id, &["root", "array"][..]);
    let before = array(machine("one", &[member("sda", "A"), member("sdb", "B"), member("sdc", "C")]), 0.0, Some(0.0));
    let taken_over = array(machine("one", &[member("sda", "A"), member("sdc", "C")]), 0.0, Some(0.0));
    let mut health = health();
    run(&mut health, 0, 60, &before);
    let of_lost = |verdicts: Vec<Verdict>| {
        let lost = verdicts.into_iter().find(|verdict| verdict.rule == Rule::DiskGone && verdict.subject == "sdb");
        lost.map(|verdict| (verdict.level, verdict.value))
    };
    assert_eq!(of_lost(run(&mut health, 70, HOUR, &taken_over)), Some((Level::Ok, Some(0.0))));
    assert_eq!(of_lost(run(&mut health, 25 * HOUR, 25 * HOUR, &taken_over)), None);
}

/// What the gates see at the end of the last of these states.
fn vitals(states: &[Values]) -> Vitals {
    let mut health = health();
    let (mut verdicts, mut last) = (Vec::new(), Reading::new(0));
    for (values, at) in states.iter().zip((0..).step_by(20 * MINUTE as usize)) {
        verdicts = run(&mut health, at, at + 19 * MINUTE, values);
        last = reading(at + 19 * MINUTE, values);
    }
    Vitals::of(last.at_ms(), &verdicts, &last)
}

#[test]
fn a_disk_that_is_gone_is_told_from_another_one_that_had_its_name() {
    let data = |id| ("sdb", id, &["data"][..]);
    let (without, again) = (machine("one", &[SYSTEM]), machine("two", &[SYSTEM]));
    let states = [machine("one", &[SYSTEM, data("B")]), without.clone(), machine("one", &[SYSTEM, data("C")]), without];
    let baseline = Baseline::take(NOW, &vitals(&states[..2]));
    assert_eq!(baseline.sentence(), "disk_gone sdb critical");
    assert_eq!(baseline.regressions(&vitals(&states[..2])), [], "the same one");
    let rebooted = [states[0].clone(), states[1].clone(), again.clone()];
    assert_eq!(baseline.regressions(&vitals(&rebooted)), [], "the same one in the next boot");
    let another = baseline.regressions(&vitals(&states));
    let [Regression::Rule { was: Level::Ok, verdict }] = &another[..] else { panic!("{another:?}") };
    assert_eq!(verdict.rule, Rule::DiskGone);
    // One that is known by its name alone is known by that.
    let numberless = |names: &[&'static str]| {
        let rows = names.iter().map(|name| ("hostler_disk_carries", vec![("device", *name), ("what", "data")], 1.0));
        rows.fold(machine("one", &[SYSTEM]), |mut values, row| {
            values.push(row);
            values
        })
    };
    let lost = [numberless(&["sdb", "sdc"]), numberless(&["sdc"]), numberless(&[])];
    let baseline = Baseline::take(NOW, &vitals(&lost[..2]));
    assert_eq!(baseline.regressions(&vitals(&lost[..2])), []);
    assert_eq!(baseline.regressions(&vitals(&lost)).len(), 1, "sdc is gone too");
}

#[test]
fn a_disk_whose_number_only_smartctl_tells_is_not_gone_under_its_next_name() {
    let usb = |name: &'static str, serial: Option<&'static str>, what| {
        let mut values = machine("one", &[SYSTEM]);
        values.push(("hostler_disk_carries", vec![("device", name), ("what", what)], 1.0));
        let told = serial.map(|serial| ("smartctl_device", vec![("device", name), ("serial_number", serial)], 1.0));
        values.extend(told);
        values
    };
    let before = usb("sdb", Some("S"), "data");
    let lost = one(Rule::DiskGone, "sdb", Level::Critical, true);
    // It sleeps at first, and then it says who it is.
    let asleep = usb("sdc", None, "nothing");
    assert_eq!(after(&[before.clone(), asleep.clone()]), lost);
    assert_eq!(after(&[before.clone(), asleep.clone(), usb("sdc", Some("S"), "nothing")]), []);
    assert_eq!(after(&[before.clone(), asleep, usb("sdc", Some("T"), "nothing")]), lost, "another one");
    let mut stands = usb("sdc", Some("S"), "nothing");
    stands.push(("hostler_disk_carries", vec![("device", "sdb"), ("what", "data")], 0.0));
    assert_eq!(after(&[before, stands]), lost, "what is mounted is from the lost one");
}

#[test]
fn a_disk_without_any_number_is_not_missed_where_a_newcomer_serves_what_it_did() {
    let usb = |names: &[(&'static str, &'static str)]| {
        let mut values = machine("one", &[SYSTEM]);
        let rows =
            names.iter().map(|(name, what)| ("hostler_disk_carries", vec![("device", *name), ("what", *what)], 1.0));
        values.extend(rows);
        values
    };
    let lost = one(Rule::DiskGone, "sdb", Level::Critical, true);
    let before = usb(&[("sdb", "data")]);
    let back = usb(&[("sdc", "nothing")]);
    assert_eq!(after(&[before.clone(), back.clone()]), lost, "nothing is mounted from it");
    assert_eq!(after(&[before.clone(), back, usb(&[("sdc", "data")])]), []);
    let two = usb(&[("sdb", "data"), ("sdc", "data")]);
    assert_eq!(after(&[two, usb(&[("sdc", "data")])]), lost, "the other one was there and served before");
    assert_eq!(after(&[before, usb(&[("sdc", "swap")])]), lost);
}
