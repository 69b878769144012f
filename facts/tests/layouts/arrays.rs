//! Redundancy that is lost: RAID, bonds and teams, pools, btrfs; and a default route over IPv6.

use super::*;

/// What it is, files of the array, and what is wrong with it.
type Case<Wrong> = (&'static str, &'static [(&'static str, &'static str)], Option<Wrong>);

/// What is judged of redundancy: subject, level, required.
fn redundancy(verdicts: &[Verdict]) -> Vec<(String, Level, bool)> {
    let found = verdicts.iter().filter(|verdict| verdict.rule == Rule::Redundancy);
    found.map(|verdict| (verdict.subject.clone(), verdict.level, verdict.required)).collect()
}

#[test]
fn a_raid_is_degraded_while_a_member_is_missing_or_rebuilt_and_critical_when_it_is_broken() {
    use Level::{Critical, Degraded};
    let cases: [Case<Level>; 13] = [
        ("both", &[("level", "raid1"), ("degraded", "0")], None),
        ("one of two", &[("level", "raid1"), ("degraded", "1")], Some(Degraded)),
        ("a rebuild", &[("level", "raid1"), ("degraded", "1"), ("sync_action", "recover")], Some(Degraded)),
        ("a resync", &[("level", "raid1"), ("degraded", "0"), ("sync_action", "resync")], Some(Degraded)),
        ("a reshape", &[("level", "raid5"), ("degraded", "0"), ("sync_action", "reshape")], Some(Degraded)),
        ("a monthly check", &[("level", "raid1"), ("degraded", "0"), ("sync_action", "check")], None),
        ("two of a raid5", &[("level", "raid5"), ("degraded", "2")], Some(Critical)),
        ("two of a raid6", &[("level", "raid6"), ("degraded", "2")], Some(Degraded)),
        ("a broken raid0", &[("level", "raid0"), ("array_state", "broken")], Some(Critical)),
        ("too few to start", &[("array_state", "inactive")], Some(Critical)),
        ("nothing", &[("level", ""), ("array_state", "clear")], None),
        ("a raid0", &[("level", "raid0"), ("array_state", "clean")], None),
        (
            "a container",
            &[("level", "container"), ("array_state", "inactive"), ("metadata_version", "external:imsm")],
            None,
        ),
    ];
    for (what, files, wanted) in cases {
        let machine = copy("intel-n100");
        write(&machine, "proc/1/mountinfo", &mounted("9:0", "ext4", "/dev/md0"));
        write(&machine, "sys/block/md0/md/raid_disks", "4\n");
        files
            .iter()
            .for_each(|(file, text)| write(&machine, &format!("sys/block/md0/md/{file}"), &format!("{text}\n")));
        let verdicts = Stage::new(machine).play(LONG);
        let wanted: Vec<_> = wanted.map(|level| ("md md0".to_owned(), level, true)).into_iter().collect();
        assert_eq!(redundancy(&verdicts), wanted, "{what}");
    }
}

#[test]
fn a_raid_that_carries_neither_root_nor_data_is_judged_and_not_required() {
    let files = [("level", "raid1\n"), ("raid_disks", "2\n"), ("degraded", "1\n")];
    let files = files.map(|(file, text)| (format!("sys/block/md0/md/{file}"), text));
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), *text)).collect();
    let (_, verdicts) = judged("intel-n100", &files);
    assert_eq!(redundancy(&verdicts), [("md md0".to_owned(), Level::Degraded, false)]);
}

/// Both interfaces of a small PC in a bond that has the default route.
fn bonded(machine: &TempDir) {
    write(machine, ".errors", "");
    write(machine, "sys/class/net/bond0/operstate", "up\n");
    write(machine, "sys/class/net/bond0/carrier", "1\n");
    write(machine, "sys/class/net/bond0/bonding/slaves", "enp1s0 enp2s0\n");
    for slave in ["enp1s0", "enp2s0"] {
        write(machine, &format!("sys/class/net/{slave}/operstate"), "up\n");
        write(machine, &format!("sys/class/net/{slave}/carrier"), "1\n");
        write(machine, &format!("sys/class/net/{slave}/bonding_slave/mii_status"), "up\n");
    }
    let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                 bond0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    write(machine, "proc/net/route", route);
}

