//! A roster as a person reads it before signing: what differs from the one that holds, then everything it says.

use std::fmt::Write as _;

use hostler_plan::{
    document::{Roster, RosterNode, RosterStatus},
    id::Digest,
    step::ClusterRole,
    text::count,
    trust::Verified,
};

/// Everything that `next` says. A node that stands in the held roster just so is only counted.
pub fn summary(held: Option<&Verified<Roster>>, next: &Roster, digest: &Digest) -> String {
    let prev = next.prev.map_or_else(|| "none".to_owned(), |p| p.to_string());
    let mut text = format!(
        "roster {} of fleet {}\n  digest    {digest}\n  made      {}, epoch {}, root {}\n  follows   {prev}\n",
        next.version, next.fleet_id, next.created, next.epoch, next.root_version,
    );
    let mut line = |name: &str, rest: String| writeln!(text, "  {name:<9} {rest}").expect("a String takes all");
    for also in &next.also {
        line("and", also.to_string());
    }
    line("plans", format!("up to {} were proved to its maker", next.plan_seq));
    let before = held.map(Verified::document);
    let was = |node: &RosterNode| before.and_then(|r| r.with_key(&node.key.fingerprint()));
    let mut same = 0;
    for node in &next.nodes {
        match was(node) {
            Some(old) if old == node => same += 1,
            Some(old) if old.status == RosterStatus::Active && node.status == RosterStatus::Retired => {
                line("RETIRES", described(node));
            }
            Some(old) => line("CHANGES", format!("{}\n            was: {}", described(node), described(old))),
            None if node.role == ClusterRole::Server => line("NEW", format!("SERVER {}", described(node))),
            None => line("NEW", described(node)),
        }
    }
    for gone in before.into_iter().flat_map(|r| &r.nodes) {
        if next.with_key(&gone.key.fingerprint()).is_none() {
            line("DROPS", described(gone));
        }
    }
    let tokens_before = before.map(|r| r.revoked_tokens.as_slice()).unwrap_or_default();
    for token in &next.revoked_tokens {
        let known = tokens_before.contains(token);
        line(if known { "revoked" } else { "REVOKES" }, format!("token {token}"));
    }
    if let (Some(held), true) = (held, same > 0) {
        line("others", format!("{} as in roster {} ({})", count(same, "node"), held.document().version, held.digest()));
    }
    text.truncate(text.trim_end().len());
    text
}

fn described(node: &RosterNode) -> String {
    let status = match node.status {
        RosterStatus::Active => "active",
        RosterStatus::Retired => "retired",
    };
    format!(
        "{} {status} {} {} key {} seal {} token {} enrolment {}",
        node.name,
        node.role,
        node.arch,
        node.key.fingerprint(),
        node.seal_key,
        node.enrolled.token,
        node.enrolled.enrolment
    )
}
