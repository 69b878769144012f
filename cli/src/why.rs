//! Why something waits or what holds it, out of everything that is known: what the coordinator says, and what nodes
//! signed. The worst stands first.

mod fresh;
mod node;
mod pod;
mod rollout;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use hostler_plan::{
    form::PodName,
    id::{NodeName, Seq},
    planner::OpenPlan,
    sequencer::RolloutStatus,
    timestamp::Timestamp,
};
use hostler_proto::v1::{self, RolloutDetail, RolloutSummary};
use serde::Serialize;

use self::fresh::Fresh;
use crate::{
    Admin,
    admin::now,
    error::Error,
    node as nodes, plan,
    rollout::{self as rollouts, Evidence},
};

/// What somebody asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Everything that waits.
    All,
    Node(NodeName),
    /// A plan's number, its digest, or the beginning of that.
    Rollout(String),
    Pod(PodName),
}

/// One sentence of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Said {
    pub weight: Weight,
    /// What it is about: a node, a plan, a pod.
    pub about: String,
    pub sentence: String,
    #[serde(flatten)]
    pub proof: Proof,
}

/// How much it presses, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Something is not as it was signed, or cannot be proved.
    Alarm,
    /// Nothing goes on before a person decides.
    NeedsPerson,
    /// A node that is not well, or silent.
    Trouble,
    /// It goes on by itself once something else happened.
    Waits,
    /// A node is at it.
    Works,
    /// It is out of service, and a person can put it back.
    Stands,
    /// Worth knowing; it holds nothing.
    Note,
}

/// On whose word a sentence rests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Proof {
    /// The coordinator's.
    Coordinator,
    /// A receipt of that node, verified here.
    Receipt { node: NodeName },
    /// What that server read of its cluster for this question, verified here.
    View { node: NodeName, at: Timestamp },
    /// A document that people signed, verified here.
    Signed,
}

/// A rollout, with what its documents prove.
#[derive(Debug)]
struct Known {
    detail: RolloutDetail,
    evidence: Evidence,
}

impl Known {
    async fn of(admin: &mut Admin, rollout: &str) -> Result<Self, Error> {
        let detail = rollouts::get(admin, rollout).await?;
        let evidence = rollouts::verify(admin.trust_store(), &detail);
        Ok(Self { detail, evidence })
    }

    fn summary(&self) -> RolloutSummary {
        self.detail.summary.clone().unwrap_or_default()
    }
}

/// Answers a question, the worst first; nothing where nothing waits.
pub async fn ask(admin: &mut Admin, question: &Question) -> Result<Vec<Said>, Error> {
    let mut said = match question {
        Question::All => everything(admin).await?,
        Question::Node(name) => about_node(admin, name).await?,
        Question::Rollout(which) => {
            let known = Known::of(admin, which).await?;
            if let Ok(plan) = &known.evidence.plan {
                rollouts::check_named(which, plan)?;
            }
            let mut said = rollout::said(&known);
            said.extend(drains_now(admin, &[&known]).await?);
            said
        }
        Question::Pod(name) => about_pod(admin, name).await?,
    };
    said.sort();
    said.dedup();
    Ok(said)
}

/// What a word means that somebody typed: a pod by its slash, a node by its name, else a rollout.
pub async fn understand(admin: &mut Admin, word: &str) -> Result<Question, Error> {
    if word.contains('/') {
        return PodName::new(word).map(Question::Pod).map_err(|e| Error::Usage(e.to_string()));
    }
    let listed = nodes::list(admin).await?;
    if let Some(found) = listed.iter().find(|node| node.name == word) {
        return NodeName::new(&found.name).map(Question::Node).map_err(|e| Error::Failed(e.to_string()));
    }
    let digits = word.strip_prefix("sha256:").unwrap_or(word);
    if word.parse::<u64>().is_ok() || (digits.len() >= 4 && digits.chars().all(|c| c.is_ascii_hexdigit())) {
        return Ok(Question::Rollout(word.to_owned()));
    }
    Err(Error::Failed(format!(
        "expected a node of the fleet, a rollout by its number or digest, or a pod as NAMESPACE/NAME, found {word:?}; \
         see `hostler nodes` and `hostler rollouts`"
    )))
}

async fn everything(admin: &mut Admin) -> Result<Vec<Said>, Error> {
    let mut said = Vec::new();
    for known in open(admin).await? {
        said.extend(rollout::said(&known));
    }
    said.extend(plan::settle(admin, now()).await?.iter().map(waits_for_signatures));
    let listed = nodes::list(admin).await?;
    said.extend(listed.iter().filter(|node| node.status() == v1::NodeStatus::Pending).map(node::waits_for_approval));
    for (name, state) in &plan::inventory(admin).await?.nodes {
        said.extend(node::said(name, state, false).into_iter().filter(|said| said.weight != Weight::Note));
    }
    Ok(said)
}

