//! Sensors by what they are: the nearest to the processor, and none under the name of another.

use super::*;

const TCTL: &str = "sys/devices/pci0000:00/0000:00:18.3/hwmon/hwmon3";
const CORETEMP: &str = "sys/devices/platform/coretemp.0/hwmon/hwmon2";

fn celsius(stage: &Stage) -> Option<f64> {
    stage.reading().get("hostler_node_temperature_celsius", &[("component", "cpu")])
}

#[test]
fn the_nearest_sensor_speaks_for_the_processor() {
    let file = |name: &str| format!("{TCTL}/{name}");
    let with = |files: &[(&str, &str)]| {
        let files: Vec<(String, &str)> = files.iter().map(|(name, text)| (file(name), *text)).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let (stage, verdicts) = judged("amd-r1505g", &files);
        (celsius(&stage), level(&verdicts, Rule::CpuTemperature, "").map(|found| found.0))
    };
    let tdie = [("temp1_input", "97000\n"), ("temp2_input", "70000\n"), ("temp2_label", "Tdie\n")];
    assert_eq!(with(&tdie), (Some(70.0), None), "27 °C of it are for the fan");
    assert_eq!(with(&[("temp1_input", "97000\n")]), (Some(97.0), Some(Level::Critical)), "Tctl alone counts");
    let ccd = [("temp1_input", "60000\n"), ("temp3_input", "96000\n"), ("temp3_label", "Tccd1\n")];
    assert_eq!(with(&ccd), (Some(60.0), None), "one die of several is not the whole");
    let old = [("temp1_input", "96000\n"), ("temp1_label", "\n")];
    assert_eq!(with(&old), (Some(96.0), Some(Level::Critical)), "models before Zen have no labels");
}

#[test]
fn a_processor_without_a_package_sensor_is_as_hot_as_its_hottest_core() {
    let machine = copy("intel-n100");
    for file in ["temp1_input", "temp1_label", "temp1_max", "temp1_crit"] {
        fs::remove_file(machine.path().join(CORETEMP).join(file)).unwrap();
    }
    fs::remove_dir_all(machine.path().join("sys/class/thermal/thermal_zone1")).ok();
    write(&machine, &format!("{CORETEMP}/temp3_input"), "98000\n");
    write(&machine, &format!("{CORETEMP}/temp3_crit"), "100000\n");
    let mut stage = Stage::new(machine);
    let verdicts = stage.play(LONG);
    assert_eq!(celsius(&stage), Some(98.0));
    assert_eq!(level(&verdicts, Rule::CpuTemperature, ""), Some((Level::Critical, false)), "2 °C below its own limit");
}

#[test]
fn boards_call_the_zone_of_their_processor_many_names() {
    let zone = "sys/class/thermal/thermal_zone7";
    for (kind, brake, wanted) in [
        ("soc-thermal", None, Some(91.0)),
        ("bigcore0-thermal", None, Some(91.0)),
        ("cpu0-thermal", None, Some(91.0)),
        ("CPU-therm", None, Some(91.0)),
        ("zone-1", Some("cpufreq-cpu0"), Some(91.0)),
        ("zone-1", Some("thermal-cpufreq-1"), Some(91.0)),
        ("zone-1", Some("pwm-fan"), None),
        ("gpu-thermal", None, None),
        ("acpitz", Some("cpufreq-cpu0"), None),
    ] {
        let machine = copy("vm-nothing");
        write(&machine, &format!("{zone}/type"), &format!("{kind}\n"));
        write(&machine, &format!("{zone}/temp"), "91000\n");
        if let Some(brake) = brake {
            write(&machine, &format!("{zone}/cdev0/type"), &format!("{brake}\n"));
        }
        let mut stage = Stage::new(machine);
        stage.play(0);
        assert_eq!(celsius(&stage), wanted, "{kind} {brake:?}");
    }
}

#[test]
fn several_chips_below_one_device_keep_apart() {
    let machine = copy("intel-n100");
    let class = machine.path().join("sys/class/hwmon");
    for (number, name) in [(5, "mt7996_phy0_0"), (6, "mt7996_phy0_1"), (7, "twin"), (8, "twin")] {
        let folder = format!("sys/devices/pci0000:00/0000:00:1c.0/ieee80211/phy0/hwmon{number}");
        write(&machine, &format!("{folder}/name"), &format!("{name}\n"));
        write(&machine, &format!("{folder}/temp1_input"), &format!("{number}0000\n"));
        symlink(format!("../../../{folder}"), class.join(format!("hwmon{number}"))).unwrap();
    }
    let mut stage = Stage::new(machine);
    stage.play(0);
    let read = |chip: &str| stage.reading().get("node_hwmon_temp_celsius", &[("chip", chip), ("sensor", "temp1")]);
    for (chip, celsius) in [
        ("ieee80211_phy0_mt7996_phy0_0", 50.0),
        ("ieee80211_phy0_mt7996_phy0_1", 60.0),
        ("ieee80211_phy0_twin_hwmon7", 70.0),
        ("ieee80211_phy0_twin_hwmon8", 80.0),
        ("platform_coretemp_0", 52.0),
    ] {
        assert_eq!(read(chip), Some(celsius), "{chip}");
    }
}
