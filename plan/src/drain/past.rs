//! What earlier drains took: how long pods of a workload took to stop, and how long those that took their place took to
//! be Ready.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{cluster::Pod, timestamp::Timestamp};

/// More workloads are not remembered: those that were seen last are.
pub const MAX_WORKLOADS: usize = 512;

/// The label by which a Deployment tells its ReplicaSets apart; their names end with its value.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// What made a pod and makes others like it, as far as the pod itself tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub namespace: String,
    pub kind: String,
    pub name: String,
}

impl Workload {
    /// Whose pod it is; none of a pod without a controller, and of a Job's, which has another name each time.
    pub fn of(pod: &Pod) -> Option<Self> {
        let owner = pod.owner.as_deref()?;
        let hash = pod.labels.get(TEMPLATE_HASH);
        let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        let (kind, name) = match (owner.kind.as_str(), deployment) {
            ("ReplicaSet", Some(name)) => ("Deployment", name),
            ("Job", _) => return None,
            (kind, _) => (kind, owner.name.as_str()),
        };
        Some(Self { namespace: pod.key.namespace.clone(), kind: kind.to_owned(), name: name.to_owned() })
    }
}

/// What the last drain saw of the pods of a workload, the slowest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Took {
    /// From the eviction until the pod was gone.
    pub to_stop: Option<Duration>,
    /// From the start of one that took a place until it was Ready.
    pub to_start: Option<Duration>,
    /// When that was seen.
    at: Option<Timestamp>,
}

/// What drains saw on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Record>", into = "Vec<Record>")]
pub struct Past(BTreeMap<Workload, Took>);

impl Past {
    /// A pod of the workload was gone that long after its eviction.
    pub fn stopped(&mut self, workload: Workload, took: Duration, now: Timestamp) {
        let known = self.0.entry(workload).or_default();
        (known.to_stop, known.at) = (known.to_stop.max(Some(took)), Some(now));
    }

    /// One that took a place was Ready that long after its start.
    pub fn started(&mut self, workload: Workload, took: Duration, now: Timestamp) {
        let known = self.0.entry(workload).or_default();
        (known.to_start, known.at) = (known.to_start.max(Some(took)), Some(now));
    }

    /// What is known of pods like this one.
    pub fn took(&self, pod: &Pod) -> Took {
        Workload::of(pod).and_then(|workload| self.0.get(&workload)).copied().unwrap_or_default()
    }

    /// Takes over what a later drain saw; of too many workloads those go that were seen longest ago.
    pub fn learn(&mut self, later: Past) {
        for (workload, seen) in later.0 {
            let known = self.0.entry(workload).or_default();
            *known = Took {
                to_stop: seen.to_stop.or(known.to_stop),
                to_start: seen.to_start.or(known.to_start),
                at: seen.at,
            };
        }
        while self.0.len() > MAX_WORKLOADS {
            let Some(oldest) = self.0.iter().min_by_key(|(_, took)| took.at).map(|(of, _)| of.clone()) else { return };
            self.0.remove(&oldest);
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is known of one workload, as it is written down; times in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    workload: Workload,
    to_stop_ms: Option<u64>,
    to_start_ms: Option<u64>,
    at: Option<Timestamp>,
}

impl From<Vec<Record>> for Past {
    fn from(records: Vec<Record>) -> Self {
        let took = |record: Record| {
            let [to_stop, to_start] = [record.to_stop_ms, record.to_start_ms].map(|ms| ms.map(Duration::from_millis));
            (record.workload, Took { to_stop, to_start, at: record.at })
        };
        Self(records.into_iter().map(took).collect())
    }
}

impl From<Past> for Vec<Record> {
    fn from(past: Past) -> Self {
        let milliseconds = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let record = |(workload, took): (Workload, Took)| Record {
            workload,
            to_stop_ms: took.to_stop.map(milliseconds),
            to_start_ms: took.to_start.map(milliseconds),
            at: took.at,
        };
        past.0.into_iter().map(record).collect()
    }
}
