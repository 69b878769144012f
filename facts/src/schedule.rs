//! The scheduler: which reader runs when, what it found last, and whether it worked.

use super::failure::Failure;
use super::sample::Sample;
use super::{
    Input, Now, Source, carries, certificate, cpu, cpufreq, diskstats, filesystem, hwmon, identity, kernel, kmsg,
    memory, network, nvme, packages, pressure, process, reboot, redundancy, rpi, sata, smart, storage, systemd,
    thermal,
    worth::{self, Worth},
};
use hostler_plan::fact::{Reading, Series};
use std::time::{Duration, Instant};

/// Series of a Raspberry Pi, so that a fleet of hundreds fits one Prometheus and one coordinator. What rules look at
/// and what says what a machine is does not count against it: it is always there.
const MAX_SERIES_PI: usize = 400;
/// Series of other machines: more threads, disks and sensors.
const MAX_SERIES: usize = 1000;
/// What the coordinator takes of a node, less some for the facts about the facts. No machine comes near.
const MOST_SERIES: usize = hostler_plan::fact::MAX_SERIES - 96;

/// The duration of a reader is a fact from the first time on that it took this long; forty zeros are none.
const SLOW_SECONDS: f64 = 0.1;

/// How often a reader runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cadence {
    /// Every round, 10 s.
    Fast,
    /// Every minute.
    Minute,
    /// Every quarter of an hour.
    Quarter,
    /// What changes only with a boot or an installation: every hour.
    Hour,
}

impl Cadence {
    fn period(self) -> Duration {
        match self {
            Cadence::Fast => Duration::ZERO,
            Cadence::Minute => Duration::from_secs(60),
            Cadence::Quarter => Duration::from_secs(900),
            Cadence::Hour => Duration::from_secs(3600),
        }
    }
}

/// The readers. Those with a state of their own carry it.
#[derive(Debug)]
enum Reader {
    Plain(fn(&mut Input, &mut Sample) -> Result<(), Failure>),
    Stat(cpu::Stat),
    Cpufreq(cpufreq::Cpufreq),
    Hwmon(Box<hwmon::Hwmon>),
    Firmware(Box<rpi::Firmware>),
    Filesystems(filesystem::Filesystems),
    Controllers(nvme::Controllers),
    Smart(smart::Smart),
    Sata(sata::Sata),
    Systemd(systemd::Systemd),
    Updates(packages::Updates),
    Interfaces(network::Counters),
    Process(process::Process),
}

impl Reader {
    fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        match self {
            Reader::Plain(read) => read(input, out),
            Reader::Stat(reader) => reader.read(input, out),
            Reader::Cpufreq(reader) => reader.read(input, out),
            Reader::Hwmon(reader) => reader.read(input, out),
            Reader::Firmware(reader) => reader.read(input, out),
            Reader::Filesystems(reader) => reader.read(input, out),
            Reader::Controllers(reader) => reader.read(input, out),
            Reader::Smart(reader) => reader.read(input, out),
            Reader::Sata(reader) => reader.read(input, out),
            Reader::Systemd(reader) => reader.read(input, out),
            Reader::Updates(reader) => reader.read(input, out),
            Reader::Interfaces(reader) => reader.read(input, out),
            Reader::Process(reader) => reader.read(input, out),
        }
    }

    /// Whether helper threads are out that are not late yet.
    fn pending(&self) -> bool {
        match self {
            Reader::Plain(_)
            | Reader::Stat(_)
            | Reader::Cpufreq(_)
            | Reader::Controllers(_)
            | Reader::Interfaces(_)
            | Reader::Process(_) => false,
            Reader::Hwmon(reader) => reader.pending(),
            Reader::Firmware(reader) => reader.pending(),
            Reader::Filesystems(reader) => reader.pending(),
            Reader::Smart(reader) => reader.pending(),
            Reader::Sata(reader) => reader.pending(),
            Reader::Systemd(reader) => reader.pending(),
            Reader::Updates(reader) => reader.pending(),
        }
    }

    fn wait(&mut self, now: Duration, at_most: Duration) {
        match self {
            Reader::Plain(_)
            | Reader::Stat(_)
            | Reader::Cpufreq(_)
            | Reader::Controllers(_)
            | Reader::Interfaces(_)
            | Reader::Process(_) => {}
            Reader::Hwmon(reader) => reader.wait(now, at_most),
            Reader::Firmware(reader) => reader.wait(now, at_most),
            Reader::Filesystems(reader) => reader.wait(now, at_most),
            Reader::Smart(reader) => reader.wait(now, at_most),
            Reader::Sata(reader) => reader.wait(now, at_most),
            Reader::Systemd(reader) => reader.wait(now, at_most),
            Reader::Updates(reader) => reader.wait(now, at_most),
        }
    }
}

