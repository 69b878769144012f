//! Units, network, kernel tables, certificates, control groups, updates.

use super::super::condition::Condition as C;
use super::super::rule::Rule;
use crate::distribution::Distribution;

use super::{Evaluation, Found, MINUTE_MS, fact};

/// Whether a node without that unit is no Kubernetes node.
fn is_kube_unit(name: &str) -> bool {
    Distribution::ALL.iter().any(|distribution| distribution.units().contains(&name))
}

impl Evaluation<'_> {
    pub(super) fn services(&mut self) {
        self.units();
        self.certificates();
        let memory = self.reading.get("hostler_cgroup_controller_enabled", &[("controller", "memory")]);
        let series = fact("hostler_cgroup_controller_enabled", "controller", "memory");
        self.push(Found::maybe(C::NoMemoryCgroup, "", series, memory).required(true));
        self.maintenance();
        let (open, most) = (self.get("node_filefd_allocated"), self.get("node_filefd_maximum"));
        if let (Some(open), Some(most)) = (open, most)
            && most > 0.0
        {
            for condition in [C::FilesHigh, C::FilesFull] {
                self.push(Found::value(condition, "", "node_filefd_allocated".to_owned(), open / most));
            }
        }
        let (entries, limit) = (self.get("node_nf_conntrack_entries"), self.get("node_nf_conntrack_entries_limit"));
        if let (Some(entries), Some(limit)) = (entries, limit)
            && limit > 0.0
        {
            for condition in [C::ConntrackHigh, C::ConntrackFull] {
                self.push(Found::value(condition, "", "node_nf_conntrack_entries".to_owned(), entries / limit));
            }
        }
    }

    fn units(&mut self) {
        let count = self.reading.get("node_systemd_units", &[("state", "failed")]);
        let states: Vec<(String, String)> = self
            .reading
            .all("node_systemd_unit_state")
            .filter_map(|(labels, _)| Some((labels.get("name")?.to_owned(), labels.get("state")?.to_owned())))
            .collect();
        let ignored = states.iter().filter(|(name, state)| state == "failed" && self.thresholds.ignores(name)).count();
        let failed = count.map(|count| (count - ignored as f64).max(0.0));
        let series = fact("node_systemd_units", "state", "failed");
        self.push(Found::maybe(C::FailedUnits, "", series, failed));
        // Before a node has joined its kubelet starts again and again, because nobody has told it where to.
        let joined = self.get("hostler_kubernetes_joined") != Some(0.0);
        let kube = || states.iter().filter(|(name, _)| is_kube_unit(name));
        let runs = kube().any(|(_, state)| state != "inactive");
        for (name, state) in kube() {
            let series = fact("node_systemd_unit_state", "name", name);
            let mut push = |condition, bad: bool| {
                let found = Found::value(condition, name, series.clone(), f64::from(bad)).required(true);
                self.found.push(found);
            };
            push(C::KubeUnitFailed, state == "failed");
            let between = ["activating", "deactivating", "reloading", "refreshing", "maintenance"];
            push(C::KubeUnitStuck, joined && between.contains(&state.as_str()));
            let enabled = self.reading.get("hostler_systemd_unit_enabled", &[("name", name)]);
            // Where nobody says whether it is wanted, one of them must be.
            let wanted = enabled.map_or(!runs, |enabled| enabled == 1.0);
            push(C::KubeUnitStopped, joined && state == "inactive" && wanted);
            let restarts = self.reading.get("node_systemd_service_restart_total", &[("name", name)]);
            if let Some(restarts) = restarts.filter(|_| joined) {
                let grown = self.growth(format!("restarts {name}"), restarts, 5 * MINUTE_MS);
                let series = fact("node_systemd_service_restart_total", "name", name);
                self.push(Found::value(C::KubeUnitRestarts, name, series, grown).required(true));
            }
        }
    }

    /// Seconds left, by the clock of whoever observes: the node's own may be wrong.
    fn certificates(&mut self) {
        let name = "hostler_certificate_not_after_timestamp_seconds";
        let now = self.now.saturating_add_signed(self.tracker.wall_ahead_ms) as f64 / 1000.0;
        let expiries: Vec<(String, f64)> = self
            .reading
            .all(name)
            .filter_map(|(labels, at)| Some((format!("{} {}", labels.get("path")?, labels.get("kind")?), at - now)))
            .collect();
        for (subject, left) in expiries {
            for condition in [C::CertificateSoon, C::CertificateNow] {
                self.push(Found::value(condition, &subject, name.to_owned(), left));
            }
        }
    }

    /// Never bad, but worth showing.
    fn maintenance(&mut self) {
        let dropped: Vec<f64> = self.reading.all("hostler_series_dropped_total").map(|(_, count)| count).collect();
        if !dropped.is_empty() {
            let series = "hostler_series_dropped_total".to_owned();
            self.push(Found::note(Rule::Facts, "", series, dropped.iter().sum()));
        }
        let mut updates = None;
        for (_, count) in self.reading.all("apt_upgrades_pending") {
            updates = Some(updates.unwrap_or(0.0) + count);
        }
        for (subject, series, value) in [
            ("updates", "apt_upgrades_pending", updates),
            ("reboot", "node_reboot_required", self.get("node_reboot_required")),
            ("boot loader", "hostler_bootloader_update_available", self.get("hostler_bootloader_update_available")),
        ] {
            if let Some(value) = value {
                self.push(Found::note(Rule::Maintenance, subject, series.to_owned(), value));
            }
        }
    }

    pub(super) fn network(&mut self) {
        let routes = self.reading.all("hostler_network_default_route");
        let routes: Vec<String> = routes.filter_map(|(labels, _)| labels.get("device").map(str::to_owned)).collect();
        // Kept: a link that goes down takes its route along.
        if !routes.is_empty() {
            self.tracker.default_routes = routes;
        }
        for (device, up) in self.by_device("node_network_up") {
            self.packets(&device);
            let get = |name: &str| self.reading.get(name, &[("device", device.as_str())]);
            let (carrier, speed) = (get("node_network_carrier"), get("node_network_speed_bytes"));
            let changes = get("node_network_carrier_changes_total");
            if let Some(changes) = changes {
                let grown = self.growth(format!("carrier {device}"), changes, 10 * MINUTE_MS);
                let series = fact("node_network_carrier_changes_total", "device", &device);
                self.push(Found::value(C::LinkFlaps, &device, series, grown));
            }
            if let Some(speed) = speed {
                let best = self.tracker.best.entry(format!("speed {device}")).or_insert(speed);
                *best = best.max(speed);
                let share = speed / *best;
                let series = fact("node_network_speed_bytes", "device", &device);
                self.push(Found::value(C::LinkSlower, &device, series, share));
            }
            if self.tracker.default_routes.contains(&device) {
                // An interface that was shut down has no carrier to read.
                let carrier = carrier.unwrap_or(up);
                let series = fact("node_network_carrier", "device", &device);
                self.push(Found::value(C::NoCarrier, &device, series, carrier));
            }
        }
    }

    /// Errors a packet over two minutes, in both directions together.
    fn packets(&mut self, device: &str) {
        let get = |name: &str| self.reading.get(name, &[("device", device)]);
        let sum = |names: [&str; 2]| names.into_iter().filter_map(get).reduce(|sum, value| sum + value);
        let errors = sum(["node_network_receive_errs_total", "node_network_transmit_errs_total"]);
        let packets = sum(["node_network_receive_packets_total", "node_network_transmit_packets_total"]);
        let (Some(errors), Some(packets)) = (errors, packets) else { return };
        let rate = self.tracker.rates.entry(format!("packets {device}")).or_default();
        let Some((errors, packets, _)) = rate.add(self.now, errors, packets, 2 * MINUTE_MS) else { return };
        let series = fact("node_network_receive_errs_total", "device", device);
        let share = if packets > 0.0 { errors / packets } else { 0.0 };
        self.push(Found::value(C::PacketErrors, device, series, share));
    }
}
