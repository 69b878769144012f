//! Tables and states of the kernel: clock, open files, connection tracking, taint, hung tasks, control groups.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, text};

/// STA_NANO: the offset is in nanoseconds.
const NANOSECONDS: i64 = 0x2000;

/// Reads the clock by `adjtimex`.
pub(super) fn timex(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let clock = input.source.calls.adjtimex()?;
    let parts = if clock.status & NANOSECONDS == 0 { 1e6 } else { 1e9 };
    out.put("node_timex_offset_seconds", &[], clock.offset as f64 / parts);
    out.put("node_timex_frequency_adjustment_ratio", &[], 1.0 + clock.frequency as f64 / 65536.0 / 1e6);
    out.put("node_timex_maxerror_seconds", &[], clock.maxerror as f64 / 1e6);
    out.put("node_timex_estimated_error_seconds", &[], clock.esterror as f64 / 1e6);
    out.put("node_timex_status", &[], clock.status as f64);
    out.put("node_timex_sync_status", &[], f64::from(clock.is_flagged_synchronised()));
    out.put("node_timex_tai_offset_seconds", &[], clock.tai as f64);
    Ok(())
}

/// Reads open files and the connection tracking table; the latter is there when its module is.
pub(super) fn tables(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    if let Some(said) = worst.note(root.text("proc/sys/fs/file-nr")) {
        let mut words = text::words(said.as_bytes()).map(text::number);
        out.put_some("node_filefd_allocated", &[], words.next().flatten());
        out.put_some("node_filefd_maximum", &[], words.nth(1).flatten());
    }
    for (series, file) in
        [("node_nf_conntrack_entries", "nf_conntrack_count"), ("node_nf_conntrack_entries_limit", "nf_conntrack_max")]
    {
        out.put_some(series, &[], worst.note(root.number(&format!("proc/sys/net/netfilter/{file}"))));
    }
    worst.finish()
}

/// Reads what says that the kernel had trouble.
pub(super) fn troubles(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let mut worst = Worst::default();
    let root = &input.source.root;
    out.put_some("hostler_kernel_tainted", &[], worst.note(root.number("proc/sys/kernel/tainted")));
    let hung = worst.note(root.number("proc/sys/kernel/hung_task_detect_count"));
    out.put_some("node_kernel_hung_tasks_total", &[], hung);
    // The name before node_exporter 1.12, which dashboards still ask for.
    out.put_some("node_kernel_hung_tasks", &[], hung);
    let mut checks = None;
    let lines = root.each_line("proc/interrupts", |line| checks = checks.or(super::cpufreq::machine_checks(line)));
    worst.note(lines);
    out.put_some("hostler_machine_check_exceptions_total", &[], checks);
    worst.finish()
}

const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Reads which control group controllers can be used. The firmware of a Raspberry Pi switches memory off, and the
/// kernel command line may say the contrary, so the running state is asked and not a file of flags.
pub(super) fn cgroups(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    if let Ok(unified) = root.text("sys/fs/cgroup/cgroup.controllers") {
        for name in CONTROLLERS {
            let enabled = unified.split_whitespace().any(|one| one == name);
            out.put("hostler_cgroup_controller_enabled", &[("controller", name)], f64::from(enabled));
        }
        return Ok(());
    }
    root.read_into("proc/cgroups", &mut input.bytes)?;
    for name in CONTROLLERS {
        let row = text::lines(&input.bytes).find(|line| text::words(line).next() == Some(name.as_bytes()));
        let enabled = row.and_then(|row| text::words(row).nth(3)) == Some(b"1");
        out.put("hostler_cgroup_controller_enabled", &[("controller", name)], f64::from(enabled));
    }
    Ok(())
}