#[test]
fn a_bond_lacks_a_slave_that_is_down_without_a_link_or_gone() {
    let lost = [("bond bond0".to_owned(), Level::Degraded, true)];
    for (file, text) in [
        ("sys/class/net/enp2s0/bonding_slave/mii_status", "down\n"),
        ("sys/class/net/enp2s0/carrier", "0\n"),
        ("sys/class/net/enp2s0/operstate", "down\n"),
        ("sys/class/net/bond0/bonding/slaves", "enp1s0\n"),
    ] {
        let machine = copy("intel-n100");
        bonded(&machine);
        let mut stage = Stage::new(machine);
        assert_eq!(redundancy(&stage.play(LONG)), [], "both are well");
        write(&stage.machine, file, text);
        assert_eq!(redundancy(&stage.play(LONG)), lost, "{file}");
        bonded(&stage.machine);
        assert_eq!(redundancy(&stage.play(LONG)), [], "it is back: {file}");
    }
    let reading = {
        let machine = copy("intel-n100");
        bonded(&machine);
        write(&machine, "sys/class/net/enp2s0/carrier", "0\n");
        let mut stage = Stage::new(machine);
        stage.play(0);
        stage.reading().clone()
    };
    assert_eq!(reading.get("node_bonding_slaves", &[("master", "bond0")]), Some(2.0));
    assert_eq!(reading.get("node_bonding_active", &[("master", "bond0")]), Some(1.0));
}

#[test]
fn a_slave_whose_aggregator_does_not_carry_is_lost_although_its_link_is_up() {
    let machine = copy("intel-n100");
    bonded(&machine);
    write(&machine, "sys/class/net/bond0/bonding/ad_aggregator", "1\n");
    let joins = |machine: &TempDir, aggregator: &str| {
        write(machine, "sys/class/net/enp1s0/bonding_slave/ad_aggregator_id", "1\n");
        write(machine, "sys/class/net/enp2s0/bonding_slave/ad_aggregator_id", aggregator);
    };
    joins(&machine, "1\n");
    let mut stage = Stage::new(machine);
    assert_eq!(redundancy(&stage.play(LONG)), [], "both are in one");
    joins(&stage.machine, "2\n");
    assert_eq!(redundancy(&stage.play(LONG)), [("bond bond0".to_owned(), Level::Degraded, true)]);
}

#[test]
fn a_team_lacks_a_port_without_a_link() {
    for (typed, wanted) in [("", 1), ("DEVTYPE=vrf\n", 0)] {
        let machine = copy("intel-n100");
        write(&machine, "sys/class/net/team0/operstate", "up\n");
        write(&machine, "sys/class/net/team0/uevent", &format!("{typed}INTERFACE=team0\n"));
        for (port, carrier) in [("enp1s0", "1\n"), ("enp2s0", "0\n")] {
            write(&machine, &format!("sys/class/net/team0/lower_{port}/ifindex"), "2\n");
            write(&machine, &format!("sys/class/net/{port}/carrier"), carrier);
        }
        let found = redundancy(&Stage::new(machine).play(LONG));
        let lost = [("team team0".to_owned(), Level::Degraded, false)];
        assert_eq!(found, lost[..wanted], "{typed:?}");
    }
}

