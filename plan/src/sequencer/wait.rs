//! Why something waits, as data and as one sentence.

use std::fmt;

use crate::{
    document::Shut,
    health::{Regression, Verdict},
    id::{Digest, NodeName, Seq, TaskId},
    quorum::Quorum,
    timestamp::Timestamp,
    version::Version,
};

use super::Unavailable;

/// Why a rollout, or one subject of it, is not further than it is. Displayed as one sentence that a person can act on.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub plan: Digest,
    pub seq: Seq,
    /// The subject that waits; none when the whole rollout does.
    pub node: Option<NodeName>,
    /// The task that waits or runs.
    pub task: Option<TaskId>,
    pub reason: Reason,
}

/// The reasons to wait.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// Its node is at it.
    Performing {
        task: TaskId,
        node: NodeName,
        since: Timestamp,
        progress: Option<String>,
    },
    /// A task before it has not succeeded yet.
    After {
        task: TaskId,
        node: NodeName,
        running: bool,
        progress: Option<String>,
    },
    /// As many nodes are unavailable as may be.
    Budget {
        max: u32,
        unavailable: Vec<(NodeName, Unavailable)>,
    },
    /// The node's agent is not connected; `since` is none when it was not seen since the coordinator started.
    NotConnected {
        node: NodeName,
        since: Option<Timestamp>,
        /// The node whose drain another server could go on with.
        drains: Option<NodeName>,
    },
    /// The node is there and does not take the plan, for what it says itself.
    Refused {
        node: NodeName,
        why: String,
    },
    /// A node did not renew its lease: nobody knows how far it came.
    LeaseExpired {
        task: TaskId,
        node: NodeName,
        renewed: Timestamp,
        /// The node whose drain another server could go on with.
        drains: Option<NodeName>,
    },
    /// A person paused the rollout.
    Paused {
        by: String,
        reason: String,
    },
    /// A responder's drain goes first.
    Preempted {
        by: Seq,
    },
    /// A drain ended otherwise, and its policy is to ask.
    Asks {
        task: TaskId,
        subject: NodeName,
        seq: Seq,
    },
    /// A task failed; the halt is being written.
    Stopping {
        task: TaskId,
    },
    /// A task about this node failed.
    Failed {
        task: TaskId,
        outcome: String,
    },
    NotYetValid {
        until: Timestamp,
    },
    PlanExpired {
        at: Timestamp,
    },
    /// The node failed on that version before.
    Quarantined {
        node: NodeName,
        version: Version,
        reason: String,
    },
    /// No maintenance window is open with enough of it left.
    Window {
        shut: Box<Shut>,
    },
    /// Another rollout is at work on that node.
    SubjectBusy {
        node: NodeName,
        seq: Seq,
    },
    /// A responder drained that node after this plan was signed.
    Drained {
        node: NodeName,
        seq: Seq,
    },
    /// Somebody else made that node unschedulable.
    CordonedByOther {
        node: NodeName,
        owner: String,
    },
    /// Another server is unavailable, and the servers that are left must stay a majority.
    OtherServer {
        node: NodeName,
        server: NodeName,
        why: Unavailable,
        quorum: Quorum,
    },
    /// A verdict forbids to disrupt that node, or, when it is another one than the wait is about, any node.
    Unhealthy {
        node: NodeName,
        verdict: Box<Verdict>,
        /// How many other verdicts forbid it too.
        more: usize,
    },
    /// The rollout is done with that node, and it is worse than before.
    Regressed {
        node: NodeName,
        worse: Box<Regression>,
        /// In how much more it is worse.
        more: usize,
        /// When the rollout halts if it stays so.
        halts_at: Timestamp,
    },
    /// That node is no worse than before, and must stay so.
    Soaking {
        node: NodeName,
        until: Timestamp,
    },
    /// The node performs as many tasks as it may at once.
    NodeBusy {
        node: NodeName,
        limit: usize,
    },
    /// The roster has no such node any more, or under another key.
    NotTheTarget {
        node: NodeName,
    },
    /// No roster was ever accepted.
    NoRoster,
    /// A part of the ledger was lost, and nobody knows yet what the nodes hold.
    LedgerLost,
}

