//! The demo on a screen, as lines, or as JSON.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hostler_plan::{sequencer::TaskStatus, text::count};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::event::{Counts, Event, NodeMark};

/// Where events go. Cloned handles are the same screen.
#[derive(Debug, Clone)]
pub struct Show {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    form: Form,
    /// Pauses so that a person can read along.
    unhurried: bool,
    began: Instant,
    seen: Mutex<Vec<Event>>,
}

#[derive(Debug)]
enum Form {
    Json,
    Lines,
    Bars { all: MultiProgress, nodes: Mutex<BTreeMap<String, ProgressBar>> },
}

/// How the demo shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Bars where there is a terminal, lines elsewhere.
    People,
    /// One event a line.
    Json,
}

impl Show {
    /// A screen. Without a terminal there is nobody to pause for.
    pub fn new(output: Output, fast: bool) -> Self {
        let terminal = io::stderr().is_terminal() && io::stdout().is_terminal();
        let form = match output {
            Output::Json => Form::Json,
            Output::People if terminal => Form::Bars {
                all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12)),
                nodes: Mutex::default(),
            },
            Output::People => Form::Lines,
        };
        let unhurried = terminal && !fast && output == Output::People;
        Self { inner: Arc::new(Inner { form, unhurried, began: Instant::now(), seen: Mutex::default() }) }
    }

    /// Whether a person reads along.
    pub fn is_unhurried(&self) -> bool {
        self.inner.unhurried
    }

    /// Gives a person time to read.
    pub async fn pause(&self, seconds: f64) {
        if self.inner.unhurried {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
    }

    /// Since the demo began.
    pub fn elapsed(&self) -> Duration {
        self.inner.began.elapsed()
    }

    /// How many events so far fit.
    pub fn count(&self, fits: impl Fn(&Event) -> bool) -> usize {
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|e| fits(e)).count()
    }

    /// Shows one event.
    pub fn event(&self, event: Event) {
        match &self.inner.form {
            Form::Json => {
                if let Ok(line) = serde_json::to_string(&event) {
                    // A reader that went away is told nothing more; the demo ends as it would.
                    let _ = writeln!(io::stdout().lock(), "{line}");
                }
            }
            Form::Lines => {
                for line in self.sentences(&event) {
                    let _ = writeln!(io::stdout().lock(), "{line}");
                }
            }
            Form::Bars { all, nodes } => {
                let mut nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
                let lines = self.sentences(&event);
                draw(all, &mut nodes, &event, lines);
            }
        }
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// An event in lines. All nodes refuse an offer for the same reason: the first one says it, the others are counted
    /// at the end.
    fn sentences(&self, event: &Event) -> Vec<String> {
        if let Event::Refused { offer, .. } = event {
            let told = self.count(|earlier| matches!(earlier, Event::Refused { offer: o, .. } if o == offer));
            if told > 0 {
                return Vec::new();
            }
        }
        sentences(event)
    }

    /// Takes the bars from the screen and leaves the lines.
    pub fn close(&self) {
        if let Form::Bars { nodes, .. } = &self.inner.form {
            for bar in nodes.lock().unwrap_or_else(PoisonError::into_inner).values() {
                bar.finish_and_clear();
            }
        }
    }
}

fn draw(all: &MultiProgress, nodes: &mut BTreeMap<String, ProgressBar>, event: &Event, lines: Vec<String>) {
    match event {
        Event::DemoStarted { nodes: names, .. } => {
            let width = names.iter().map(String::len).max().unwrap_or(4);
            let form = format!("  {{prefix:>{width}}} {{bar:16.green/dim}} {{pos:>2}}/{{len:<2}} {{wide_msg}}");
            for name in names {
                let bar = all.add(ProgressBar::new(0));
                if let Ok(style) = ProgressStyle::with_template(&form) {
                    bar.set_style(style.progress_chars("━━╌"));
                }
                bar.set_prefix(name.clone());
                bar.set_message("switched on (simulated)");
                nodes.insert(name.clone(), bar);
            }
        }
        Event::NodeDoes { node, done, tasks, sentence, .. } => {
            if let Some(bar) = nodes.get(node) {
                bar.set_length(*tasks as u64);
                bar.set_position(*done as u64);
                bar.set_message(sentence.clone());
            }
            return;
        }
        Event::Enrolled { node, .. } => message(nodes, node, "enrolled"),
        Event::FactsReported { node, series } => message(nodes, node, &format!("reports {series} facts")),
        Event::MachineDown { node, reason } => message(nodes, node, reason),
        Event::MachineUp { node, boot_id } => message(nodes, node, &format!("up again, boot {boot_id:.8}")),
        Event::Refused { node, reason, .. } => message(nodes, node, &format!("refused: {reason}")),
        Event::Chapter { .. }
        | Event::ProcessStarted { .. }
        | Event::ProcessEnded { .. }
        | Event::TrustRootInstalled { .. }
        | Event::RosterSigned { .. }
        | Event::PlanPreviewed { .. }
        | Event::PlanSubmitted { .. }
        | Event::TaskEnded { .. }
        | Event::RolloutWaits { .. }
        | Event::RolloutEnded { .. }
        | Event::QuarantineReleased { .. }
        | Event::SupplyChanged { .. }
        | Event::Offered { .. }
        | Event::LedgerChecked { .. }
        | Event::DemoFinished(_) => {}
    }
    // What the bars show needs no line, or a screen would run full.
    let in_bars = matches!(
        event,
        Event::FactsReported { .. } | Event::Enrolled { .. } | Event::MachineUp { .. } | Event::ProcessStarted { .. }
    ) || matches!(event, Event::TaskEnded { outcome, .. } if *outcome == TaskStatus::Succeeded);
    if !in_bars {
        for line in lines {
            let _ = all.println(line);
        }
    }
}