/// How a reader's last run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It worked.
    Worked,
    /// The machine does not have what it reads.
    Absent,
    /// Something failed; what could be read is in the reading all the same.
    Failed(Failure),
}

#[derive(Debug)]
struct Slot {
    name: &'static str,
    cadence: Cadence,
    reader: Reader,
    sample: Sample,
    ran_at: Option<Duration>,
    state: State,
    seconds: f64,
    was_slow: bool,
}

/// All readers of one machine.
#[derive(Debug)]
pub struct Facts {
    input: Input,
    slots: Vec<Slot>,
    about: Sample,
    reading: Reading,
    max_series: usize,
    dropped: Vec<(&'static str, u64)>,
}

impl Facts {
    /// Readers for a machine. Nothing is read yet.
    pub fn new(source: Source) -> Self {
        let pi = identity::is_raspberry_pi(&source.root);
        let now = Now { elapsed: Duration::ZERO, unix_ms: 0 };
        Facts {
            input: Input::new(source, now),
            slots: slots(),
            about: Sample::default(),
            reading: Reading::default(),
            max_series: if pi { MAX_SERIES_PI } else { MAX_SERIES },
            dropped: Vec::new(),
        }
    }

    /// Reads from somewhere else from now on: the same machine in another state. What the readers remember stays.
    pub(crate) fn turn_to(&mut self, source: Source) {
        self.input.source = source;
    }

    /// Runs the readers that are due and gives the reading. Meant to be called every 10 seconds.
    pub fn tick(&mut self, now: Now) -> &Reading {
        self.input.now = now;
        let mut reshaped = false;
        for slot in &mut self.slots {
            reshaped |= slot.run(&mut self.input);
        }
        self.assemble(reshaped);
        &self.reading
    }

    /// Waits for the helper threads of the last round, at most so long in real time, and gives the completed reading.
    /// For the first round and for a single reading; a running agent picks the answers up in its next round.
    pub fn wait_for_helpers(&mut self, at_most: Duration) -> &Reading {
        let deadline = Instant::now() + at_most;
        let now = self.input.now.elapsed;
        let mut reshaped = false;
        for slot in &mut self.slots {
            if slot.reader.pending() {
                slot.reader.wait(now, deadline.saturating_duration_since(Instant::now()));
                reshaped |= slot.refill(&mut self.input, false);
            }
        }
        self.assemble(reshaped);
        &self.reading
    }

    /// Whether answers of helper threads are still out.
    pub fn pending(&self) -> bool {
        self.slots.iter().any(|slot| slot.reader.pending())
    }

    /// The last reading.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// How the last run of each reader ended, by name.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, &State)> {
        self.slots.iter().map(|slot| (slot.name, &slot.state))
    }

    fn assemble(&mut self, reshaped: bool) {
        self.about.begin();
        let now = self.input.now.unix_ms;
        for slot in &self.slots {
            let worked = match slot.state {
                State::Worked => 1.0,
                State::Failed(_) => 0.0,
                State::Absent => continue,
            };
            let labels = [("collector", slot.name)];
            self.about.put("node_scrape_collector_success", &labels, worked);
            if slot.was_slow {
                self.about.put("node_scrape_collector_duration_seconds", &labels, slot.seconds);
            }
        }
        self.about.put("node_time_seconds", &[], now as f64 / 1000.0);
        for (name, count) in &self.dropped {
            self.about.put("hostler_series_dropped_total", &[("collector", name)], *count as f64);
        }
        self.about.finish();
        self.reading.set_at_ms(now);
        if reshaped || self.about.reshaped() {
            self.rebuild();
        } else {
            let samples = self.slots.iter().map(|slot| &slot.sample).chain([&self.about]);
            for (series, value) in samples.flat_map(Sample::entries) {
                // False for series that were dropped.
                self.reading.update(series, *value);
            }
        }
    }

    fn rebuild(&mut self) {
        let mut reading = Reading::new(self.reading.at_ms());
        // The facts about the facts come first: they may not be dropped.
        for (series, value) in self.about.entries() {
            reading.set(series.clone(), *value);
        }
        let mut dropped: Vec<u64> = self.slots.iter().map(|slot| slot.sample.dropped()).collect();
        for worth in [Worth::Kept, Worth::Shown, Worth::Spare] {
            let most = if worth == Worth::Kept { MOST_SERIES } else { self.max_series };
            for (slot, left_out) in self.slots.iter().zip(&mut dropped) {
                for (series, value) in slot.sample.entries().iter().filter(|(s, _)| worth::of(s.name()) == worth) {
                    if reading.len() < most {
                        reading.set(series.clone(), *value);
                    } else {
                        *left_out += 1;
                    }
                }
            }
        }
        let names = self.slots.iter().map(|slot| slot.name);
        let dropped: Vec<_> = names.zip(dropped).filter(|(_, left_out)| *left_out > 0).collect();
        for (name, left_out) in &dropped {
            reading.set(Series::new("hostler_series_dropped_total", &[("collector", name)]), *left_out as f64);
        }
        self.dropped = dropped;
        self.reading = reading;
    }
}