impl Reason {
    pub(super) fn unhealthy(node: &NodeName, verdict: &Verdict, more: usize) -> Self {
        Reason::Unhealthy { node: node.clone(), verdict: Box::new(verdict.clone()), more }
    }

    /// One word, for tables and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Reason::Performing { .. } => "performing",
            Reason::After { .. } => "after",
            Reason::Budget { .. } => "budget",
            Reason::NotConnected { .. } => "not_connected",
            Reason::Refused { .. } => "refused",
            Reason::LeaseExpired { .. } => "lease_expired",
            Reason::Paused { .. } => "paused",
            Reason::Preempted { .. } => "preempted",
            Reason::Asks { .. } => "asks",
            Reason::Stopping { .. } => "stopping",
            Reason::Failed { .. } => "failed",
            Reason::NotYetValid { .. } => "not_yet_valid",
            Reason::PlanExpired { .. } => "plan_expired",
            Reason::Quarantined { .. } => "quarantined",
            Reason::Window { .. } => "window",
            Reason::SubjectBusy { .. } => "subject_busy",
            Reason::Drained { .. } => "drained",
            Reason::CordonedByOther { .. } => "cordoned_by_other",
            Reason::OtherServer { .. } => "other_server",
            Reason::Unhealthy { .. } => "unhealthy",
            Reason::Regressed { .. } => "worse",
            Reason::Soaking { .. } => "soaking",
            Reason::NodeBusy { .. } => "node_busy",
            Reason::NotTheTarget { .. } => "not_the_target",
            Reason::NoRoster => "no_roster",
            Reason::LedgerLost => "ledger_lost",
        }
    }

    /// Whether a node that is not well or not known to be, or that refuses, is what is waited for.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Reason::Unhealthy { .. } | Reason::Regressed { .. } | Reason::Refused { .. })
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "plan {}, {node}: {}", self.seq, self.reason),
            None => write!(f, "plan {}: {}", self.seq, self.reason),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Performing { task, node, since, progress: None } => {
                write!(f, "{node} performs {task} since {since}")
            }
            Reason::Performing { task, node, since, progress: Some(progress) } => {
                // It may be that nothing of it has begun: the node says which.
                write!(f, "{node} has {task} since {since}: {progress}")
            }
            Reason::After { task, node, running: true, progress: None } => {
                write!(f, "waits for {task}, which {node} performs")
            }
            Reason::After { task, node, running: true, progress: Some(progress) } => {
                write!(f, "waits for {task}, which {node} has: {progress}")
            }
            Reason::After { task, running: false, .. } => write!(f, "waits for {task}, which has not started"),
            Reason::Budget { max, unavailable } => {
                write!(f, "waits because {} unavailable and the plan allows {max}: ", are(unavailable.len()))?;
                for (i, (node, why)) in unavailable.iter().enumerate() {
                    write!(f, "{}{node} ({why})", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("; bring one back, or sign a plan that allows more")
            }
            Reason::NotConnected { node, since, drains } => {
                match since {
                    Some(since) => write!(
                        f,
                        "waits for {node}, whose agent is not connected since {since}; check its power and network"
                    ),
                    None => write!(f, "waits for {node}, whose agent has not connected since the coordinator started"),
                }?;
                f.write_str(&by_another(drains.as_ref()))
            }
            Reason::Refused { node, why } => write!(f, "waits because {node} refuses the plan: {why}"),
            Reason::LeaseExpired { task, node, renewed, drains } => write!(
                f,
                "stopped because {node} has not renewed its lease of {task} since {renewed}; look at {node}, then \
                 release the lease or halt the rollout{}",
                by_another(drains.as_ref())
            ),
            Reason::Paused { by, reason } => write!(f, "paused by {by} ({reason}); resume it to go on"),
            Reason::Preempted { by } => write!(f, "waits for the drain of plan {by}, which goes first"),
            Reason::Asks { task, subject, seq } => write!(
                f,
                "{task} did not end well and waits for a person: `hostler drain {subject} --continue` goes on with \
                 more time or consent, `hostler uncordon {subject}` puts it back, `hostler stop {seq}` ends the rest"
            ),
            Reason::Stopping { task } => write!(f, "stops because {task} failed"),
            Reason::Failed { task, outcome } => write!(f, "{task} {outcome}"),
            Reason::NotYetValid { until } => write!(f, "waits until {until}, before which the plan is not valid"),
            Reason::PlanExpired { at } => write!(f, "the plan expired at {at}; sign a new one to go on"),
            Reason::Quarantined { node, version, reason } => write!(
                f,
                "waits because {node} failed on {version} before ({reason}); release the quarantine, or sign a plan \
                 without {node}"
            ),
            Reason::Window { shut } => shut.fmt(f),
            Reason::SubjectBusy { node, seq } => write!(f, "waits for plan {seq}, which is at work on {node}"),
            Reason::Drained { node, seq } => {
                write!(f, "waits because plan {seq} drained {node}; uncordon it to go on, or sign a plan without it")
            }
            Reason::CordonedByOther { node, owner } => write!(
                f,
                "waits because {owner} cordoned {node}; ask why, then uncordon it with kubectl, take it over with \
                     `hostler node adopt-cordon {node}`, or sign a plan without it"
            ),
            Reason::OtherServer { node, server, why, quorum } => {
                write!(f, "waits because the server {server} is unavailable ({why}) and {node} must not go with it")?;
                if !quorum.is_kept() {
                    return write!(f, ": {quorum} where {} are needed", quorum.needed());
                }
                if quorum.less_one().is_kept() { Ok(()) } else { write!(f, ": {}", quorum.without(node)) }
            }
            Reason::Unhealthy { node, verdict, more } => {
                let since = Timestamp::from_unix_milliseconds(verdict.since_ms).whole_seconds();
                write!(f, "waits because {node} is {} since {since}: {}", verdict.level, verdict.sentence())?;
                if let Some(seconds) = verdict.clear_seconds.filter(|s| *s > 0) {
                    write!(f, "; it counts as good after {seconds} s without it")?;
                }
                f.write_str(&and_more(*more))
            }
            Reason::Regressed { node, worse, more, halts_at } => {
                let halts_at = halts_at.whole_seconds();
                let worse = worse_sentence(node, worse, *more);
                write!(f, "waits because {worse}; the rollout halts at {halts_at} if it stays so")
            }
            Reason::Soaking { node, until } => {
                write!(f, "waits until {}, until when {node} must stay no worse than before", until.whole_seconds())
            }
            Reason::NodeBusy { node, limit } => {
                write!(f, "waits because {node} performs {limit} tasks, as many as it may")
            }
            Reason::NotTheTarget { node } => write!(
                f,
                "waits because {node} is no longer in the roster under the key that the plan was signed for; sign a \
                    new plan"
            ),
            Reason::NoRoster => f.write_str("waits for a signed roster: approve the nodes first"),
            Reason::LedgerLost => f.write_str(
                "a part of the ledger was lost: waits until every node has said what it holds, or for `hostler \
                 ledger adopt`",
            ),
        }
    }
}

/// In what a node is worse, as a clause.
pub(super) fn worse_sentence(node: &NodeName, worse: &Regression, more: usize) -> String {
    let is = match worse {
        Regression::Silent {} => "is not known to be as good as before",
        Regression::Rule { .. } | Regression::Counter { .. } => "is worse than before",
    };
    format!("{node} {is}: {worse}{}", and_more(more))
}

/// What a person can do while the server that drains is away.
fn by_another(drains: Option<&NodeName>) -> String {
    let go_on = |subject| format!(", or sign `hostler drain {subject} --continue`: another server goes on with it");
    drains.map_or_else(String::new, go_on)
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more)") }
}

fn are(nodes: usize) -> String {
    if nodes == 1 { "1 node is".to_owned() } else { format!("{nodes} nodes are") }
}
