//! The rest of a machine: memory, supply, temperature, clock, units, network.

use super::*;

#[test]
fn counters_are_deltas_and_restart_with_the_node() {
    let kills = |count| set(well(), "hostler_node_oom_kills_total", count);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 0, &kills(5.0)), Rule::OomKill), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 10, 10, &kills(6.0)), Rule::OomKill), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 20, 20, &kills(8.0)), Rule::OomKill), Some(Level::Critical));
    assert_eq!(level(&run(&mut health, 40 * MINUTE, 40 * MINUTE, &kills(8.0)), Rule::OomKill), Some(Level::Ok));
    for (kills_since_boot, expected) in [(2.0, Level::Degraded), (9.0, Level::Critical)] {
        let two = vec![("boot_id", "two"), ("model", "")];
        let rebooted = with(kills(kills_since_boot), "hostler_node_info", two, 1.0);
        let verdicts = run(&mut health.clone(), 41 * MINUTE, 41 * MINUTE, &rebooted);
        assert_eq!(level(&verdicts, Rule::OomKill), Some(expected), "all of them since this boot, whatever was before");
    }
}

#[test]
fn a_kill_that_only_the_counter_of_all_kills_shows_is_not_known_to_be_the_node_s() {
    let kills = |values: Values, any: f64| set(values, "node_vmstat_oom_kill", any);
    let with_log = || set(well(), "hostler_node_oom_kills_total", 0.0);
    for (values, expected) in [(with_log(), Level::Ok), (well(), Level::Unknown)] {
        let mut health = health();
        assert_eq!(level(&run(&mut health, 0, 0, &kills(values.clone(), 5.0)), Rule::OomKill), Some(Level::Ok));
        let verdicts = run(&mut health, 10, 10, &kills(values, 9.0));
        assert_eq!(level(&verdicts, Rule::OomKill), Some(expected));
        assert_eq!(worst(&verdicts), Level::Ok, "it holds nobody up");
    }
}

#[test]
fn a_unit_of_kubernetes_that_never_gets_active_counts_once_the_node_has_joined() {
    let state = |state: &'static str, joined: f64, enabled: Option<f64>| {
        let name = "k3s-agent.service";
        let values = with(well(), "node_systemd_units", vec![("state", "failed")], 0.0);
        let labels = vec![("name", name), ("state", state), ("type", "service")];
        let mut values = with(values, "node_systemd_unit_state", labels, 1.0);
        values.extend(enabled.map(|enabled| ("hostler_systemd_unit_enabled", vec![("name", name)], enabled)));
        values.push(("hostler_kubernetes_joined", vec![], joined));
        values
    };
    let after = |values: &Values, seconds| level(&run(&mut health(), 0, seconds, values), Rule::Systemd);
    for between in ["activating", "deactivating", "reloading"] {
        assert_eq!(after(&state(between, 1.0, None), 590), Some(Level::Ok), "{between}: it may take a while");
        assert_eq!(after(&state(between, 1.0, None), 600), Some(Level::Critical), "{between}");
        assert_eq!(after(&state(between, 0.0, None), 3600), Some(Level::Ok), "{between}: not joined yet");
    }
    assert_eq!(after(&state("inactive", 1.0, Some(1.0)), 300), Some(Level::Degraded));
    assert_eq!(after(&state("inactive", 1.0, Some(0.0)), 3600), Some(Level::Ok), "nobody wants it");
    assert_eq!(after(&state("inactive", 1.0, None), 300), Some(Level::Degraded), "none of them runs");
    let mut beside = state("inactive", 1.0, None);
    let labels = vec![("name", "k3s.service"), ("state", "active"), ("type", "service")];
    beside.push(("node_systemd_unit_state", labels, 1.0));
    assert_eq!(after(&beside, 3600), Some(Level::Ok), "another one runs");
}

#[test]
fn memory_has_a_share_to_warn_and_bytes_to_act() {
    let free = |bytes| set(well(), "node_memory_MemAvailable_bytes", bytes);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 890, &free(0.7e9)), Rule::Memory), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 900, 900, &free(0.7e9)), Rule::Memory), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 910, 970, &free(90e6)), Rule::Memory), Some(Level::Critical));
    // 300 MB is beyond 100 MiB but not beyond 5 % of 8 GB.
    assert_eq!(level(&run(&mut health, 980, 2000, &free(300e6)), Rule::Memory), Some(Level::Critical));
}

#[test]
fn a_marginal_supply_that_chatters_is_degraded_and_a_bad_one_critical() {
    let alarm = |on: bool| set(pi(), "hostler_rpi_under_voltage", f64::from(on));
    let mut health = health();
    run(&mut health, 0, 600, &pi());
    assert_eq!(
        level(&run(&mut health, 610, 610, &alarm(true)), Rule::PiUnderVoltage),
        Some(Level::Ok),
        "once is nothing"
    );
    run(&mut health, 620, 740, &alarm(false));
    assert_eq!(level(&run(&mut health, 750, 750, &alarm(true)), Rule::PiUnderVoltage), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 760, 1640, &alarm(false)), Rule::PiUnderVoltage), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 1650, 1670, &alarm(false)), Rule::PiUnderVoltage), Some(Level::Ok));
    let verdicts = run(&mut health, 1680, 1680 + 90, &alarm(true));
    assert_eq!(level(&verdicts, Rule::PiUnderVoltage), Some(Level::Critical), "ten of thirty");
}

