//! What came of the drains of a plan, a few sentences for each node: out of the receipts alone.

use std::fmt;

use serde::Serialize;

use crate::{
    document::{MAX_PODS, Outcome, Plan, PodFate, PodReport, Receipt, Task},
    id::{NodeName, TaskId},
    step::Step,
    text::{age, and_more, clean, count},
};

/// Pods of one fate that a sentence names; the others are counted.
const MAX_NAMED: usize = 5;

/// How the drain of one node ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrainSummary {
    pub node: NodeName,
    pub task: TaskId,
    /// The outcome in one word, as receipts write it.
    pub outcome: &'static str,
    /// From the start of the task to its end.
    pub seconds: u64,
    /// Whether its receipt had room for every pod; if not, there were more of those that moved or stay.
    pub tells_all: bool,
    /// Pods that run elsewhere, or will in a moment.
    pub moved: usize,
    /// Pods that went and that nothing brings back.
    pub ended: usize,
    /// Pods that belong to the node.
    pub stays: usize,
    /// Pods that nothing can take the place of before the node is schedulable again.
    pub down: Vec<PodReport>,
    /// Pods whose replacements waited for a node when the drain ended.
    pub pending: Vec<PodReport>,
    /// Pods that are still there and should not be.
    pub left: Vec<PodReport>,
    /// Where the node is now, as far as receipts tell.
    pub service: Service,
    /// All of it for people.
    pub sentence: String,
    /// What a person can do now.
    pub next: String,
}

/// Whether a node takes pods after its drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// It is cordoned until a person uncordons it.
    Out,
    /// A later task of the same plan put it back.
    Back,
    /// A later task of the same plan is to put it back, and has not.
    ToBePutBack,
    /// The drain did not succeed; its sentence says what became of the cordon.
    AsItSays,
}

/// How each drain of the plan ended that has a receipt, in the plan's order. `receipts` are verified ones, each task's
/// newest.
pub fn summaries(plan: &Plan, receipts: &[Receipt]) -> Vec<DrainSummary> {
    let drains = plan.tasks.iter().filter(|task| task.steps.iter().any(|step| matches!(step, Step::Drain(_))));
    let of = |task: &Task| receipts.iter().find(|receipt| receipt.task == task.id);
    drains.filter_map(|task| Some(summary(task, of(task)?, service(plan, task, receipts)))).collect()
}

/// Where the node of a drain that succeeded is now.
fn service(plan: &Plan, drain: &Task, receipts: &[Receipt]) -> Service {
    let uncordons = |task: &&Task| task.steps.iter().any(|step| matches!(step, Step::Uncordon(_)));
    let Some(later) = plan.tasks.iter().filter(uncordons).find(|task| task.subject == drain.subject) else {
        return Service::Out;
    };
    let is_done = receipts.iter().any(|receipt| receipt.task == later.id && receipt.outcome.is_success());
    if is_done { Service::Back } else { Service::ToBePutBack }
}

fn summary(task: &Task, receipt: &Receipt, service: Service) -> DrainSummary {
    let of = |fate: PodFate| receipt.pods.iter().filter(move |report| report.fate == fate);
    let number = |fate| of(fate).count();
    let list = |fate| of(fate).cloned().collect();
    let is_drained = receipt.outcome.is_success();
    let mut summary = DrainSummary {
        node: task.subject.clone(),
        task: task.id.clone(),
        outcome: receipt.outcome.word(),
        seconds: receipt.ended.since(receipt.started).as_secs(),
        tells_all: receipt.pods.len() < MAX_PODS,
        moved: number(PodFate::Moved),
        ended: number(PodFate::Ended),
        stays: number(PodFate::Stays),
        down: list(PodFate::Down),
        pending: list(PodFate::Pending),
        left: list(PodFate::Left),
        service: if is_drained { service } else { Service::AsItSays },
        sentence: String::new(),
        next: String::new(),
    };
    summary.sentence = sentence(&summary, &receipt.outcome);
    summary.next = next(&summary, task, &receipt.outcome);
    summary
}

