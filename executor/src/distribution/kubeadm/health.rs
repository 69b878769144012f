//! How well etcd is, asked of etcd itself.

use hostler_plan::etcd::{EtcdMember, EtcdState};
use serde::Deserialize;

use super::{etcd, layout::QUICK};
use crate::host::{Host, HostError};

/// Where kubeadm lets the static pod serve its metrics, without TLS and on this machine alone.
const METRICS_PORT: u16 = 2381;
const FSYNC: &str = "etcd_disk_wal_fsync_duration_seconds_bucket";

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Status {
    pub header: Header,
    /// Of the program.
    #[serde(default)]
    pub version: String,
    #[serde(default, rename = "dbSize")]
    size: u64,
    /// Since etcd 3.6.
    #[serde(default, rename = "dbSizeQuota")]
    quota: u64,
    /// Alarms among them.
    #[serde(default)]
    errors: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Header {
    pub cluster_id: u64,
    pub revision: u64,
}

/// The member of this machine, by its own word.
pub(crate) fn status(host: &dyn Host) -> Result<Status, HostError> {
    read(&host.run(&etcd::command(&["endpoint", "status", "--write-out", "json"]), QUICK)?)
}

fn read(text: &str) -> Result<Status, HostError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Status")]
        status: Status,
    }
    let unexpected = |found: String| HostError::Unexpected {
        what: "status of etcd",
        expected: "one member in JSON, as etcdctl 3.4 and later write it",
        found,
    };
    let mut answers: Vec<Answer> = serde_json::from_str(text).map_err(|e| unexpected(e.to_string()))?;
    answers.pop().map(|answer| answer.status).ok_or_else(|| unexpected("none".into()))
}

/// What decides whether this server may be changed; none where this machine has no etcdctl.
pub(crate) fn state(host: &dyn Host) -> Result<Option<EtcdState>, HostError> {
    let Some(members) = etcd::members(host)? else { return Ok(None) };
    let Status { size, quota, errors, .. } = status(host)?;
    let state = |member: etcd::Member| {
        let is_healthy = member.answers(host)?;
        Ok(EtcdMember { name: member.name, is_learner: member.is_learner, is_healthy })
    };
    let members = members.into_iter().map(state).collect::<Result<_, HostError>>()?;
    let fsync_p99_seconds = host.metrics(METRICS_PORT).and_then(|text| p99(&text, FSYNC));
    Ok(Some(EtcdState { alarms: errors, size, quota: (quota > 0).then_some(quota), fsync_p99_seconds, members }))
}

/// The least bound of a histogram that 99 of 100 values stayed below; none without a hundred values. Format:
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
fn p99(text: &str, name: &str) -> Option<f64> {
    let buckets = text.lines().filter_map(|line| {
        let (labels, count) = line.strip_prefix(name)?.split_once("} ")?;
        let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
        Some((bound, count.trim().parse::<f64>().ok()?))
    });
    let buckets: Vec<(f64, f64)> = buckets.collect();
    let all = buckets.iter().find(|(bound, _)| bound.is_infinite())?.1;
    let within = buckets.iter().filter(|(_, count)| *count >= 0.99 * all).map(|(bound, _)| *bound);
    (all >= 100.0).then(|| within.fold(f64::INFINITY, f64::min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_of_etcd_with_and_without_a_quota() {
        let old = r#"[{"Endpoint":"https://127.0.0.1:2379","Status":{"header":{"cluster_id":17237436991929493444,
            "member_id":1,"revision":42,"raft_term":2},"version":"3.5.21","dbSize":20480,"leader":1}}]"#;
        let status = read(old).unwrap();
        assert_eq!((status.header.revision, status.quota, status.size), (42, 0, 20480));
        let new = old
            .replace("\"leader\"", "\"dbSizeQuota\":2147483648,\"errors\":[\"memberID:1 alarm:NOSPACE \"],\"leader\"");
        let status = read(&new).unwrap();
        assert_eq!((status.quota, status.errors.len()), (2 << 30, 1));
        assert!(read("[]").is_err() && read("").is_err());
    }

    #[test]
    fn the_99th_percentile_is_the_bound_of_its_bucket() {
        let histogram = |counts: [u32; 3]| {
            let [fast, slow, all] = counts;
            format!(
                "# HELP x\n{FSYNC}{{le=\"0.001\"}} {fast}\n{FSYNC}{{le=\"1.024\"}} {slow}\n\
                 {FSYNC}{{le=\"+Inf\"}} {all}\n"
            )
        };
        assert_eq!(p99(&histogram([1000, 1000, 1000]), FSYNC), Some(0.001));
        assert_eq!(p99(&histogram([980, 995, 1000]), FSYNC), Some(1.024));
        assert_eq!(p99(&histogram([980, 985, 1000]), FSYNC), Some(f64::INFINITY));
        assert_eq!(p99(&histogram([9, 9, 9]), FSYNC), None, "too few to tell");
        assert_eq!(p99("", FSYNC), None);
    }
}
