//! A roster in words.

use super::{Page, key, list, predecessors};
use crate::{
    document::{Enrolled, Roster, RosterNode, RosterStatus, RosterType},
    id::Digest,
    step::ClusterRole,
};

/// What differs from the roster that is held today, what goes and what becomes a server first, then everything that the
/// roster says. `digest` is that of its bytes.
pub fn roster(held: Option<&Roster>, next: &Roster, digest: &Digest) -> String {
    let Roster {
        document_type: RosterType::V1,
        fleet_id,
        epoch,
        version,
        prev,
        also,
        root_version,
        created,
        plan_seq,
        revoked_tokens,
        nodes,
    } = next;
    let mut page = Page::new(&format!("roster {version} of fleet {fleet_id}"));
    page.line("digest", digest);
    for change in held.map(|held| changes(held, next)).unwrap_or_default() {
        page.line("change", change);
    }
    page.line("epoch", epoch);
    page.line("before it", predecessors(*prev, also));
    page.line("made", format!("{created} with root {root_version}"));
    page.line("plans", format!("are numbered up to {plan_seq}"));
    page.line("tokens", format!("revoked: {}", list(revoked_tokens, "none")));
    for node in nodes {
        page.line("node", said(node));
    }
    if nodes.is_empty() {
        page.line("node", "none");
    }
    page.0
}

fn said(node: &RosterNode) -> String {
    let RosterNode { name, key: own, seal_key, role, arch, status, enrolled } = node;
    let Enrolled { token, enrolment } = enrolled;
    let (status, own) = (status_word(*status), key(own));
    format!("{name}: {status} {role}, {arch}, {own}, seal key {seal_key}, came with token {token} ({enrolment})")
}

fn status_word(status: RosterStatus) -> &'static str {
    match status {
        RosterStatus::Active => "active",
        RosterStatus::Retired => "retired",
    }
}

/// What differs, the most dangerous first. A node is told by its key.
fn changes(held: &Roster, next: &Roster) -> Vec<String> {
    let before = |node: &RosterNode| held.with_key(&node.key.fingerprint());
    let gone = held.nodes.iter().filter(|node| next.with_key(&node.key.fingerprint()).is_none());
    let mut said: Vec<(u8, String)> =
        gone.map(|node| (0, format!("{} ({}) is not listed any more", node.name, key(&node.key)))).collect();
    for node in &next.nodes {
        let RosterNode { name, key: own, seal_key, role, arch, status, enrolled } = node;
        let rank = if *role == ClusterRole::Server { 2 } else { 3 };
        let Some(old) = before(node) else {
            said.push((rank, format!("{name} is new: {} {role}, {}", status_word(*status), key(own))));
            continue;
        };
        if old.status != *status {
            let rank = if *status == RosterStatus::Retired { 1 } else { rank };
            said.push((rank, format!("{name} is {} instead of {}", status_word(*status), status_word(old.status))));
        }
        let mut differs = |what: &str, old: String, new: String| {
            if old != new {
                said.push((rank, format!("{name}: {what} {new} instead of {old}")));
            }
        };
        differs("role", old.role.to_string(), role.to_string());
        differs("name", old.name.to_string(), name.to_string());
        differs("seal key", old.seal_key.to_string(), seal_key.to_string());
        differs("processor", old.arch.to_string(), arch.to_string());
        differs("token", old.enrolled.token.to_string(), enrolled.token.to_string());
        differs("enrolment", old.enrolled.enrolment.to_string(), enrolled.enrolment.to_string());
    }
    for token in next.revoked_tokens.iter().filter(|token| !held.revoked_tokens.contains(token)) {
        said.push((1, format!("token {token} is revoked: it admits nobody any more")));
    }
    for token in held.revoked_tokens.iter().filter(|token| !next.revoked_tokens.contains(token)) {
        said.push((0, format!("token {token} is NOT revoked any more")));
    }
    if held.epoch != next.epoch {
        said.push((1, format!("epoch {} instead of {}", next.epoch, held.epoch)));
    }
    said.sort_by_key(|(rank, _)| *rank);
    if said.is_empty() {
        return vec!["none in its nodes and tokens".to_owned()];
    }
    said.into_iter().map(|(_, text)| text).collect()
}