#[test]
fn an_input_below_its_limit_is_critical_even_when_no_bit_is_set() {
    let volts = |volts| set(pi(), "hostler_rpi_pmic_volts", volts);
    let mut health = health();
    run(&mut health, 0, 60, &pi());
    assert_eq!(level(&run(&mut health, 70, 90, &volts(4.78)), Rule::PiInputVoltage), Some(Level::Degraded));
    let verdicts = run(&mut health, 100, 120, &volts(4.65));
    assert_eq!(level(&verdicts, Rule::PiUnderVoltage), Some(Level::Critical));
    // The rail cannot be read any more: its neighbour, the alarm that says 0, does not make it well.
    let blind = without(pi(), "hostler_rpi_pmic_volts");
    assert_eq!(level(&run(&mut health, 130, 130, &blind), Rule::PiUnderVoltage), Some(Level::Unknown));
}

#[test]
fn throttle_bits_from_before_are_information_and_new_ones_count_for_a_day() {
    let sticky = |word: u64| set(pi(), "hostler_rpi_throttled_state", (word << 16) as f64);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 60, &sticky(0x5)), Rule::PiThrottledSinceBoot), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 70, 70, &sticky(0xd)), Rule::PiThrottledSinceBoot), Some(Level::Degraded));
    assert_eq!(
        level(&run(&mut health, 25 * HOUR, 25 * HOUR, &sticky(0xd)), Rule::PiThrottledSinceBoot),
        Some(Level::Ok)
    );
}

#[test]
fn a_pi_that_is_throttled_now_needs_three_of_five_samples() {
    let now = bit(pi(), "throttled", "now", 1.0);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 10, &now), Rule::PiThrottled), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 20, 20, &now), Rule::PiThrottled), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 30, 600, &now), Rule::PiThrottled), Some(Level::Critical));
}

#[test]
fn temperatures_use_the_limits_of_their_own_hardware() {
    let component = || vec![("component", "cpu")];
    let cpu = |celsius| with(well(), "hostler_node_temperature_celsius", component(), celsius);
    let limited = |celsius| with(cpu(celsius), "hostler_node_temperature_crit_celsius", component(), 105.0);
    assert_eq!(level(&run(&mut health(), 0, 60, &cpu(92.0)), Rule::CpuTemperature), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health(), 0, 60, &limited(92.0)), Rule::CpuTemperature), Some(Level::Ok));
    assert_eq!(level(&run(&mut health(), 0, 60, &limited(102.0)), Rule::CpuTemperature), Some(Level::Critical));
    let pi_at = |celsius| set(pi(), "hostler_node_temperature_celsius", celsius);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 20, &pi_at(80.0)), Rule::PiTemperature), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 30, 600, &pi_at(76.0)), Rule::PiTemperature), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 610, 910, &pi_at(75.0)), Rule::PiTemperature), Some(Level::Ok));
    let absurd = run(&mut HealthEvaluator::default(), 0, 60, &pi_at(3_892_314.0));
    assert_eq!(level(&absurd, Rule::PiTemperature), Some(Level::Unknown), "not critical, and not healthy");
}

#[test]
fn the_clock_is_not_judged_just_after_a_boot_and_an_offset_may_shrink() {
    let lost = set(set(well(), "node_timex_sync_status", 0.0), "node_timex_maxerror_seconds", 16.0);
    let young = set(lost.clone(), "node_boot_time_seconds", NOW as f64 / 1000.0 - 60.0);
    let verdicts = run(&mut health(), 0, 600, &young);
    assert_eq!(level(&verdicts, Rule::Clock), Some(Level::Unknown), "neither good nor bad");
    let mut old = health();
    assert_eq!(level(&run(&mut old, 0, 290, &lost), Rule::Clock), Some(Level::Ok));
    assert_eq!(level(&run(&mut old, 300, 300, &lost), Rule::Clock), Some(Level::Degraded));
    let (mut shrinks, mut stays) = (health(), health());
    let mut verdicts = [Vec::new(), Vec::new()];
    for seconds in (0..=2000).step_by(10) {
        let offset = 1.0 * 0.999_f64.powi(seconds as i32 / 2);
        verdicts[0] = run(&mut shrinks, seconds, seconds, &set(well(), "node_timex_offset_seconds", offset));
        verdicts[1] = run(&mut stays, seconds, seconds, &set(well(), "node_timex_offset_seconds", -0.4));
    }
    assert_eq!(level(&verdicts[0], Rule::Clock), Some(Level::Ok));
    assert_eq!(level(&verdicts[1], Rule::Clock), Some(Level::Degraded));
    let far = set(well(), "node_timex_offset_seconds", 40.0);
    assert_eq!(level(&run(&mut HealthEvaluator::default(), 0, 600, &far), Rule::Clock), Some(Level::Critical));
}

