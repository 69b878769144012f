//! A rollout on the screen: bars for people at a terminal, lines elsewhere, events for programs. Only what changed.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, stderr},
};

use hostler_proto::v1::{RolloutDetail, RolloutStatus, TaskStatus, TaskView};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    args::Output,
    error::Error,
    output::{self, clean, event, line},
};

/// Shows a rollout as it goes on.
#[derive(Debug)]
pub(super) struct Progress {
    screen: Screen,
    status: RolloutStatus,
    tasks: BTreeMap<String, (TaskStatus, String)>,
    waits: BTreeMap<(String, String), String>,
}

#[derive(Debug)]
enum Screen {
    Bars { all: MultiProgress, nodes: BTreeMap<String, ProgressBar>, head: ProgressBar },
    Lines,
    Events,
}

impl Progress {
    /// Bars where a person looks, lines where the output is kept, events where a program reads.
    pub(super) fn new(output: Output) -> Self {
        let screen = match output {
            Output::Json => Screen::Events,
            Output::Text if stderr().is_terminal() => {
                let all = MultiProgress::new();
                let head = all.add(ProgressBar::new_spinner());
                head.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
                Screen::Bars { all, nodes: BTreeMap::new(), head }
            }
            Output::Text => Screen::Lines,
        };
        Self { screen, status: RolloutStatus::Unspecified, tasks: BTreeMap::new(), waits: BTreeMap::new() }
    }

    /// Shows what changed since the last call.
    pub(super) fn show(&mut self, detail: &RolloutDetail) -> Result<(), Error> {
        match &mut self.screen {
            Screen::Bars { all, nodes, head } => {
                bars(all, nodes, head, detail);
                Ok(())
            }
            Screen::Lines | Screen::Events => self.changes(detail),
        }
    }

    /// Leaves the bars as they stand.
    pub(super) fn end(&mut self) {
        if let Screen::Bars { nodes, head, .. } = &self.screen {
            head.abandon();
            nodes.values().for_each(ProgressBar::abandon);
            // The cursor stands behind the last bar.
            output::note("");
        }
    }

    fn changes(&mut self, detail: &RolloutDetail) -> Result<(), Error> {
        self.changed_tasks(detail)?;
        self.changed_waits(detail)?;
        let s = detail.summary.clone().unwrap_or_default();
        let status = s.status();
        if status == self.status {
            return Ok(());
        }
        self.status = status;
        match self.screen {
            Screen::Events => event(&json!({ "event": "rollout", "plan": s.plan, "seq": s.seq,
                "state": status.to_string(), "reason": s.reason, "tasks": s.tasks,
                "tasks_succeeded": s.tasks_succeeded })),
            Screen::Lines | Screen::Bars { .. } => {
                // The task that ended it was shown with its reason.
                let said = self.tasks.values().any(|(_, said)| !said.is_empty() && s.reason.contains(said.as_str()));
                line(&with_reason(&format!("plan {}: {status}", s.seq), if said { "" } else { &s.reason }))
            }
        }
    }

    fn changed_tasks(&mut self, detail: &RolloutDetail) -> Result<(), Error> {
        // Why a task waits stands among the waits.
        for task in detail.tasks.iter().filter(|t| t.status() != TaskStatus::Waiting) {
            let status = task.status();
            let seen = (status, task.sentence.clone());
            if self.tasks.insert(task.id.clone(), seen.clone()) == Some(seen) {
                continue;
            }
            match self.screen {
                Screen::Events => event(&json!({ "event": "task", "task": task.id, "node": task.node,
                    "subject": task.subject, "state": status.to_string(), "sentence": task.sentence,
                    "step": task.step, "steps": task.steps, "receipt": task.receipt }))?,
                Screen::Lines | Screen::Bars { .. } => {
                    let (head, said) = (format!("{} {status}", task.id), &task.sentence);
                    // An outcome repeats its own word in front.
                    let said = match said.strip_prefix(&status.to_string()) {
                        Some(rest) if rest.is_empty() || rest.starts_with(':') => rest.trim_start_matches([':', ' ']),
                        _ => said,
                    };
                    line(&with_reason(&head, said))?;
                }
            }
        }
        Ok(())
    }

    fn changed_waits(&mut self, detail: &RolloutDetail) -> Result<(), Error> {
        // What a granted task does, its own line says.
        let at_work = |task: &str| detail.tasks.iter().any(|t| t.status() == TaskStatus::Granted && t.id == task);
        let mut now = BTreeMap::new();
        for wait in detail.waits.iter().filter(|w| !at_work(&w.task)) {
            now.insert((wait.node.clone(), wait.task.clone()), wait.sentence.clone());
        }
        for ((node, task), sentence) in &now {
            if self.waits.get(&(node.clone(), task.clone())) == Some(sentence) {
                continue;
            }
            match self.screen {
                Screen::Events => {
                    event(&json!({ "event": "wait", "node": node, "task": task, "sentence": sentence }))?;
                }
                // Most sentences begin with "waits" themselves.
                Screen::Lines | Screen::Bars { .. } if node.is_empty() => line(&clean(sentence))?,
                Screen::Lines | Screen::Bars { .. } => line(&clean(&format!("{node} {sentence}")))?,
            }
        }
        self.waits = now;
        Ok(())
    }
}

fn with_reason(text: &str, reason: &str) -> String {
    let said = if reason.is_empty() { text.to_owned() } else { format!("{text}: {reason}") };
    clean(&said).into_owned()
}

fn bars(all: &MultiProgress, nodes: &mut BTreeMap<String, ProgressBar>, head: &ProgressBar, detail: &RolloutDetail) {
    let summary = detail.summary.clone().unwrap_or_default();
    let whole = detail.waits.iter().find(|w| w.node.is_empty()).map(|w| w.sentence.as_str()).unwrap_or_default();
    let reason = if summary.reason.is_empty() { whole } else { summary.reason.as_str() };
    head.set_message(with_reason(
        &format!("plan {} {} ({}/{})", summary.seq, summary.status(), summary.tasks_succeeded, summary.tasks),
        reason,
    ));
    let mut by_subject: BTreeMap<&str, Vec<&TaskView>> = BTreeMap::new();
    for task in &detail.tasks {
        by_subject.entry(&task.subject).or_default().push(task);
    }
    for (subject, tasks) in by_subject {
        let bar = nodes.entry(subject.to_owned()).or_insert_with(|| {
            let bar = all.add(ProgressBar::new(tasks.len() as u64));
            let style = ProgressStyle::with_template("  {prefix:<16} {bar:20} {pos}/{len} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.set_prefix(clean(subject).into_owned());
            bar
        });
        bar.set_position(tasks.iter().filter(|t| t.status() == TaskStatus::Succeeded).count() as u64);
        bar.set_message(clean(&sentence(subject, &tasks, detail)).into_owned());
    }
}

/// What to say about a node: what it does, else how it ended badly, else why it waits.
fn sentence(subject: &str, tasks: &[&TaskView], detail: &RolloutDetail) -> String {
    if tasks.iter().all(|t| t.status() == TaskStatus::Succeeded) {
        return "done".to_owned();
    }
    let said = |t: &&&TaskView| !matches!(t.status(), TaskStatus::Succeeded | TaskStatus::Waiting | TaskStatus::Never);
    if let Some(task) = tasks.iter().find(said) {
        return with_reason(&format!("{} {}", task.id, task.status()), &task.sentence);
    }
    detail.waits.iter().find(|w| w.node == subject).map(|w| w.sentence.clone()).unwrap_or_default()
}
