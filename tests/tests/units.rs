//! The units that the packages install: what systemd says of their confinement, and what each leaves open by a reason.

use std::{path::PathBuf, process::Command};

fn unit(name: &str) -> PathBuf {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate lies in the workspace").join("systemd").join(name)
}

/// The exposure that `systemd-analyze security` finds, 0.0 to 10.0, and the settings that it would have otherwise. None
/// where there is no systemd-analyze that can judge a file.
fn exposure(name: &str) -> Option<(f64, Vec<String>)> {
    let mut command = Command::new("systemd-analyze");
    let output = match command.args(["security", "--offline=true", "--no-pager"]).arg(unit(name)).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: expected systemd-analyze, found none ({error})");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let overall = text.lines().find_map(|line| line.split("Overall exposure level for ").nth(1));
    let Some(number) = overall.and_then(|rest| rest.split(": ").nth(1)?.split(' ').next()?.parse().ok()) else {
        let said = String::from_utf8_lossy(&output.stderr);
        println!("skipped: expected systemd 250 or later, found one that does not judge a file: {said}");
        return None;
    };
    let open = text.lines().filter_map(|line| line.strip_prefix("✗ ")?.split("  ").next().map(str::to_owned));
    Some((number, open.collect()))
}

#[test]
fn the_agent_is_confined_and_the_executor_as_far_as_its_work_allows() {
    for (name, most) in [("hostler-agent.service", 1.5), ("hostler-executor.service", 5.7)] {
        let Some((found, open)) = exposure(name) else { return };
        println!("{name}: exposure {found}, at most {most}");
        assert!(found <= most, "{name} expected an exposure of at most {most}, found {found}: {open:#?}");
    }
}

#[test]
fn what_a_unit_leaves_open_has_its_reason_in_the_unit() {
    // What is the same for every service, or an effect of a setting that is on.
    let everywhere = ["RestrictAddressFamilies=~AF_UNIX", "PrivateMounts="];
    for name in ["hostler-agent.service", "hostler-executor.service"] {
        let Some((_, open)) = exposure(name) else { return };
        let text = std::fs::read_to_string(unit(name)).expect("the unit");
        let reasons: String = text.lines().filter(|line| line.starts_with('#')).collect();
        for setting in open.iter().filter(|setting| !everywhere.contains(&setting.as_str())) {
            // `CapabilityBoundingSet=~CAP_(CHOWN|FSETID|SETFCAP)`, `RootDirectory=/RootImage=`, `User=/DynamicUser=`
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            let value = value.trim_start_matches(['~', '/']).trim_end_matches('=');
            let parts =
                value.split(['(', '|', ')']).filter(|part| !part.is_empty()).map(|part| part.trim_end_matches('*'));
            let mut named = parts.chain([key]).filter(|part| part.len() > 3 && *part != "CapabilityBoundingSet");
            let is_named = named.any(|part| reasons.contains(part));
            assert!(is_named, "{name} leaves {setting} open and says no reason");
        }
    }
}