fn sentence(summary: &DrainSummary, outcome: &Outcome) -> String {
    let DrainSummary { node, service, .. } = summary;
    let mut parts = vec![match (outcome, service) {
        (Outcome::Succeeded {}, Service::Back) => {
            format!("{node} was drained and is back in service: {}", went(summary))
        }
        (Outcome::Succeeded {}, Service::Out | Service::ToBePutBack | Service::AsItSays) => {
            format!("{node} is drained: {}", went(summary))
        }
        // It counts the pods itself.
        (
            Outcome::Failed { .. }
            | Outcome::Blocked { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::TakenOver { .. }
            | Outcome::Refused { .. },
            _,
        ) => format!("{node} is not drained, {outcome}"),
    }];
    let until = match service {
        Service::Back => format!("was down until {node} was back"),
        Service::Out | Service::ToBePutBack | Service::AsItSays => format!("is down until {node} is schedulable again"),
    };
    parts.extend(named(&summary.down, &until));
    parts.extend(named(&summary.pending, "went and is Pending elsewhere"));
    let told = outcome.to_string();
    let left: Vec<PodReport> = summary.left.iter().filter(|report| !told.contains(&report.pod)).cloned().collect();
    parts.extend(named(&left, "is still there"));
    format!("{}. It took {}", parts.join("; "), age(summary.seconds))
}

/// How many pods did what.
fn went(summary: &DrainSummary) -> String {
    let at_least = if summary.tells_all { "" } else { "at least " };
    let mut counts = vec![match summary.moved + summary.pending.len() {
        0 if summary.down.is_empty() => "no pod had to move".to_owned(),
        moved => format!("{at_least}{} moved", count(moved, "pod")),
    }];
    let mut also = |pods: usize, word: &str| {
        if pods > 0 {
            counts.push(format!("{pods} {word}"));
        }
    };
    also(summary.down.len(), if summary.down.len() == 1 { "is down" } else { "are down" });
    also(summary.ended, "ended");
    also(summary.stays, if summary.stays == 1 { "stays" } else { "stay" });
    counts.join(", ")
}

/// The first few pods, each with its reason.
fn named<'a>(pods: &'a [PodReport], what: &'a str) -> impl Iterator<Item = String> + use<'a> {
    let one = move |report: &PodReport| {
        let why = if report.reason.is_empty() { String::new() } else { format!(" ({})", report.reason) };
        format!("{} {what}{why}", report.pod)
    };
    let more = pods.len().saturating_sub(MAX_NAMED);
    let last = pods.len().min(MAX_NAMED).saturating_sub(1);
    let told = pods.iter().take(MAX_NAMED).enumerate();
    told.map(move |(at, report)| if at == last { one(report) + &and_more(more) } else { one(report) })
}

fn next(summary: &DrainSummary, task: &Task, outcome: &Outcome) -> String {
    let node = &summary.node;
    let back = format!("`hostler uncordon {node}` puts it back into service");
    if task.asks_after(outcome) {
        return format!("`hostler drain {node} --continue` goes on with more consent or time, {back}");
    }
    match (outcome, summary.service) {
        (Outcome::Succeeded {}, Service::Back) => String::new(),
        (Outcome::Succeeded {}, Service::ToBePutBack) => {
            format!("`hostler why {node}` says what putting it back waits for; {back}")
        }
        (Outcome::Succeeded {}, Service::Out | Service::AsItSays) => {
            format!("{node} can be switched off or worked on; {back}")
        }
        (Outcome::Blocked { .. }, _) => {
            format!("`hostler drain {node} --explain` shows what holds it and what would free it")
        }
        (Outcome::TimedOut { .. }, _) => format!("`hostler drain {node} --timeout TIME` gives it more time"),
        (Outcome::Unreachable { .. }, _) => format!("look after its power; it stays cordoned, {back}"),
        (Outcome::TakenOver { by, .. }, _) => {
            let who = by.as_deref().unwrap_or("whoever did it");
            format!("ask {who}; `hostler drain {node}` drains it again")
        }
        (Outcome::Failed { .. } | Outcome::Refused { .. }, _) => {
            format!("`hostler why {node}` says how it stands; `hostler drain {node}` drains it anew")
        }
    }
}

/// Two lines at most, whatever stands in a reason.
impl fmt::Display for DrainSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clean(&self.sentence))?;
        if self.next.is_empty() { Ok(()) } else { write!(f, "\n  next: {}", clean(&self.next)) }
    }
}
