//! A decision in words.

use super::Page;
use crate::{
    document::{Decided, Decision, DecisionType, NodeDecision, NodeMatter},
    health::{Acceptance, DiskNumbers, Level, Release},
    id::Digest,
    ledger::Head,
};

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(", because: {reason}") }
}

/// Everything that a decision says. `digest` is that of its bytes.
pub fn decision(decision: &Decision, digest: &Digest) -> String {
    let Decision { document_type: DecisionType::V1, fleet_id, epoch, by, seen, created, expires, decided } = decision;
    let head = |head: &Head| format!("{} records, {}", head.next_index, head.hash);
    let what = match decided {
        Decided::Pause { plan, reason } => format!("pause plan {plan}{}", because(reason)),
        Decided::Resume { plan } => format!("resume plan {plan}"),
        Decided::Halt { plan, reason } => format!("halt plan {plan} for ever{}", because(reason)),
        Decided::ReleaseLease { plan, task, grant } => {
            format!("give up the lease of task {task} of plan {plan}, grant {grant}: it may be granted again")
        }
        Decided::ReleaseQuarantine { node, version } => format!("let plans bring {node} to {version} again"),
        Decided::RevokeToken { token } => format!("let token {token} admit nobody any more"),
        Decided::Adopt { before, after } => {
            format!("go on with the ledger of {} instead of the one of {}", head(after), head(before))
        }
        Decided::Node(decision) => about_node(decision),
    };
    let mut page = Page::new(&super::clean_whole(&format!("decision: {what}")));
    page.line("digest", digest);
    page.line("fleet", format!("{fleet_id}, epoch {epoch}"));
    page.line("signer", by);
    page.line("ledger", format!("one that goes on from {}", head(seen)));
    page.line("made", created);
    page.line("counts", format!("when it is handed in before {expires}"));
    if let Decided::Node(decision) = decided {
        node_lines(&mut page, decision);
    }
    page.0
}

fn weight(level: Level, required: bool) -> String {
    format!("{level}, {}", if required { "required" } else { "not required" })
}

fn about_node(decision: &NodeDecision) -> String {
    let NodeDecision { node, about, .. } = decision;
    match about {
        NodeMatter::Accept(Acceptance { rule, subject, until, .. }) => {
            let subject = if subject.is_empty() { String::new() } else { format!(" {subject}") };
            format!("take {rule}{subject} of {node} as the new normal until {until}")
        }
        NodeMatter::Withdraw { acceptance } => format!("take back what was accepted of {node} with {acceptance}"),
        NodeMatter::Release(Release { subject, .. }) => format!("let go the failing disk {subject} of {node}"),
    }
}

/// What is decided about a node, field by field.
fn node_lines(page: &mut Page, decision: &NodeDecision) {
    let NodeDecision { node: _, key, number, keeps, also, about } = decision;
    page.line("node", format!("key {key}, decision {number} about it"));
    let disk = |disk: &Option<DiskNumbers>| match disk {
        Some(disk) => format!("that disk by its own numbers: {disk}"),
        None => "whatever has that name".to_owned(),
    };
    match about {
        NodeMatter::Accept(Acceptance { values, level, required, disk: numbers, reason, .. }) => {
            page.line("verdict", weight(*level, *required));
            for (condition, value) in values {
                let numbers = format!("{value} {}", condition.unit());
                page.line("value", format!("{}: {}, or no worse", condition.name(), numbers.trim_end()));
            }
            page.line("about", disk(numbers));
            page.line("because", reason);
        }
        NodeMatter::Release(Release { level, required, disk: numbers, reason, .. }) => {
            page.line("lets go", format!("what is {} or less", weight(*level, *required)));
            page.line("about", disk(numbers));
            page.line("because", reason);
        }
        NodeMatter::Withdraw { .. } => {}
    }
    if keeps.is_empty() {
        page.line("keeps", "none of the earlier decisions about it");
    }
    keeps.iter().for_each(|kept| page.line("keeps", kept));
    also.iter().for_each(|other| page.line("ends", format!("{other}, which the ledger did not show")));
}