impl Slot {
    /// Runs the reader when it is due or has answers to pick up; true when its series changed.
    fn run(&mut self, input: &mut Input) -> bool {
        let now = input.now.elapsed;
        let due = self.ran_at.is_none_or(|last| now.saturating_sub(last) >= self.cadence.period());
        if !due && !self.reader.pending() {
            return false;
        }
        if due {
            self.ran_at = Some(now);
        }
        self.refill(input, due)
    }

    fn refill(&mut self, input: &mut Input, due: bool) -> bool {
        input.due = due;
        let started = Instant::now();
        self.sample.begin();
        let outcome = self.reader.read(input, &mut self.sample);
        self.sample.finish();
        self.seconds = started.elapsed().as_millis() as f64 / 1000.0;
        self.was_slow |= self.seconds >= SLOW_SECONDS;
        self.state = match outcome {
            // Nothing at all to say: the machine has no such thing, or a helper thread has not answered yet.
            Ok(()) if self.sample.entries().is_empty() => State::Absent,
            Ok(()) => State::Worked,
            Err(failure) if failure.is_absent() => State::Absent,
            Err(failure) => State::Failed(failure),
        };
        self.sample.reshaped()
    }
}

/// Every reader with its name and cadence. Of series that are worth the same, those at the end are left out first.
fn slots() -> Vec<Slot> {
    use Cadence::{Fast, Hour, Minute, Quarter};
    let plain = Reader::Plain;
    let readers = [
        ("node", Hour, plain(identity::node)),
        ("uname", Hour, plain(identity::uname)),
        ("os", Hour, plain(identity::os)),
        ("dmi", Hour, plain(identity::dmi)),
        ("cgroup", Hour, plain(kernel::cgroups)),
        ("timex", Fast, plain(kernel::timex)),
        ("meminfo", Fast, plain(memory::meminfo)),
        ("zfs_cache", Fast, plain(memory::zfs_cache)),
        ("stat", Fast, Reader::Stat(cpu::Stat::default())),
        ("loadavg", Fast, plain(cpu::load)),
        ("rpi", Fast, Reader::Firmware(Box::default())),
        ("thermal_zone", Fast, plain(thermal::read)),
        ("hwmon", Fast, Reader::Hwmon(Box::default())),
        ("filesystem", Fast, Reader::Filesystems(filesystem::Filesystems::default())),
        ("nvme", Fast, Reader::Controllers(nvme::Controllers::default())),
        ("nvme_smart", Minute, Reader::Smart(smart::Smart::default())),
        ("diskstats", Fast, plain(diskstats::read)),
        ("vmstat", Fast, plain(memory::vmstat)),
        ("pressure", Fast, plain(pressure::read)),
        ("tables", Fast, plain(kernel::tables)),
        ("netdev", Fast, Reader::Interfaces(network::Counters::default())),
        ("netclass", Minute, plain(network::links)),
        ("troubles", Minute, plain(kernel::troubles)),
        ("kernel_log", Fast, plain(kmsg::read)),
        ("ext4", Minute, plain(storage::ext4)),
        ("edac", Minute, plain(storage::edac)),
        ("mdadm", Minute, plain(redundancy::raid)),
        ("bonding", Minute, plain(redundancy::links)),
        ("btrfs", Minute, plain(redundancy::btrfs)),
        ("zfs", Minute, plain(redundancy::zfs::pools)),
        ("disks", Minute, plain(carries::read)),
        ("mmc", Quarter, plain(storage::mmc)),
        ("smartctl", Quarter, Reader::Sata(sata::Sata::default())),
        ("systemd", Minute, Reader::Systemd(systemd::Systemd::default())),
        ("certificates", Quarter, plain(certificate::read)),
        ("reboot", Minute, plain(reboot::reboot)),
        ("apt", Quarter, Reader::Updates(packages::Updates::default())),
        ("bootloader", Quarter, plain(identity::bootloader)),
        ("cpufreq", Fast, Reader::Cpufreq(cpufreq::Cpufreq::default())),
        ("thermal_throttle", Fast, plain(cpufreq::throttles)),
        ("rapl", Minute, plain(cpufreq::rapl)),
        ("process", Fast, Reader::Process(process::Process::default())),
    ];
    let slot = |(name, cadence, reader)| Slot {
        name,
        cadence,
        reader,
        sample: Sample::default(),
        ran_at: None,
        state: State::Absent,
        seconds: 0.0,
        was_slow: false,
    };
    readers.into_iter().map(slot).collect()
}