fn message(nodes: &BTreeMap<String, ProgressBar>, node: &str, text: &str) {
    if let Some(bar) = nodes.get(node) {
        bar.set_message(text.to_owned());
    }
}

/// An event for people, in no or more lines.
fn sentences(event: &Event) -> Vec<String> {
    let line = match event {
        Event::DemoStarted { seed, fleet, nodes, machines, shortened } => {
            let mut lines = vec![format!("hostler-demo: {fleet}, {} nodes, seed {seed}. {machines}", nodes.len())];
            lines.extend(shortened.iter().map(|what| format!("  shortened for the demo: {what}")));
            return lines;
        }
        Event::Chapter { title } => return vec![String::new(), format!("## {title}")],
        // Without bars only what holds things up is worth a line.
        Event::NodeDoes { node, state, sentence, .. }
            if *state == NodeMark::Waiting && sentence.starts_with("waits because") =>
        {
            format!("{node} {sentence}")
        }
        Event::NodeDoes { node, sentence, .. } if sentence.contains("budget ") => format!("about {node}, {sentence}"),
        Event::ProcessStarted { .. } | Event::NodeDoes { .. } => return Vec::new(),
        Event::ProcessEnded { name, pid, reason } => {
            format!("process {name} ({pid}) ended: {reason}; starting it again")
        }
        Event::MachineDown { node, reason } => format!("{node}: {reason}"),
        Event::MachineUp { node, boot_id } => format!("{node}: up again, boot {boot_id}"),
        Event::TrustRootInstalled { fleet_id, digest, signer } => {
            format!("trust root of fleet {fleet_id} installed, {digest}, signed by {signer}")
        }
        Event::Enrolled { node, model } => format!("{node} enrolled: {model}"),
        Event::RosterSigned { version, nodes } => format!("roster {version} signed: {nodes} nodes"),
        Event::FactsReported { node, series } => format!("{node} reports {series} facts"),
        Event::PlanPreviewed { text, .. } => return text.lines().map(str::to_owned).collect(),
        Event::PlanSubmitted { seq, kind, tasks, signed_by, .. } => {
            format!("plan {seq} ({kind}, {}) signed by {signed_by} and submitted", count(*tasks, "task"))
        }
        Event::TaskEnded { task, node, outcome, sentence, .. } => match sentence.is_empty() {
            true => format!("{task} on {node}: {outcome}"),
            // The sentence begins with the outcome.
            false => format!("{task} on {node} {sentence}"),
        },
        Event::RolloutWaits { seq, sentence } => format!("plan {seq} waits: {sentence}"),
        Event::RolloutEnded { seq, state, sentence, seconds } => match sentence.is_empty() {
            true => format!("plan {seq} {state} in {seconds:.1} s"),
            false => format!("plan {seq} {state} after {seconds:.1} s: {sentence}"),
        },
        Event::SupplyChanged { node, sentence } => format!("{node}: {sentence}"),
        Event::QuarantineReleased { node, version } => {
            format!("quarantine of {node} for {version} released by the admin")
        }
        Event::Offered { what } => format!("hostile coordinator offers {what}"),
        Event::Refused { node, offer, refusal, reason } => format!("{node} refused {offer} ({refusal}): {reason}"),
        Event::LedgerChecked { records, documents, receipts } => format!(
            "ledger: {records} records unbroken, {documents} documents verified from their bytes, {receipts} of them \
             receipts"
        ),
        Event::DemoFinished(counts) => return vec![String::new(), summary(counts)],
    };
    vec![line]
}

/// The last line: what the demo did, in numbers.
fn summary(counts: &Counts) -> String {
    format!(
        "done in {:.1} s: {} nodes enrolled, {} plans, {} tasks verified, {} rebooted, {} offers of the hostile \
         coordinator refused, {} obeyed; {} -> {}",
        counts.seconds,
        counts.enrolled,
        counts.plans,
        counts.tasks_verified,
        counts.reboots,
        counts.refused,
        counts.obeyed,
        counts.version_before,
        counts.version_after
    )
}
