//! Updates that wait.

use super::failure::Failure;
use super::sample::Sample;
use super::worker::{Worker, result};
use super::{Input, Source};
use std::collections::BTreeMap;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(75);
/// What changes when packages are installed or lists refreshed. `apt-get -s` costs a second of processor time, so it
/// runs when one of these changed and not every quarter of an hour.
const STAMPS: [&str; 2] = ["var/lib/dpkg/status", "var/lib/apt/lists"];

/// Updates by origin and architecture, and held packages.
#[derive(Debug, Clone, Default, PartialEq)]
struct Pending {
    upgrades: BTreeMap<(String, String), f64>,
    held: f64,
}

/// Asks apt.
#[derive(Debug)]
pub(super) struct Updates {
    worker: Worker<(), Result<Pending, Failure>>,
    asked_at: Option<[Option<f64>; 2]>,
    pending: Option<Result<Pending, Failure>>,
}

impl Default for Updates {
    fn default() -> Self {
        let call = |source: &Source, (): &()| {
            let output = source.calls.apt()?;
            if output.code == 0 {
                Ok(parse(&output.text))
            } else {
                let reason = format!("exit code {}; run `apt-get -s upgrade` to see why", output.code);
                Err(Failure::Refused { path: "apt-get".to_owned(), reason })
            }
        };
        Updates { worker: Worker::new(LIMIT, call), asked_at: None, pending: None }
    }
}

impl Updates {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let now = input.now.elapsed;
        for ((), answer) in self.worker.poll(now, &input.source) {
            self.pending = Some(result("apt-get", LIMIT, answer));
        }
        let (root, calls) = (&input.source.root, &input.source.calls);
        if !root.exists("usr/bin/apt-get") {
            return Err(Failure::Absent("apt-get".to_owned()));
        }
        let stamps = STAMPS.map(|path| calls.modified(root, path));
        let failed = matches!(self.pending, Some(Err(_)));
        if input.due && (self.asked_at != Some(stamps) || failed) {
            self.asked_at = Some(stamps);
            self.worker.start(now, &input.source, [()]);
        }
        let refreshed = calls.modified(root, "var/lib/apt/periodic/update-success-stamp").or(stamps[1]);
        out.put_some("apt_package_cache_timestamp_seconds", &[], refreshed);
        let Some(pending) = self.pending.clone() else { return Ok(()) };
        let pending = pending?;
        if pending.upgrades.is_empty() {
            // Zero is known here: apt was asked and has none.
            out.put("apt_upgrades_pending", &[("arch", ""), ("origin", "")], 0.0);
        }
        for ((origin, arch), count) in &pending.upgrades {
            out.put("apt_upgrades_pending", &[("arch", arch), ("origin", origin)], *count);
        }
        out.put("apt_upgrades_held", &[], pending.held);
        Ok(())
    }

    pub(super) fn pending(&self) -> bool {
        self.worker.pending()
    }

    pub(super) fn wait(&mut self, now: Duration, at_most: Duration) {
        for ((), answer) in self.worker.wait(now, at_most) {
            self.pending = Some(result("apt-get", LIMIT, answer));
        }
    }
}

/// `Inst libc6 [2.36-9] (2.36-10 Debian:12.5/stable, Debian-Security:12/stable-security [arm64])` is an update; the
/// indented list below `kept back:` names held ones.
fn parse(said: &str) -> Pending {
    let mut pending = Pending::default();
    let mut held = false;
    for line in said.lines() {
        if held && line.starts_with(' ') {
            pending.held += line.split_whitespace().count() as f64;
            continue;
        }
        held = line.trim_end().ends_with("kept back:");
        let Some(rest) = line.strip_prefix("Inst ") else { continue };
        let Some((_, inner)) = rest.split_once('(') else { continue };
        let inner = inner.split(')').next().unwrap_or_default();
        let (origins, arch) = inner.rsplit_once('[').unwrap_or((inner, ""));
        // Version first; the first origin after it is the one apt would take.
        let origin = origins.trim().split_once(' ').map_or("", |(_, origins)| origins);
        let origin = origin.split(',').next().unwrap_or_default().trim();
        let key = (origin.to_owned(), arch.trim_end_matches(']').to_owned());
        *pending.upgrades.entry(key).or_default() += 1.0;
    }
    pending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_by_origin_and_held_packages() {
        let said = "Reading package lists...\nThe following packages have been kept back:\n  linux-image-amd64 docker-ce\n\
            The following packages will be upgraded:\n  libc6 curl\n\
            Inst libc6 [2.36-9] (2.36-10 Debian:12.5/stable, Debian-Security:12/stable-security [arm64])\n\
            Inst curl [7] (8 Debian:12.5/stable [arm64]) []\nInst new-one (1 Local:1/x [all])\nConf libc6 (2.36-10 x)\n";
        let pending = parse(said);
        assert_eq!(pending.held, 2.0);
        let key = |origin: &str, arch: &str| (origin.to_owned(), arch.to_owned());
        let wanted = [(key("Debian:12.5/stable", "arm64"), 2.0), (key("Local:1/x", "all"), 1.0)];
        assert_eq!(pending.upgrades, BTreeMap::from(wanted));
        assert_eq!(parse(""), Pending::default());
    }
}