/// A plan that some signed and that waits for others.
fn waits_for_signatures(open: &OpenPlan) -> Said {
    let (seq, by) = (open.plan.seq, open.signed_by.join(", "));
    Said {
        weight: Weight::NeedsPerson,
        about: plan_name(seq),
        sentence: format!(
            "{:?} is signed by {by} and waits for more signatures; `hostler plan give-up {seq}` lets it go",
            open.title
        ),
        proof: Proof::Signed,
    }
}

/// The rollouts that are not over, and the newest plan where it was stopped: nobody signed anything since.
async fn open(admin: &mut Admin) -> Result<Vec<Known>, Error> {
    let listed = rollouts::list(admin).await?;
    let is_open = |(place, r): &(usize, RolloutSummary)| {
        let status = RolloutStatus::try_from(r.status()).ok();
        !status.is_some_and(RolloutStatus::is_over) || (*place == 0 && status == Some(RolloutStatus::Halted))
    };
    let mut known = Vec::new();
    for (_, r) in listed.into_iter().enumerate().filter(is_open) {
        known.push(Known::of(admin, &r.plan).await?);
    }
    Ok(known)
}

async fn about_node(admin: &mut Admin, name: &NodeName) -> Result<Vec<Said>, Error> {
    let detail = nodes::get(admin, name).await?;
    let mut said: Vec<Said> = detail.refusals.last().map(|refused| node::refused(name, refused)).into_iter().collect();
    if detail.summary.as_ref().is_some_and(|node| node.status() == v1::NodeStatus::Pending) {
        said.extend(detail.summary.as_ref().map(node::waits_for_approval));
    }
    let mut rollouts = open(admin).await?;
    let fresh = Fresh::of(admin, std::slice::from_ref(name)).await?;
    said.extend(fresh.not_shown());
    said.extend(fresh.about_node(name));
    if let Some(state) = plan::inventory(admin).await?.nodes.get(name) {
        said.extend(node::said(name, state, fresh.node(name).is_some()));
        said.extend(node::left_alone(name, state, now()));
        // The plan that keeps it out of service may be over.
        if let Some(hold) = &state.hold
            && !rollouts.iter().any(|known| known.summary().plan == hold.plan.to_string())
        {
            rollouts.push(Known::of(admin, &hold.plan.to_string()).await?);
        }
    }
    said.extend(rollouts.iter().flat_map(|known| rollout::of_node(known, name)));
    said.extend(rollouts.iter().flat_map(|known| fresh.about_drains(known)));
    Ok(said)
}

/// What holds the drains of these rollouts now, as servers read and sign it; nothing where none is to come.
async fn drains_now(admin: &mut Admin, rollouts: &[&Known]) -> Result<Vec<Said>, Error> {
    let nodes: BTreeSet<NodeName> =
        rollouts.iter().flat_map(|known| fresh::open_drains(known)).map(|(node, _)| node).collect();
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let fresh = Fresh::of(admin, &nodes.into_iter().collect::<Vec<_>>()).await?;
    let held = rollouts.iter().flat_map(|known| fresh.about_drains(known));
    Ok(fresh.not_shown().into_iter().chain(held).collect())
}

/// How many rollouts are looked through for a pod, the newest first: a receipt of long ago says little of a pod now.
const LOOKED_THROUGH: usize = 16;

async fn about_pod(admin: &mut Admin, name: &PodName) -> Result<Vec<Said>, Error> {
    let listed = nodes::list(admin).await?;
    let listed: Vec<NodeName> = listed.iter().filter_map(|node| NodeName::new(&node.name).ok()).collect();
    let fresh = Fresh::of(admin, &listed).await?;
    let mut said = told_of_pod(admin, name).await?;
    said.extend(fresh.about_pod(name));
    said.extend(fresh.not_shown());
    Ok(said)
}

/// What the newest rollout that speaks of it says.
async fn told_of_pod(admin: &mut Admin, name: &PodName) -> Result<Vec<Said>, Error> {
    let mut looked = 0;
    for listed in rollouts::list(admin).await? {
        let drains = match listed.kind() {
            v1::PlanKind::Drain
            | v1::PlanKind::Dead
            | v1::PlanKind::Reboot
            | v1::PlanKind::Upgrade
            | v1::PlanKind::Remove => true,
            v1::PlanKind::Unspecified
            | v1::PlanKind::Check
            | v1::PlanKind::Bootstrap
            | v1::PlanKind::Join
            | v1::PlanKind::Uncordon
            | v1::PlanKind::Baseline
            | v1::PlanKind::Replace
            | v1::PlanKind::Inspect
            | v1::PlanKind::Snapshot
            | v1::PlanKind::Restore
            | v1::PlanKind::Configure
            | v1::PlanKind::Update
            | v1::PlanKind::Stop => false,
        };
        if !drains || looked == LOOKED_THROUGH {
            continue;
        }
        looked += 1;
        let said = pod::said(&Known::of(admin, &listed.plan).await?, name);
        // What the newest says is how it is.
        if !said.is_empty() {
            return Ok(said);
        }
    }
    Ok(Vec::new())
}

fn plan_name(seq: Seq) -> String {
    format!("plan {seq}")
}
