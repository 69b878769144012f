//! The pods of the nodes that a plan drains, for the person who is to sign it: short, or with every reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Carried, Options, blockers, given_up};
use crate::{
    document::{Blocker, Leaving, NodeState, NodeView, Place, Plan, PodView, Prospect, Stays, Turn, View},
    id::{NodeName, Seq},
    step::{Drain, Reaction, Step},
    text::{age, and_more, clean, count},
    timestamp::Timestamp,
};

/// Lines about pods of one node that a short preview has; more are counted.
const MAX_LINES: usize = 20;

/// What servers read about the nodes that a plan drains, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodsPreview {
    /// What was read; together each node at most once.
    pub views: Vec<View>,
    /// Why some are not shown.
    pub not_shown: Vec<NotShown>,
    /// What stands in the way, node by node.
    pub blockers: Vec<(NodeName, Blocker)>,
    /// What it lets go because the plan that it continues did.
    pub carried: Option<CarriedOver>,
    /// How each node is drained.
    drains: BTreeMap<NodeName, Drain>,
    /// Dead nodes that the plan gives up instead.
    given_up: BTreeSet<NodeName>,
}

/// What an earlier plan allowed, and the one that continues it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedOver {
    /// The earlier one.
    pub from: Seq,
    /// Each once and in order.
    pub what: BTreeSet<Carried>,
}

/// Nodes of which nobody signed what is on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotShown {
    pub nodes: Vec<NodeName>,
    /// One sentence; nothing proves it.
    pub why: String,
}

impl Plan {
    /// The nodes that it drains, each once and in the order of its tasks, and how.
    pub fn drains(&self) -> impl Iterator<Item = (&NodeName, &Drain)> {
        let steps = self.tasks.iter().flat_map(|task| task.steps.iter().map(move |step| (&task.subject, step)));
        steps.filter_map(|(node, step)| if let Step::Drain(drain) = step { Some((node, drain)) } else { None })
    }

    /// The dead nodes that it gives up, each once.
    pub fn given_up(&self) -> BTreeSet<&NodeName> {
        let gives_up = |step: &Step| matches!(step, Step::OutOfService(_));
        let tasks = self.tasks.iter().filter(|task| task.steps.iter().any(gives_up));
        tasks.map(|task| &task.subject).collect()
    }

    /// The same, to write somebody's consent into it before it is signed.
    pub fn drains_mut(&mut self) -> impl Iterator<Item = (&NodeName, &mut Drain)> {
        let steps = self.tasks.iter_mut().flat_map(|task| {
            let subject = &task.subject;
            task.steps.iter_mut().map(move |step| (subject, step))
        });
        steps.filter_map(|(node, step)| if let Step::Drain(drain) = step { Some((node, drain)) } else { None })
    }
}

impl PodsPreview {
    /// What the views mean for this plan.
    pub fn of(plan: &Plan, views: Vec<View>, not_shown: Vec<NotShown>) -> Self {
        let drains: BTreeMap<NodeName, Drain> =
            plan.drains().map(|(node, drain)| (node.clone(), drain.clone())).collect();
        let nodes = views.iter().flat_map(|view| &view.nodes);
        let judged = nodes.filter_map(|node| Some((node, drains.get(&node.node)?)));
        let blockers = judged.flat_map(|(node, drain)| {
            blockers(node, &drain.into()).into_iter().map(|blocker| (node.node.clone(), blocker))
        });
        let blockers = blockers.collect();
        Self {
            views,
            not_shown,
            blockers,
            carried: None,
            drains,
            given_up: plan.given_up().into_iter().cloned().collect(),
        }
    }

    /// Why the plan is not to be signed, and what would allow it; none where nothing is in the way.
    pub fn refusal(&self) -> Option<String> {
        // Who only gives a node up evicts nobody.
        let drains = |view: &&View| view.nodes.iter().any(|node| !self.given_up.contains(&node.node));
        let rights = self.views.iter().filter(drains).flat_map(|view| {
            let may_not = |right| format!("the server {} may not {right}: give its account that right", view.server);
            view.missing_rights.iter().map(may_not)
        });
        let mut alike: BTreeMap<(&NodeName, String), (&str, usize)> = BTreeMap::new();
        for (node, blocker) in self.blockers.iter().filter(|(node, _)| self.stops(node)) {
            let (_, more) =
                alike.entry((node, blocker.reason.replace(&blocker.pod, "POD"))).or_insert((&blocker.pod, 0));
            *more += 1;
        }
        let pods = alike.iter().map(|((node, reason), (pod, alike))| {
            format!("{node}: {pod}{}: {}", and_more(alike - 1), clean(&reason.replace("POD", pod)))
        });
        let lines: Vec<String> = rights.chain(pods).collect();
        let more = lines.len().saturating_sub(MAX_LINES);
        let mut text = lines.iter().take(MAX_LINES).map(String::as_str).collect::<Vec<_>>().join("\n");
        if more > 0 {
            let _ = write!(text, "\n… and {more} more; --explain shows every pod");
        }
        (!lines.is_empty()).then_some(text)
    }

