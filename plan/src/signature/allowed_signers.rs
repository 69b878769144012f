//! The `allowed_signers` file with which stock `ssh-keygen` checks our documents.

use std::fmt::Write as _;

use super::PublicKey;
use crate::document::{DocumentKind, Root, Roster, RosterStatus, SignerRole};

/// An `allowed_signers` file (ssh-keygen(1)) of a root's signers: one line per key that is not revoked, with the
/// namespaces of its role. Plan kinds and thresholds are beyond that file; count different keys yourself.
pub fn signer_lines(root: &Root) -> String {
    let mut lines = String::new();
    for signer in &root.signers {
        if root.revoked.contains(&signer.key.fingerprint()) {
            continue;
        }
        let kinds: &[DocumentKind] = match signer.role {
            SignerRole::Viewer => &[DocumentKind::Pass],
            SignerRole::Operator => &[DocumentKind::Plan, DocumentKind::Decision, DocumentKind::Pass],
            SignerRole::Admin => &[
                DocumentKind::Root,
                DocumentKind::Admission,
                DocumentKind::Roster,
                DocumentKind::Plan,
                DocumentKind::Decision,
                DocumentKind::Pass,
            ],
        };
        line(&mut lines, &principal(&signer.name), kinds, &signer.key);
    }
    lines
}

/// An `allowed_signers` file of a roster's active nodes, for their receipts and enrolments.
pub fn node_lines(roster: &Roster) -> String {
    let mut lines = String::new();
    for node in roster.nodes.iter().filter(|n| n.status == RosterStatus::Active) {
        line(
            &mut lines,
            node.name.as_str(),
            &[DocumentKind::Receipt, DocumentKind::Holding, DocumentKind::Enrolment],
            &node.key,
        );
    }
    lines
}

fn line(lines: &mut String, principal: &str, kinds: &[DocumentKind], key: &PublicKey) {
    let namespaces: Vec<&str> = kinds.iter().map(|k| k.namespace()).collect();
    writeln!(lines, "{principal} namespaces=\"{}\" {key}", namespaces.join(","))
        .expect("writing to a String cannot fail");
}

/// A signer's name without the characters that mean something in that file (blank, comma, `*`, `?`, `!`, quotes, `#`).
fn principal(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+') { c } else { '_' })
        .collect();
    if plain.is_empty() { "signer".to_owned() } else { plain }
}