#[test]
fn a_pool_is_degraded_or_critical_by_the_state_that_zfs_says() {
    use Level::{Critical, Degraded, Unknown};
    for (state, wanted) in [
        ("ONLINE", None),
        ("DEGRADED", Some(Degraded)),
        ("FAULTED", Some(Critical)),
        ("UNAVAIL", Some(Critical)),
        ("SUSPENDED", Some(Critical)),
        ("SOMETHING", Some(Unknown)),
    ] {
        for (dataset, required) in [("rpool/ROOT/debian", true), ("tank/data", false)] {
            let root = mounted("0:25", "zfs", dataset);
            let said = format!("{state}\n");
            let files = [("proc/1/mountinfo", root.as_str()), ("proc/spl/kstat/zfs/rpool/state", said.as_str())];
            let (_, verdicts) = judged("intel-n100", &files);
            let wanted: Vec<_> = wanted.map(|level| ("zpool rpool".to_owned(), level, required)).into_iter().collect();
            assert_eq!(redundancy(&verdicts), wanted, "{state} {dataset}");
        }
    }
}

#[test]
fn btrfs_tells_errors_missing_devices_and_rebuilds() {
    const CLEAN: &str = "write_errs 0\nread_errs 0\nflush_errs 0\ncorruption_errs 0\ngeneration_errs 0\n";
    const CORRUPT: &str = "write_errs 0\nread_errs 0\nflush_errs 0\ncorruption_errs 33\ngeneration_errs 0\n";
    let cases: [Case<&str>; 5] = [
        ("well", &[("devinfo/1/error_stats", CLEAN), ("devinfo/1/missing", "0\n")], None),
        ("errors", &[("devinfo/1/error_stats", CORRUPT)], Some("btrfs / device 1")),
        ("a device", &[("devinfo/1/error_stats", CLEAN), ("devinfo/2/missing", "1\n")], Some("btrfs /")),
        ("replaced", &[("devinfo/1/error_stats", CLEAN), ("devinfo/2/replace_target", "1\n")], Some("btrfs /")),
        ("a balance", &[("devinfo/1/missing", "0\n"), ("exclusive_operation", "balance\n")], None),
    ];
    for (what, files, wanted) in cases {
        for devices in [false, true] {
            let machine = copy("intel-n100");
            write(&machine, "proc/1/mountinfo", &mounted("0:30", "btrfs", "/dev/nvme0n1p2"));
            for (file, text) in files {
                write(&machine, &format!("sys/fs/btrfs/8f2c-01/{file}"), text);
            }
            if devices {
                write(&machine, "sys/fs/btrfs/8f2c-01/devices/nvme0n1p2/size", "1\n");
            }
            let found = redundancy(&Stage::new(machine).play(LONG));
            let wanted: Vec<_> =
                wanted.map(|subject| (subject.to_owned(), Level::Degraded, true)).into_iter().collect();
            assert_eq!(found, wanted, "{what}, devices {devices}");
        }
    }
}

#[test]
fn a_cable_that_carries_the_ipv6_default_route_is_missed() {
    let machine = copy("intel-n100");
    write(&machine, "proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n");
    let zero = "0".repeat(32);
    let line = |metric: &str, flags: &str, device: &str| {
        format!("{zero} 00 {zero} 00 {zero} {metric} 00000001 00000000 {flags} {device:>8}\n")
    };
    let table = line("00000400", "00450003", "enp1s0") + &line("ffffffff", "00200200", "lo");
    write(&machine, "proc/net/ipv6_route", &table);
    let mut stage = Stage::new(machine);
    stage.play(LONG);
    assert_eq!(stage.reading().label("hostler_network_default_route", "device"), Some("enp1s0"));
    write(&stage.machine, "sys/class/net/enp1s0/carrier", "0\n");
    write(&stage.machine, "sys/class/net/enp1s0/operstate", "down\n");
    write(&stage.machine, "proc/net/ipv6_route", &line("ffffffff", "00200200", "lo"));
    assert_eq!(level(&stage.play(LONG), Rule::Network, "enp1s0"), Some((Level::Critical, false)));
}