    /// Whether a drain of the node that something can never let end does not even begin.
    fn stops(&self, node: &NodeName) -> bool {
        self.drains.get(node).is_none_or(|drain| drain.reactions.never == Reaction::Stop)
    }

    /// A few lines a node, or every pod with all that is known of it.
    pub fn text(&self, explain: bool) -> String {
        let mut text = String::new();
        let most = if explain { usize::MAX } else { MAX_LINES };
        for view in &self.views {
            let (server, at) = (&view.server, view.at);
            let _ = writeln!(text, "pods, as the server {server} read and signed them at {at}:");
            for node in &view.nodes {
                match self.given_up.contains(&node.node) {
                    true => given_up::write(&mut text, node, view.at, (explain, most)),
                    false => self.node(&mut text, node, view.at, explain),
                }
            }
        }
        for NotShown { nodes, why } in &self.not_shown {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            let _ = writeln!(
                text,
                "pods are not shown: {} ({}){}",
                clean(why),
                names.join(" "),
                if nodes.iter().all(|node| self.given_up.contains(node)) {
                    ""
                } else {
                    "; what holds a drain is found when it begins"
                }
            );
        }
        if let Some(CarriedOver { from, what }) = self.carried.as_ref().filter(|carried| !carried.what.is_empty()) {
            let _ = writeln!(text, "carried over from plan {from}, which this one continues:");
            for carried in what {
                let _ = writeln!(text, "    {carried}");
            }
        }
        text
    }

    fn node(&self, text: &mut String, node: &NodeView, at: Timestamp, explain: bool) {
        let _ = writeln!(text, "  {}: {}", node.node, summary(node, at));
        let options = self.drains.get(&node.node).map(Options::from);
        let mut lines: Vec<Line> = Vec::new();
        for pod in &node.pods {
            for said in about(pod, options.as_ref(), at, explain) {
                match lines.iter_mut().find(|line| !explain && line.is_alike(pod, &said)) {
                    Some(line) => line.alike += 1,
                    None => lines.push(Line { pod, said, alike: 0 }),
                }
            }
        }
        let most = if explain { usize::MAX } else { MAX_LINES };
        for line in lines.iter().take(most) {
            let _ = writeln!(text, "    {line}");
        }
        if lines.len() > most {
            let _ = writeln!(text, "    … {} more; --explain shows every pod", count(lines.len() - most, "line"));
        }
        if explain {
            for volume in &node.attached {
                let (name, driver) = (&volume.volume, &volume.driver);
                let _ = writeln!(text, "    volume   {name} has to be detached by {driver} before the node is drained");
            }
        }
        if node.left_out.pods > 0 {
            let decide = match node.left_out.deciding {
                0 => "none".to_owned(),
                deciding => deciding.to_string(),
            };
            let pods = count(node.left_out.pods, "pod");
            let _ = writeln!(
                text,
                "    … {pods} more that no view has room for, {decide} of which never go or lose something"
            );
        }
    }
}

/// One thing to know about a pod, or about several of one owner.
struct Line<'a> {
    pod: &'a PodView,
    said: Said,
    /// How many others it is true of.
    alike: usize,
}

/// What becomes of a pod, or what is to be known of it, and a sentence.
#[derive(PartialEq, Eq)]
struct Said(Word, String);

/// The word of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Never,
    Asks,
    Loses,
    Down,
    Waits,
    Unknown,
    Slow,
    Moves,
    Ends,
    Going,
    Stays,
}

impl Word {
    /// In the column of a line.
    fn of_one(self) -> &'static str {
        match self {
            Word::Never => "never",
            Word::Asks => "asks",
            Word::Loses => "loses",
            Word::Down => "down",
            Word::Waits => "waits",
            Word::Unknown => "unknown",
            Word::Slow => "slow",
            Word::Moves => "moves",
            Word::Ends => "ends",
            Word::Going => "going",
            Word::Stays => "stays",
        }
    }

    /// Behind a number of pods.
    fn of(self, pods: usize) -> &'static str {
        match self {
            Word::Never if pods == 1 => "never goes",
            Word::Never => "never go",
            Word::Down => "down until the node is back",
            Word::Waits if pods == 1 => "waits for room",
            Word::Waits => "wait for room",
            Word::Unknown => "unknown where to",
            Word::Moves if pods > 1 => "move",
            Word::Ends if pods > 1 => "end",
            Word::Going => "going already",
            Word::Stays if pods > 1 => "stay",
            Word::Asks | Word::Loses | Word::Slow | Word::Moves | Word::Ends | Word::Stays => self.of_one(),
        }
    }
}

impl Line<'_> {
    /// Whether the same is true of another pod of its owner.
    fn is_alike(&self, pod: &PodView, said: &Said) -> bool {
        self.said == *said && self.pod.owner.is_some() && self.pod.whose() == pod.whose()
    }
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Said(word, sentence) = &self.said;
        let owner = match &self.pod.owner {
            Some(owner) => format!("{} {}", owner.kind, owner.name),
            None => "no controller".to_owned(),
        };
        write!(f, "{:<8} {}{} ({owner})", word.of_one(), self.pod.pod, and_more(self.alike))?;
        if sentence.is_empty() { Ok(()) } else { write!(f, ": {}", clean(sentence)) }
    }
}

