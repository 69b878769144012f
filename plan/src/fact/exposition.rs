//! Prometheus text format 0.0.4 of readings.
//!
//! 0.0.4 and not OpenMetrics, because `node_vmstat_*` is untyped and some old names end without `_total`; the
//! dashboards ask for exactly these.

use crate::text::clean;

use super::{Labels, Metric, Reading, metric};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The text of many readings at once, as `/metrics` of a coordinator serves them: each family once with its HELP and
/// TYPE, then the series of every reading with that reading's extra labels (`[("instance", "pi-3")]`). An extra label
/// wins over one of the same name in the series.
pub fn expose(readings: &[(&[(&str, &str)], &Reading)], text: &mut String) {
    let names: BTreeSet<&str> = readings.iter().flat_map(|(_, reading)| reading.names()).collect();
    for name in names {
        let Metric { kind, help } = metric(name);
        if !help.is_empty() {
            let _ = writeln!(text, "# HELP {name} {help}");
        }
        let _ = writeln!(text, "# TYPE {name} {}", kind.word());
        for (extra, reading) in readings {
            for (labels, value) in reading.all(name) {
                write_series(text, name, labels, extra);
                let _ = writeln!(text, " {value}");
            }
        }
    }
}

impl Reading {
    /// The text of this reading alone, with extra labels on every series.
    pub fn exposition(&self, extra: &[(&str, &str)]) -> String {
        let mut text = String::new();
        expose(&[(extra, self)], &mut text);
        text
    }
}

/// `name{a="b",c="d"}`, the extra labels first.
pub(super) fn write_series(text: &mut String, name: &str, labels: Labels<'_>, extra: &[(&str, &str)]) {
    text.push_str(name);
    let own = labels.iter().filter(|(label, _)| !extra.iter().any(|(taken, _)| taken == label));
    let mut opened = false;
    for (label, value) in extra.iter().copied().chain(own) {
        text.push(if opened { ',' } else { '{' });
        opened = true;
        text.push_str(label);
        text.push_str("=\"");
        for character in clean(value).chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    if opened {
        text.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Series;

    #[test]
    fn two_nodes_share_one_family_header() {
        let mut one = Reading::new(1);
        one.set(Series::new("node_load1", &[]), 0.5);
        one.set(Series::new("node_vmstat_oom_kill", &[]), 3.0);
        let mut two = Reading::new(2);
        two.set(Series::new("node_load1", &[]), 1e20);
        let mut text = String::new();
        expose(&[(&[("instance", "a")], &one), (&[("instance", "b")], &two)], &mut text);
        let without_help: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            without_help,
            [
                "# TYPE node_load1 gauge",
                "node_load1{instance=\"a\"} 0.5",
                "node_load1{instance=\"b\"} 100000000000000000000",
                "# TYPE node_vmstat_oom_kill untyped",
                "node_vmstat_oom_kill{instance=\"a\"} 3",
            ]
        );
    }

    #[test]
    fn label_values_are_escaped_and_an_extra_label_wins() {
        let mut reading = Reading::new(1);
        reading
            .set(Series::new("hostler_node_info", &[("instance", "mine"), ("model", "a\"b\\c\nd\u{1b}\u{202e}")]), 1.0);
        let text = reading.exposition(&[("instance", "theirs")]);
        let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
        assert_eq!(line, "hostler_node_info{instance=\"theirs\",model=\"a\\\"b\\\\c\\\\nd\\\\u{1b}\\\\u{202e}\"} 1");
    }
}