#[test]
fn units_certificates_and_cgroups() {
    let failed = |name: &'static str| {
        let values = with(well(), "node_systemd_units", vec![("state", "failed")], 1.0);
        with(values, "node_systemd_unit_state", vec![("name", name), ("state", "failed"), ("type", "service")], 1.0)
    };
    let after = |health: &mut HealthEvaluator, values: &Values| run(health, 0, 300, values);
    assert_eq!(level(&after(&mut health(), &failed("own.service")), Rule::Systemd), Some(Level::Degraded));
    assert_eq!(level(&after(&mut health(), &failed("kubelet.service")), Rule::Systemd), Some(Level::Critical));
    let listed = |units: &[&str], name| {
        let units = units.iter().map(|unit| (*unit).to_owned()).collect();
        let thresholds = Thresholds { ignore_units: Some(units), ..Thresholds::default() };
        level(&after(&mut HealthEvaluator::new(thresholds), &failed(name)), Rule::Systemd)
    };
    assert_eq!(listed(&["own.service"], "own.service"), Some(Level::Ok));
    assert_eq!(listed(&["kubelet.service"], "kubelet.service"), Some(Level::Critical), "listed, and needed");
    for name in super::super::HARMLESS_UNITS {
        assert_eq!(level(&after(&mut health(), &failed(name)), Rule::Systemd), Some(Level::Ok), "{name}");
        assert_eq!(listed(&[], name), Some(Level::Degraded), "{name}, by a list of one's own");
    }
    let expires = |days: f64| {
        let labels = vec![("kind", "leaf"), ("path", "/etc/kubernetes/pki/apiserver.crt")];
        let at = NOW as f64 / 1000.0 + days * 86400.0;
        with(well(), "hostler_certificate_not_after_timestamp_seconds", labels, at)
    };
    for (days, expected) in
        [(15.0, Level::Ok), (13.9, Level::Degraded), (6.9, Level::Critical), (-1.0, Level::Critical)]
    {
        assert_eq!(level(&run(&mut health(), 0, 0, &expires(days)), Rule::Certificate), Some(expected), "{days}");
    }
    let off = set(well(), "hostler_cgroup_controller_enabled", 0.0);
    assert_eq!(level(&run(&mut health(), 0, 0, &off), Rule::MemoryCgroup), Some(Level::Critical));
}

#[test]
fn memory_errors_machine_checks_and_taint() {
    let corrected = |count| {
        let values = with(well(), "node_edac_correctable_errors_total", vec![("controller", "0")], count);
        with(values, "node_edac_uncorrectable_errors_total", vec![("controller", "0")], 0.0)
    };
    let mut edac = health();
    assert_eq!(level(&run(&mut edac, 0, 0, &corrected(12.0)), Rule::MemoryErrors), Some(Level::Ok));
    assert_eq!(level(&run(&mut edac, 10, 10, &corrected(13.0)), Rule::MemoryErrors), Some(Level::Degraded));
    assert_eq!(
        level(&run(&mut edac, 20, HOUR, &corrected(13.0)), Rule::MemoryErrors),
        Some(Level::Degraded),
        "an hour's hold"
    );
    let broken = set(well(), "node_memory_HardwareCorrupted_bytes", 4096.0);
    assert_eq!(level(&run(&mut health(), 0, 0, &broken), Rule::MemoryErrors), Some(Level::Critical));
    let tainted = |bits| set(well(), "hostler_kernel_tainted", bits);
    let mut kernel = health();
    assert_eq!(level(&run(&mut kernel, 0, 0, &tainted(512.0)), Rule::Kernel), Some(Level::Ok), "tainted before");
    assert_eq!(level(&run(&mut kernel, 10, 10, &tainted(640.0)), Rule::Kernel), Some(Level::Degraded), "an oops");
}

#[test]
fn the_default_link_is_watched_even_when_its_route_went_with_it() {
    let device = || vec![("device", "eth0")];
    let up = with(well(), "hostler_network_default_route", device(), 1.0);
    let up = with(with(up, "node_network_up", device(), 1.0), "node_network_carrier", device(), 1.0);
    let down = without(
        set(set(up.clone(), "node_network_up", 0.0), "node_network_carrier", 0.0),
        "hostler_network_default_route",
    );
    let mut health = health();
    run(&mut health, 0, 60, &up);
    assert_eq!(level(&run(&mut health, 70, 130, &down), Rule::Network), Some(Level::Critical));
}

#[test]
fn what_is_a_hair_below_zero_is_said_as_zero() {
    assert_eq!([-0.0, -0.000_01, 0.0, -1.0, 2.5].map(super::plain), ["0", "0", "0", "-1", "2.5"]);
}
