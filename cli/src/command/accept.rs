//! `hostler node accept` and `hostler node release`.

use hostler_plan::{
    document::{DocumentRef, NodeMatter},
    form::Reason,
    id::NodeName,
};
use hostler_proto::v1::NodeDetail;
use serde_json::{Value, json};

use super::Context;
use crate::{
    Admin,
    acceptance::{self, Done, Known, Proof},
    admin::now,
    args::End,
    error::Error,
    output::print,
};

/// `hostler node accept NODE VERDICT`, with what says until when and why, or without to take it back.
pub(super) async fn accept(
    context: &Context,
    admin: &mut Admin,
    node: &NodeName,
    verdict: &[String],
    new: Option<(End, Reason)>,
) -> Result<(), Error> {
    let (known, verdict) = (Known::ask(admin, node).await?, verdict.join(" "));
    let matter = match new {
        Some((until, reason)) => known.accept(&verdict, until.from(now()), reason)?,
        None => known.withdraw(&verdict)?,
    };
    let done = known.decide(admin, matter).await?;
    tell(context, node, &done)
}

/// `hostler node release NODE DISK`
pub(super) async fn release(
    context: &Context,
    admin: &mut Admin,
    node: &NodeName,
    disk: &str,
    reason: Reason,
) -> Result<(), Error> {
    let known = Known::ask(admin, node).await?;
    let matter = known.release(disk, reason)?;
    let done = known.decide(admin, matter).await?;
    tell(context, node, &done)
}

fn tell(context: &Context, node: &NodeName, done: &Done) -> Result<(), Error> {
    let Done { matter, number, proof } = done;
    let what = match matter {
        NodeMatter::Accept(accepted) => {
            format!("{} of {node} is accepted until {}, as long as it gets no worse", accepted.rule, accepted.until)
        }
        NodeMatter::Withdraw { .. } => format!("what was accepted of {node} counts again as before"),
        NodeMatter::Release(release) => {
            format!("disk {} of {node} is let go; what it says of itself from now on counts", release.subject)
        }
    };
    let held = match proof {
        Proof::Held => format!("{node} signed that it holds decision {number}"),
        Proof::Another(other) => format!(
            "expected {node} to sign that it holds this decision {number}, found that it holds another one, {other}: \
             somebody decided meanwhile, or the coordinator did not show that one and {node} does not take this one; \
             look at `hostler node show {node}` and `hostler ledger verify`, and decide again"
        ),
        Proof::NotYet => {
            format!("{node} has not signed yet that it holds decision {number}: see `hostler node show {node}`")
        }
    };
    print(
        context.output,
        || json!({ "node": node, "decision": number, "held_by_node": *proof == Proof::Held }),
        || format!("{what}\n{held}"),
    )
}

/// What people decided about a node and counts, for `hostler node show`: verified here, and whether the node holds it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    lines: Vec<String>,
    json: Vec<Value>,
    /// The newest decision that the node proves that it holds, where the coordinator shows another one or none.
    not_shown: Option<DocumentRef>,
}

/// Of a decision that the node holds and the coordinator does not show, whose word for the newest number is `said`.
fn not_shown(DocumentRef { version, digest }: DocumentRef, said: u64) -> String {
    let why = if said >= version {
        "the coordinator says that its signer counts no more, which is not proved"
    } else {
        "the coordinator hides it, or lost a part of its ledger: compare the ledgers (`hostler ledger verify`); the \
         next decision about the node ends it"
    };
    format!("NOT SHOWN: the node signed that it holds decision {version} ({digest}); {why}")
}

impl Shown {
    pub(super) async fn of(admin: &mut Admin, name: &NodeName, detail: &NodeDetail) -> Result<Self, Error> {
        let held = acceptance::held_by(admin, name).await?;
        let decisions = match acceptance::decisions(admin.trust_store(), name, &detail.decisions) {
            Ok(decisions) => decisions,
            Err(refused) => {
                let line = format!("NOT VERIFIED: {}", refused.reason);
                return Ok(Self { lines: vec![line], ..Self::default() });
            }
        };
        let hidden = acceptance::not_shown(&decisions, held);
        let doubt = match decisions.newest().map(|newest| Proof::of(newest, held)) {
            Some(Proof::Held) => "",
            Some(Proof::Another(_)) => " (the node may not hold it)",
            Some(Proof::NotYet) | None => " (the node has not signed yet that it holds it)",
        };
        let all: Vec<_> = decisions.at(now()).collect();
        let lines = all.iter().map(|(d, matter)| acceptance::words(d.document(), matter) + doubt);
        Ok(Self {
            lines: hidden.iter().map(|held| not_shown(*held, detail.decision_number)).chain(lines).collect(),
            not_shown: hidden,
            json: all
                .iter()
                .map(|(d, matter)| {
                    json!({ "digest": d.digest(), "by": d.document().by, "made": d.document().created,
                    "about": matter, "held_by_node": doubt.is_empty() })
                })
                .collect(),
        })
    }

    /// For people, a line each.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// For programs: what counts, and the decision that the node holds and that is not shown.
    pub(super) fn json(&self) -> (Value, Value) {
        (json!(self.json), json!(self.not_shown))
    }
}
