//! A decision in words.

use super::Page;
use crate::{
    document::{Decided, Decision, DecisionType},
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
    };
    let mut page = Page::new(&super::clean_whole(&format!("decision: {what}")));
    page.line("digest", digest);
    page.line("fleet", format!("{fleet_id}, epoch {epoch}"));
    page.line("signer", by);
    page.line("ledger", format!("one that goes on from {}", head(seen)));
    page.line("made", created);
    page.line("counts", format!("when it is handed in before {expires}"));
    page.0
}
