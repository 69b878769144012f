//! Failed units, and the units that Kubernetes needs. Only those: all units of all nodes would be tens of thousands.

use super::failure::Failure;
use super::sample::Sample;
use super::worker::{Worker, result};
use super::{Input, Source, certificate, text};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(25);
/// Failed units that are named; the count tells of the rest.
const MAX_NAMED: usize = 24;

/// Where the link of a unit lies that is started at boot, for versions of systemd that do not say it.
const WANTED: &str = "etc/systemd/system/multi-user.target.wants";

/// What systemd says.
#[derive(Debug, Clone, Default, PartialEq)]
struct Units {
    failed: Vec<String>,
    watched: Vec<Watched>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Watched {
    name: String,
    state: String,
    restarts: Option<f64>,
    /// Whether it is started at boot, where systemd says so.
    enabled: Option<bool>,
}

/// Asks systemd once a minute.
#[derive(Debug)]
pub(super) struct Systemd {
    worker: Worker<(), Result<Units, Failure>>,
    units: Option<Result<Units, Failure>>,
}

impl Default for Systemd {
    fn default() -> Self {
        let call = |source: &Source, (): &()| {
            let output = source.calls.systemd()?;
            if output.code == 0 {
                Ok(parse(&output.text))
            } else {
                let reason = format!("exit code {}; is systemd process 1 and its bus reachable?", output.code);
                Err(Failure::Refused { path: "systemctl".to_owned(), reason })
            }
        };
        Systemd { worker: Worker::new(LIMIT, call), units: None }
    }
}

impl Systemd {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let now = input.now.elapsed;
        for ((), answer) in self.worker.poll(now, &input.source) {
            self.units = Some(result("systemctl", LIMIT, answer));
        }
        if input.due {
            self.worker.start(now, &input.source, [()]);
        }
        let Some(units) = self.units.clone() else { return Ok(()) };
        let units = units?;
        out.put("node_systemd_units", &[("state", "failed")], units.failed.len() as f64);
        out.put("node_systemd_system_running", &[], f64::from(units.failed.is_empty()));
        let mut put = |name: &str, state: &str| {
            let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
            out.put("node_systemd_unit_state", &[("name", name), ("state", state), ("type", kind)], 1.0);
        };
        for name in units.failed.iter().take(MAX_NAMED) {
            put(name, "failed");
        }
        let is_named = |unit: &Watched| units.failed.iter().take(MAX_NAMED).any(|name| *name == unit.name);
        for unit in units.watched.iter().filter(|unit| !is_named(unit)) {
            put(&unit.name, &unit.state);
        }
        for unit in &units.watched {
            out.put_some("node_systemd_service_restart_total", &[("name", &unit.name)], unit.restarts);
            let wanted = || input.source.root.link(&format!("{WANTED}/{}", unit.name)).map(|_| true);
            let enabled = unit.enabled.or_else(wanted).map(f64::from);
            out.put_some("hostler_systemd_unit_enabled", &[("name", &unit.name)], enabled);
        }
        if !units.watched.is_empty() {
            out.put_some("hostler_kubernetes_joined", &[], has_joined(input).map(f64::from));
        }
        Ok(())
    }

    pub(super) fn pending(&self) -> bool {
        self.worker.pending()
    }

    pub(super) fn wait(&mut self, now: Duration, at_most: Duration) {
        for ((), answer) in self.worker.wait(now, at_most) {
            self.units = Some(result("systemctl", LIMIT, answer));
        }
    }
}

/// Whether the node has been a member: it has credentials, or pods have run on it.
fn has_joined(input: &Input) -> Option<bool> {
    certificate::has_credentials(&input.source.root).then_some(true).or(input.has_pods)
}

/// Lines of failed units, an empty line, then one block of `Key=value` a watched unit.
fn parse(said: &str) -> Units {
    let mut blocks = said.split("\n\n");
    let failed = blocks.next().unwrap_or_default().lines().filter_map(|line| {
        // Newer versions put a bullet before the name even with --plain.
        line.split_whitespace().find(|word| word.contains('.')).map(str::to_owned)
    });
    let failed = failed.collect();
    let watched = blocks.filter_map(|block| {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        if value("LoadState") != Some("loaded") {
            return None;
        }
        Some(Watched {
            name: value("Id")?.to_owned(),
            state: value("ActiveState")?.to_owned(),
            restarts: value("NRestarts").and_then(|count| text::number(count.as_bytes())),
            enabled: value("UnitFileState").filter(|state| !state.is_empty()).map(|s| s.starts_with("enabled")),
        })
    });
    Units { failed, watched: watched.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_units_and_watched_ones() {
        let said = "smartd.service loaded failed failed Self Monitoring\n● nfs.mount loaded failed failed NFS\n\n\
            Id=kubelet.service\nLoadState=loaded\nActiveState=active\nNRestarts=4\nUnitFileState=enabled\n\n\
            Id=k3s.service\nLoadState=not-found\nActiveState=inactive\nNRestarts=0\n";
        let units = parse(said);
        assert_eq!(units.failed, ["smartd.service", "nfs.mount"]);
        let kubelet = Watched {
            name: "kubelet.service".into(),
            state: "active".into(),
            restarts: Some(4.0),
            enabled: Some(true),
        };
        assert_eq!(units.watched, [kubelet]);
        assert_eq!(parse(""), Units::default());
    }
}
