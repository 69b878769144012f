//! A plan in the words of the person who is to sign it.

use std::fmt;

use serde::Serialize;

use crate::{
    document::PlanKind,
    health::Verdict,
    id::{NodeName, Seq},
    text::{clean, count},
    timestamp::Timestamp,
};

use super::{Claim, Fate};

/// What a plan will do and why, for the person who is to sign it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub seq: Seq,
    pub kind: PlanKind,
    /// The plan's own sentence.
    pub title: String,
    pub created: Timestamp,
    /// In this order; each begins when the one before is done.
    pub phases: Vec<Phase>,
    /// Nodes that were left out, and why.
    pub skipped: Vec<(NodeName, String)>,
    /// What to know before signing.
    pub notes: Vec<Note>,
    /// What of it rests on the coordinator's word alone.
    pub claims: Vec<Claim>,
    /// What becomes of the plans before it, by number.
    pub fates: Vec<Fate>,
    pub tasks: usize,
    /// What the waiting for health alone takes; the work comes on top.
    pub soak_seconds: u64,
}

/// Nodes that are treated alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    pub name: PhaseName,
    /// In the order in which they begin.
    pub nodes: Vec<NodeName>,
    /// How many of them are under way at a time.
    pub at_once: usize,
}

/// Why nodes are together, and why there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseName {
    /// What a stopped rollout left out of service goes back first.
    PutBack,
    Canary,
    Servers,
    /// They are unavailable already, so nothing is lost.
    Unavailable,
    Workers,
    /// Machines outside the cluster.
    Hosts,
    /// The coordinator runs there: what it has to say is said before.
    Coordinator,
    /// No order among them.
    Together,
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseName::PutBack => "put back into service what a stopped rollout left out of it",
            PhaseName::Canary => "canary, alone; all others wait for it to be healthy",
            PhaseName::Servers => "servers, one by one",
            PhaseName::Unavailable => "nodes that are unavailable already",
            PhaseName::Workers => "workers",
            PhaseName::Hosts => "hosts, outside the cluster, one by one",
            PhaseName::Coordinator => "where the coordinator runs, last",
            PhaseName::Together => "in no particular order",
        })
    }
}

/// Something to know before signing.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    Info(String),
    Warning(String),
    /// A node is not well.
    Verdict {
        node: NodeName,
        verdict: Box<Verdict>,
        effect: Effect,
    },
}

/// What a node's verdict does to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The node's turn does not come before it is good.
    Waits,
    /// The work neither causes nor cures it.
    Tolerated,
    /// The plan is not about that node, and is signed although it is critical.
    LeftOut,
    /// A person takes it as the new normal.
    Accepted,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Info(text) => write!(f, "note: {}", clean(text)),
            Note::Warning(text) => write!(f, "warning: {}", clean(text)),
            Note::Verdict { node, verdict, effect } => {
                let said = format!("{node} is {}: {}", verdict.level, clean(&verdict.sentence()));
                match effect {
                    Effect::Waits => write!(f, "warning: {said}; its turn does not come before that is good"),
                    Effect::Tolerated | Effect::Accepted => write!(f, "note: {said}; that holds nothing"),
                    Effect::LeftOut => write!(f, "warning: {said}; the plan leaves it out and does not wait for it"),
                }
            }
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {} ({}): {}", self.seq, self.kind, self.title)?;
        for (i, phase) in self.phases.iter().enumerate() {
            let nodes: Vec<&str> = phase.nodes.iter().map(NodeName::as_str).collect();
            write!(f, "  {}. {}: {}", i + 1, phase.name, nodes.join(" "))?;
            match phase.at_once {
                at_once
                    if at_once >= phase.nodes.len() || matches!(phase.name, PhaseName::Servers | PhaseName::Hosts) =>
                {
                    writeln!(f)?
                }
                at_once => writeln!(f, " ({at_once} at a time)")?,
            }
        }
        for (node, why) in &self.skipped {
            writeln!(f, "  left out: {node}, {}", clean(why))?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for claim in &self.claims {
            writeln!(f, "  {claim}")?;
        }
        for fate in &self.fates {
            writeln!(f, "  {}", fate.said(self.created))?;
        }
        if !self.fates.iter().any(Fate::goes_on) {
            writeln!(
                f,
                "  beside: no other plan; every earlier one that still runs ends, also one that is not shown here"
            )?;
        }
        write!(f, "  {}", count(self.tasks, "task"))?;
        if self.soak_seconds > 0 {
            write!(f, ", at least {} s of waiting for nodes to stay healthy", self.soak_seconds)?;
        }
        writeln!(f)
    }
}