/// How many pods do what, and how long it should take.
fn summary(node: &NodeView, at: Timestamp) -> String {
    let mut parts = Vec::new();
    match node.state {
        NodeState::Ready => {}
        NodeState::NotReady => parts.push("NOT READY".to_owned()),
        NodeState::Silent { since } => {
            parts.push(format!("SILENT for {}, a drain ends there; check its power", age(at.since(since).as_secs())));
        }
        NodeState::Absent => return "THE CLUSTER HAS NO NODE OF THIS NAME".to_owned(),
    }
    if let Some(cordon) = &node.cordon {
        parts.push(format!("cordoned {cordon}"));
    }
    let mut words: BTreeMap<Word, usize> = BTreeMap::new();
    for pod in &node.pods {
        *words.entry(prospect(pod, at).0).or_default() += 1;
    }
    let all = count(node.pods.len() + node.left_out.pods as usize, "pod");
    let words: Vec<String> = words.into_iter().map(|(word, pods)| format!("{pods} {}", word.of(pods))).collect();
    parts.push(if words.is_empty() { all } else { format!("{all}: {}", words.join(", ")) });
    if let Some(expected) = &node.expected {
        parts.push(format!("about {} ({})", age(expected.seconds), expected.rests_on));
    }
    parts.join("; ")
}

/// What becomes of a pod, in a word, and why.
fn prospect(pod: &PodView, at: Timestamp) -> Said {
    let leaving = match &pod.prospect {
        Prospect::Stays(Stays::DaemonSet) => return Said(Word::Stays, "it belongs to the node".into()),
        Prospect::Stays(Stays::Mirror) => return Said(Word::Stays, "it is the kubelet's own".into()),
        Prospect::Stays(Stays::Finalizer(name)) => {
            return Said(Word::Stays, format!("nothing of it runs any more; finalizer {name} keeps the object"));
        }
        Prospect::Going { until } if *until < at => {
            return Said(Word::Going, format!("its grace is over since {until}; the drain says who holds it"));
        }
        Prospect::Going { until } => return Said(Word::Going, format!("its grace ends at {until}")),
        Prospect::Leaves(leaving) => leaving,
    };
    if let Some(never) = &leaving.never {
        return Said(Word::Never, never.reason.to_string());
    }
    match &leaving.place {
        Place::Elsewhere { count, such_as } => {
            let names: Vec<&str> = such_as.iter().map(NodeName::as_str).collect();
            let more = and_more((*count as usize).saturating_sub(names.len()));
            Said(Word::Moves, format!("fits on {}{more}", names.join(" ")))
        }
        Place::Nowhere(why) => Said(Word::Down, format!("until the node is back: {why}")),
        Place::NoRoom(why) => Said(Word::Waits, format!("until there is room: {why}")),
        Place::Unknown(why) => Said(Word::Unknown, why.to_string()),
        Place::NotNeeded => Said(Word::Ends, "nothing takes its place".into()),
    }
}

/// Everything to know about a pod under these options; in short, what needs something and what is down for a while.
fn about(pod: &PodView, options: Option<&Options<'_>>, at: Timestamp, explain: bool) -> Vec<Said> {
    let Said(word, why) = prospect(pod, at);
    let Prospect::Leaves(leaving) = &pod.prospect else {
        return if explain { vec![Said(word, why)] } else { Vec::new() };
    };
    let mut said = Vec::new();
    let says = matches!(leaving.place, Place::Nowhere(_) | Place::NoRoom(_)) || leaving.never.is_some();
    if says || explain {
        let grace = if explain { format!("; it may take {} to stop", age(pod.grace_seconds)) } else { String::new() };
        said.push(Said(word, why + &grace));
    }
    said.extend(losses(pod, leaving, options));
    // The storage system's own is always slow.
    let slow = leaving.slow.iter().filter(|_| explain || pod.turn != Turn::Storage);
    said.extend(slow.map(|why| Said(Word::Slow, why.to_string())));
    said
}

/// All that a drain would do with a pod that was seen then, whatever a plan allows.
pub fn outlook(pod: &PodView, at: Timestamp) -> String {
    let said = about(pod, None, at, true);
    let said: Vec<String> = said.iter().map(|Said(word, why)| format!("{}: {why}", word.of_one())).collect();
    said.join("; ")
}

fn losses(pod: &PodView, leaving: &Leaving, options: Option<&Options<'_>>) -> Vec<Said> {
    let whose = pod.whose();
    let said = |loss: &crate::step::Loss| match options {
        Some(options) if options.allow(pod.pod.as_str(), Some(&whose), *loss) => {
            Said(Word::Loses, format!("{loss}, as this plan allows"))
        }
        Some(_) | None => Said(Word::Asks, format!("it loses {loss}; allow it with {}", loss.flag())),
    };
    leaving.loses.iter().map(said).collect()
}
