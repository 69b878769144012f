//! What the gates of a rollout make of a machine as its readers tell it, before a reboot and after.

use super::*;
use hostler_fixtures::case;
use hostler_plan::health::{Baseline, Regression, Vitals, blockers};
use std::path::Path;

/// A Raspberry Pi with four volumes of Longhorn, in that boot, and the volumes attached in another order.
fn with_volumes(boot: &str, names: [&str; 4]) -> TempDir {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/volumes-of-pods");
    let machine = case::steps(&case).remove(0).lay_out();
    write(&machine, "proc/sys/kernel/random/boot_id", &format!("{boot}\n"));
    let stats = machine.path().join("proc/diskstats");
    let mut rows = fs::read_to_string(&stats).unwrap();
    // Under the names of the moment, and with what each of them was read.
    for (at, name) in names.iter().enumerate() {
        rows = rows.replace(&format!(" sd{} ", char::from(b'a' + u8::try_from(at).unwrap())), &format!(" {name}# "));
    }
    fs::write(stats, rows.replace('#', "")).unwrap();
    machine
}

fn vitals(stage: &mut Stage) -> Vitals {
    stage.play(LONG);
    let verdicts = stage.verdicts();
    assert_eq!(blockers(&verdicts), Vec::<&Verdict>::new(), "nothing holds a rollout");
    Vitals::of(UNIX_MS + stage.now * 1000, &verdicts, stage.reading())
}

#[test]
fn a_rollout_passes_over_a_node_with_four_volumes_of_pods_and_sees_what_got_worse() {
    let one = "7a1b7f3c-0000-4000-8000-000000000001";
    let two = "7a1b7f3c-0000-4000-8000-000000000002";
    let mut stage = Stage::new(with_volumes(one, ["sda", "sdb", "sdc", "sdd"]));
    let baseline = Baseline::take(UNIX_MS, &vitals(&mut stage));
    assert_eq!(baseline.sentence(), "all ok");
    let rebooted = with_volumes(two, ["sdc", "sda", "sdd", "sdb"]);
    let begun = fs::read_to_string(rebooted.path().join("proc/stat")).unwrap();
    let begun: Vec<String> = begun
        .lines()
        .map(|line| match line.strip_prefix("btime ") {
            Some(_) => format!("btime {}", UNIX_MS / 1000 + stage.now),
            None => line.to_owned(),
        })
        .collect();
    write(&rebooted, "proc/stat", &(begun.join("\n") + "\n"));
    stage.machine = rebooted;
    stage.facts = facts(stage.machine.path());
    let after = vitals(&mut stage);
    assert_eq!(after.boot_id, two);
    assert_eq!(baseline.regressions(&after), [], "no worse than before");
    let page = stage.machine.path().join(".calls/nvme/nvme0.smart");
    let mut log = fs::read(&page).unwrap();
    log[160] = log[160].wrapping_add(1);
    fs::write(&page, log).unwrap();
    stage.play(LONG);
    let worse = baseline.regressions(&Vitals::of(UNIX_MS, &stage.verdicts(), stage.reading()));
    assert!(worse.iter().any(|one| matches!(one, Regression::Counter { .. })), "a new error of the disk: {worse:?}");
}
