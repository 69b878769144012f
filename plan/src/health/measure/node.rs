//! Memory, load, memory errors, kernel, clock.

use super::super::condition::Condition as C;
use super::disk::SETTLING_SECONDS;
use crate::fact::{Memory, clock_is_synchronised};

use super::{Evaluation, Found, HOUR_MS, MINUTE_MS, fact};

/// No judgement of the clock before this: a Raspberry Pi has no battery and waits for the network.
const CLOCK_SETTLING_SECONDS: f64 = 17.0 * 60.0;
/// An offset that lost a tenth within five minutes is on its way.
const SHRINKING: f64 = 0.9;
/// Taint bits: machine check, oops, warning, soft lockup.
const TAINT_MACHINE_CHECK: u64 = 1 << 4;
const TAINT_OOPS: u64 = 1 << 7;
const TAINT_TROUBLE: u64 = TAINT_OOPS | 1 << 9 | 1 << 14;

impl Evaluation<'_> {
    pub(super) fn memory_and_load(&mut self) {
        let memory = Memory::of(self.reading);
        let series = "node_memory_MemAvailable_bytes".to_owned();
        let ratio = memory.and_then(Memory::available_ratio);
        self.push(Found::maybe(C::MemoryAvailable, "", series.clone(), ratio).required(true));
        let bytes = Found::maybe(C::MemoryBytes, "", series, memory.map(|memory| memory.available)).required(true);
        // 100 MiB to raise, 5 % of the memory to clear, but never less than where it raises.
        let raise = C::MemoryBytes.row().raise;
        self.push(memory.map_or(bytes.clone(), |m| bytes.limits(raise, (m.total * 0.05).max(raise))));
        if !self.younger_than(SETTLING_SECONDS) {
            self.pressure();
            self.load();
        }
        self.oom_kills();
        if let Some(faults) = self.get("node_vmstat_pgmajfault") {
            let rate = self.tracker.rates.entry("majfault".to_owned()).or_default();
            if let Some((faults, _, seconds)) = rate.add(self.now, faults, 0.0, MINUTE_MS) {
                let series = "node_vmstat_pgmajfault".to_owned();
                self.push(Found::value(C::MajorFaultRate, "", series, faults / seconds));
            }
        }
        let (swap, free) = (self.get("node_memory_SwapTotal_bytes"), self.get("node_memory_SwapFree_bytes"));
        if let (Some(swap), Some(free)) = (swap, free)
            && swap > 0.0
        {
            for condition in [C::SwapUsed, C::SwapFull] {
                self.push(Found::value(condition, "", "node_memory_SwapFree_bytes".to_owned(), 1.0 - free / swap));
            }
        }
    }

    /// Kills because the node's memory ran out. The kernel counts those of containers at their own limits in the same
    /// number, and only its log tells them apart: without the log a kill is not known to be the one or the other.
    fn oom_kills(&mut self) {
        let (name, any) = ("hostler_node_oom_kills_total", "node_vmstat_oom_kill");
        let grown = self.get(name).map(|kills| self.growth("oom".to_owned(), kills, 30 * MINUTE_MS));
        let quiet = match self.get(any) {
            Some(kills) => self.growth("oom any".to_owned(), kills, 30 * MINUTE_MS) == 0.0,
            None if grown.is_none() => return,
            None => false,
        };
        for condition in [C::OomKill, C::OomKills] {
            let found = match grown {
                Some(grown) => Found::value(condition, "", name.to_owned(), grown),
                None if quiet => Found::value(condition, "", any.to_owned(), 0.0),
                None => Found::maybe(condition, "", any.to_owned(), None),
            };
            self.push(found);
        }
    }

    fn pressure(&mut self) {
        for (condition, kind) in [(C::PressureSome, "some"), (C::PressureFull, "full")] {
            let share = self.reading.get("hostler_pressure_ratio", &[("resource", "memory"), ("kind", kind)]);
            let series = format!("hostler_pressure_ratio{{kind=\"{kind}\",resource=\"memory\"}}");
            self.push(Found::maybe(condition, "", series, share));
        }
    }

    fn load(&mut self) {
        let idle = self.reading.all("node_cpu_seconds_total").filter(|(labels, _)| labels.get("mode") == Some("idle"));
        // Of very many processors there is one sum.
        let cores = self.get("hostler_processors").unwrap_or(idle.count() as f64);
        if let Some(load) = self.get("node_load1")
            && cores > 0.0
        {
            self.push(Found::value(C::LoadPerCore, "", "node_load1".to_owned(), load / cores));
        }
    }

    pub(super) fn errors(&mut self) {
        let controllers: Vec<(String, f64)> = self
            .reading
            .all("node_edac_correctable_errors_total")
            .filter_map(|(labels, count)| Some((labels.get("controller")?.to_owned(), count)))
            .collect();
        for (controller, count) in controllers {
            let grown = self.growth(format!("edac {controller}"), count, 10 * MINUTE_MS);
            let series = fact("node_edac_correctable_errors_total", "controller", &controller);
            self.push(Found::value(C::CorrectedErrors, &controller, series, grown));
            let name = "node_edac_uncorrectable_errors_total";
            let count = self.reading.get(name, &[("controller", &controller)]);
            let series = fact(name, "controller", &controller);
            self.push(Found::maybe(C::UncorrectedErrors, &controller, series, count));
        }
        if let Some(bytes) = self.get("node_memory_HardwareCorrupted_bytes") {
            let series = "node_memory_HardwareCorrupted_bytes".to_owned();
            self.push(Found::value(C::BrokenPages, "", series, bytes));
        }
        self.kernel();
    }

    fn kernel(&mut self) {
        let tainted = self.get("hostler_kernel_tainted").map(|bits| bits as u64);
        let bits = tainted.map(|word| self.tracker.bits.entry("taint".to_owned()).or_default().of(word));
        if let Some(checks) = self.get("hostler_machine_check_exceptions_total") {
            let grown = self.growth("mce".to_owned(), checks, HOUR_MS);
            let tainted = f64::from(bits.unwrap_or_default() & TAINT_MACHINE_CHECK != 0);
            let series = "hostler_machine_check_exceptions_total".to_owned();
            self.push(Found::value(C::MachineChecks, "", series, grown.max(tainted)));
        }
        let series = "hostler_kernel_tainted".to_owned();
        let trouble = bits.map(|bits| f64::from(bits & TAINT_TROUBLE != 0));
        self.push(Found::maybe(C::NewTaint, "", series.clone(), trouble));
        if let (Some(bits), Some(hung)) = (bits, self.get("node_kernel_hung_tasks_total")) {
            let hung = self.growth("hung".to_owned(), hung, HOUR_MS);
            let both = f64::from(bits & TAINT_OOPS != 0 && hung > 0.0);
            self.push(Found::value(C::OopsAndHungTasks, "", series, both));
        }
    }

    /// In the first minutes after a boot a synchronised clock is well and another one is not known: neither good nor
    /// bad, because it may just not have found its server yet.
    pub(super) fn clock(&mut self) {
        let flag = self.get("node_timex_sync_status");
        let (offset, worst) = (self.get("node_timex_offset_seconds"), self.get("node_timex_maxerror_seconds"));
        let steered = flag.and(worst).map(|worst| f64::from(clock_is_synchronised(worst)));
        let settling = self.younger_than(CLOCK_SETTLING_SECONDS) && steered != Some(1.0);
        let known = |value: Option<f64>| value.filter(|_| !settling);
        let series = "node_timex_sync_status".to_owned();
        self.push(Found::maybe(C::ClockUnsynchronised, "", series, known(steered)).required(true));
        let distance = offset.map(f64::abs);
        let steady = distance.map(|distance| {
            let before = self.tracker.offset.add(self.now, distance, 5 * MINUTE_MS);
            let shrinking = before.is_some_and(|before| distance < before * SHRINKING);
            if shrinking { 0.0 } else { distance }
        });
        let series = "node_timex_offset_seconds".to_owned();
        self.push(Found::maybe(C::ClockOffset, "", series.clone(), known(steady)).required(true));
        self.push(Found::maybe(C::ClockFarOff, "", series, known(distance)).required(true));
    }
}