#[test]
fn mdstat_and_the_table_of_a_bond_tell_where_sysfs_does_not() {
    let stat = "Personalities : [raid1]\nmd0 : active raid1 sda1[0]\n      614336 blocks super 1.2 [2/1] [U_]\n";
    let bond = "Bonding Mode: fault-tolerance (active-backup)\nMII Status: up\n\nSlave Interface: enp1s0\n\
                MII Status: up\n\nSlave Interface: enp2s0\nMII Status: down\n";
    let (_, verdicts) = judged("intel-n100", &[("proc/mdstat", stat), ("proc/net/bonding/bond0", bond)]);
    let lost = |what: &str| (what.to_owned(), Level::Degraded, false);
    assert_eq!(redundancy(&verdicts), [lost("bond bond0"), lost("md md0")]);
}

#[test]
fn a_raid10_serves_while_of_every_pair_one_is_there() {
    use Level::{Critical, Degraded};
    // Layout 0x102 has two near copies, 0x201 two far ones: neighbours hold the same in both.
    for (layout, lost, wanted) in [
        ("258", [0, 2], Degraded),
        ("258", [1, 2], Degraded),
        ("258", [0, 1], Critical),
        ("258", [2, 3], Critical),
        ("513", [0, 2], Degraded),
        ("513", [1, 2], Critical),
        ("513", [3, 0], Critical),
    ] {
        let machine = copy("intel-n100");
        write(&machine, "proc/1/mountinfo", &mounted("9:0", "ext4", "/dev/md0"));
        for (file, text) in [("level", "raid10"), ("raid_disks", "4"), ("degraded", "2"), ("layout", layout)] {
            write(&machine, &format!("sys/block/md0/md/{file}"), &format!("{text}\n"));
        }
        for slot in (0..4).filter(|slot| !lost.contains(slot)) {
            write(&machine, &format!("sys/block/md0/md/rd{slot}/state"), "in_sync\n");
        }
        // A spare that is being filled holds nothing yet.
        write(&machine, &format!("sys/block/md0/md/rd{}/state", lost[0]), "spare\n");
        let verdicts = Stage::new(machine).play(LONG);
        assert_eq!(redundancy(&verdicts), [("md md0".to_owned(), wanted, true)], "{layout} without {lost:?}");
    }
}

#[test]
fn a_pool_that_is_resilvered_waits_and_one_that_is_scrubbed_does_not() {
    let told = |lines: &[&str]| {
        let lines = lines.iter().map(|line| format!("1795180000   spa_history.c:306:spa_history_log_sync(): {line}\n"));
        lines.collect::<String>() + "1795180001   dsl_scan.c:3300:dsl_process_async_destroys(): nothing\n"
    };
    let (resilver, scrub) =
        ("txg 41 scan setup func=2 mintxg=3 maxtxg=41", "txg 50 scan setup func=1 mintxg=0 maxtxg=50");
    let done = "txg 44 scan done errors=0";
    let rebuild = |end: &str| format!("txg 60 rebuild vdev_id=0 vdev_guid=77 {end}");
    let (begun, complete) = (rebuild("started"), rebuild("complete"));
    for (what, lines, waits) in [
        ("nothing", vec![], false),
        ("a resilver", vec![resilver], true),
        ("one that ended", vec![resilver, done], false),
        ("one that begins anew", vec![resilver, "txg 43 scan aborted, restarting errors=0", resilver], true),
        ("a scrub", vec![resilver, done, scrub], false),
        ("a rebuild", vec![begun.as_str()], true),
        ("a scrub after a rebuild", vec![begun.as_str(), complete.as_str(), scrub], false),
    ] {
        let machine = copy("intel-n100");
        write(&machine, "proc/1/mountinfo", &mounted("0:30", "zfs", "rpool/ROOT"));
        write(&machine, "proc/spl/kstat/zfs/rpool/state", "ONLINE\n");
        write(&machine, "proc/spl/kstat/zfs/dbgmsg", &told(&lines));
        let verdicts = Stage::new(machine).play(LONG);
        let wanted: Vec<_> = waits.then(|| ("zpool rpool".to_owned(), Level::Degraded, true)).into_iter().collect();
        assert_eq!(redundancy(&verdicts), wanted, "{what}");
    }
}
