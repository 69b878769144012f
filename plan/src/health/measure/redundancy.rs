//! Arrays, bonds and pools: members that are missing, rebuilds, and what serves no more.

use super::super::condition::Condition as C;
use super::{Evaluation, Found};

impl Evaluation<'_> {
    pub(super) fn redundancy(&mut self) {
        let arrays: Vec<(String, String, bool)> = self
            .reading
            .all("hostler_redundancy_required")
            .filter_map(|(labels, required)| {
                Some((labels.get("kind")?.to_owned(), labels.get("name")?.to_owned(), required == 1.0))
            })
            .collect();
        for (kind, name, required) in arrays {
            let labels = [("kind", kind.as_str()), ("name", name.as_str())];
            let get = |series: &str| self.reading.get(series, &labels);
            let series = |series: &str| format!("{series}{{kind=\"{kind}\",name=\"{name}\"}}");
            let subject = format!("{kind} {name}");
            let (missing, failed) = (get("hostler_redundancy_missing"), get("hostler_redundancy_failed"));
            let rebuilding = get("hostler_redundancy_rebuilding");
            // A network card that left the bus is no member any more, and the bond says nothing of it.
            let lost = get("hostler_redundancy_members")
                .map(|members| self.tracker.remembered.lost_members(self.now, &subject, members));
            let missing = missing.map(|missing| missing + lost.unwrap_or_default());
            let found = Found::maybe(C::MemberMissing, &subject, series("hostler_redundancy_missing"), missing);
            self.push(found.required(required));
            for (condition, name, value) in [
                (C::ArrayFailed, "hostler_redundancy_failed", failed),
                (C::Rebuilding, "hostler_redundancy_rebuilding", rebuilding),
            ] {
                if let Some(value) = value {
                    self.push(Found::value(condition, &subject, series(name), value).required(required));
                }
            }
        }
        self.btrfs_errors();
    }

    /// btrfs keeps them on the disk until a person resets them.
    fn btrfs_errors(&mut self) {
        let errors: Vec<(String, String, f64)> = self
            .reading
            .all("hostler_btrfs_errors_total")
            .filter_map(|(labels, count)| {
                Some((labels.get("name")?.to_owned(), labels.get("device")?.to_owned(), count))
            })
            .collect();
        for (name, device, count) in errors {
            let required = self.reading.get("hostler_redundancy_required", &[("kind", "btrfs"), ("name", &name)]);
            let series = format!("hostler_btrfs_errors_total{{device=\"{device}\",name=\"{name}\"}}");
            let found = Found::value(C::BtrfsErrors, &format!("btrfs {name} device {device}"), series, count);
            self.push(found.required(required == Some(1.0)));
        }
    }
}
