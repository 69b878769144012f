//! One rollout, watched until it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use hostler_cli::plan::SubmittedPlan;
use hostler_plan::sequencer::{RolloutStatus, TaskStatus};
use hostler_proto::{
    v1::{self, RolloutDetail, TaskView},
    watched::WatchedRollout,
};

use super::{
    admin_client::AdminClient,
    event::{Event, NodeMark},
    show::Show,
};

/// A rollout of the demo that takes longer is stuck, and the demo says what it waits for.
const AT_MOST: Duration = Duration::from_secs(60);

/// How a rollout ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// Finished, or how it stopped.
    pub status: RolloutStatus,
    /// Why, in one sentence; empty for a finished one.
    pub sentence: String,
    /// The node that the failed task was about.
    pub failed_subject: Option<String>,
}

/// Watches until the rollout is over, shows what changes and hands it to `shown_so_far`. A stream that breaks is opened
/// again.
pub(super) async fn watch(
    admin: &mut AdminClient,
    show: &Show,
    submitted: &SubmittedPlan,
    shown_so_far: impl Fn(&RolloutDetail),
) -> anyhow::Result<Ended> {
    let began = Instant::now();
    let mut shown = Shown::default();
    let until = tokio::time::Instant::now() + AT_MOST;
    loop {
        let mut stream = admin.watch(&submitted.plan.to_string()).await?;
        let mut watched = WatchedRollout::default();
        loop {
            let Ok(message) = tokio::time::timeout_at(until, stream.message()).await else {
                anyhow::bail!(
                    "plan {} is not over after {} s; it waits: {}",
                    submitted.seq,
                    AT_MOST.as_secs(),
                    shown.waits.join("; ")
                );
            };
            // The coordinator went away in the middle; the next stream begins with where things stand.
            let Ok(Some(update)) = message else { break };
            let detail = watched.merge(update)?;
            shown.show_changes(show, submitted.seq.0, detail);
            shown_so_far(detail);
            let summary = detail.summary.clone().unwrap_or_default();
            if let Ok(status) = RolloutStatus::try_from(summary.status())
                && status.stands_still()
            {
                let sentence = if status == RolloutStatus::Finished { String::new() } else { summary.reason };
                let failed = detail.tasks.iter().find(|task| failure(task).is_some());
                show.event(Event::RolloutEnded {
                    seq: submitted.seq.0,
                    state: status,
                    sentence: sentence.clone(),
                    seconds: began.elapsed().as_secs_f64(),
                });
                let failed_subject = failed.map(|task| task.subject.clone());
                return Ok(Ended { status, sentence, failed_subject });
            }
        }
    }
}

/// How a task ended.
fn outcome(task: &TaskView) -> Option<TaskStatus> {
    TaskStatus::try_from(task.status()).ok().filter(|status| status.is_ended())
}

fn has_succeeded(task: &TaskView) -> bool {
    task.status() == v1::TaskStatus::Succeeded
}

/// How a task ended badly.
fn failure(task: &TaskView) -> Option<TaskStatus> {
    outcome(task).filter(|status| *status != TaskStatus::Succeeded)
}

/// What was shown already.
#[derive(Debug, Default)]
struct Shown {
    ended: BTreeSet<String>,
    nodes: BTreeMap<String, (usize, NodeMark, String)>,
    waits: Vec<String>,
}

impl Shown {
    fn show_changes(&mut self, show: &Show, seq: u64, detail: &RolloutDetail) {
        for (task, outcome) in detail.tasks.iter().filter_map(|task| Some((task, outcome(task)?))) {
            if self.ended.insert(task.id.clone()) {
                let sentence = if has_succeeded(task) { String::new() } else { task.sentence.clone() };
                show.event(Event::TaskEnded {
                    seq,
                    task: task.id.clone(),
                    node: task.node.clone(),
                    subject: task.subject.clone(),
                    outcome,
                    sentence,
                });
            }
        }
        let mut subjects: BTreeMap<&str, Vec<&TaskView>> = BTreeMap::new();
        for task in &detail.tasks {
            subjects.entry(&task.subject).or_default().push(task);
        }
        for (node, tasks) in subjects {
            let done = tasks.iter().filter(|task| has_succeeded(task)).count();
            let (state, sentence) = does(node, &tasks, detail);
            let now = (done, state, sentence.clone());
            if self.nodes.get(node) != Some(&now) {
                self.nodes.insert(node.to_owned(), now);
                let node = node.to_owned();
                show.event(Event::NodeDoes { seq, node, done, tasks: tasks.len(), state, sentence });
            }
        }
        let waits: Vec<String> =
            detail.waits.iter().filter(|wait| wait.node.is_empty()).map(|wait| wait.sentence.clone()).collect();
        for sentence in waits.iter().filter(|sentence| !self.waits.contains(sentence)) {
            show.event(Event::RolloutWaits { seq, sentence: sentence.clone() });
        }
        self.waits = waits;
    }
}

/// What is going on about one node, in a word and a sentence.
fn does(node: &str, tasks: &[&TaskView], detail: &RolloutDetail) -> (NodeMark, String) {
    if let Some((failed, status)) = tasks.iter().find_map(|task| Some((task, failure(task)?))) {
        return (NodeMark::Failed(status), format!("{status}: {}", failed.sentence));
    }
    if let Some(running) = tasks.iter().find(|task| task.status() == v1::TaskStatus::Granted) {
        let step = format!("step {} of {}", (running.step + 1).min(running.steps.max(1)), running.steps.max(1));
        let what = if running.sentence.is_empty() { running.id.clone() } else { running.sentence.clone() };
        let by = if running.node == node { String::new() } else { format!("{}: ", running.node) };
        return (NodeMark::Working, format!("{by}{what} ({step})"));
    }
    if tasks.iter().all(|task| has_succeeded(task)) {
        return (NodeMark::Done, "done".into());
    }
    let reason = detail.waits.iter().find(|wait| wait.node == node).map(|wait| wait.sentence.clone()).or_else(|| {
        tasks.iter().find(|task| task.status() == v1::TaskStatus::Waiting).map(|task| task.sentence.clone())
    });
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) if reason.starts_with("waits") => (NodeMark::Waiting, reason),
        Some(reason) => (NodeMark::Waiting, format!("waits: {reason}")),
        None => (NodeMark::Stopped, "left as it is: the rollout is over".into()),
    }
}
