//! `kube.cordon`. A cordon carries its owner; nobody else's is undone.

use std::time::Duration;

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{
    document::{DocumentKind, Outcome},
    drain::{is_leaving, stopping},
    id::{Digest, NodeName},
    sequencer::CordonOwner,
    step::Cordon,
    timestamp::Timestamp,
    trust::{Continued, SignedBy},
};

use super::subject::{ATTEMPTS, PATIENCE, change, is_meant, subject};
use crate::{
    control::POLL,
    host::{Awaited, Cluster, ClusterError, CordonAnswer, CordonNote, Node, NodeReady, Pod, PodScope},
    steps::action::{Action, Check, StepContext, StepError, Undone},
};

/// How long a pod is waited for whose grace is over: the kubelet takes seconds to report that it is gone.
const OVERDUE: Duration = Duration::from_secs(120);

impl Action for Cordon {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let node = subject(context)?;
        Ok(match node.cordoned_by() {
            // Beside its self cordon, so that it stays out of service when the node is well again.
            None | Some(CordonOwner::Node) => Check::Ready,
            Some(CordonOwner::Hostler) if passes_on(&node, context) => Check::Ready,
            Some(CordonOwner::Hostler) => Check::Done(format!("{} is cordoned", node.name)),
            Some(CordonOwner::Other(who)) => {
                Check::Done(format!("{} was cordoned by {who} before and stays theirs", node.name))
            }
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let document = context.plan.document();
        let note = CordonNote {
            plan: context.plan.digest().to_string(),
            reason: self.reason.to_string(),
            epoch: document.epoch.0,
            seq: Some(document.seq),
            signed_by: signers(context),
            since: Some(context.now()),
            until: Some(document.expires),
            was_unschedulable: false,
            awaits: None,
            adopted: None,
            released_to: None,
        };
        change(context, |node, context| match node.cordoned_by() {
            None | Some(CordonOwner::Node) => Ok(Some(context.cluster()?.cordon(node, &note))),
            // Its note changes its owner in one write: the node is not schedulable in between.
            Some(CordonOwner::Hostler) if passes_on(node, context) => {
                // One that was somebody else's once is known by that.
                let adopted = node.cordon.as_ref().and_then(|before| before.adopted.clone());
                Ok(Some(context.cluster()?.cordon(node, &CordonNote { adopted, ..note.clone() })))
            }
            Some(CordonOwner::Hostler | CordonOwner::Other(_)) => Ok(None),
        })
    }

    /// Takes this plan's own cordon back after a task that did not succeed, once the last pod that is leaving has left.
    /// A node that is silent stays cordoned: nothing should be sent there. Where another plan goes on with this one,
    /// the cordon passes to that one instead.
    fn undo(&self, outcome: &Outcome, context: &mut StepContext<'_>) -> Undone {
        let subject = context.subject().to_string();
        let stays = |why: &str| Undone::Said(format!("{subject} stays cordoned{why}"));
        let mut said = SayOnce::default();
        let (mut changes, mut answered) = (0, context.now());
        while changes < ATTEMPTS {
            // A plan that goes on with this one may have arrived.
            if let Err(error) = context.node.take_in_documents() {
                return stays(&format!(": {error}"));
            }
            let Ok(cluster) = context.cluster() else { return Undone::Nothing };
            let now = context.now();
            let (node, leaving) = match look(cluster, &subject, now) {
                Ok(Some(found)) => found,
                Ok(None) => return Undone::Nothing,
                Err(ClusterError::Silent(_)) if now.since(answered) < PATIENCE => {
                    if !context.node.control.pause_though_stopped(POLL) {
                        return Undone::Ending;
                    }
                    continue;
                }
                Err(error) => return stays(&format!(": {error}")),
            };
            answered = now;
            if let Err(StepError::Void(refused)) = is_meant(&node, context) {
                return stays(&format!(": {}", refused.reason));
            }
            let next = context.node.state.continued(&context.plan.digest(), &context.task.subject, now);
            let asks = context.task.asks_after(outcome);
            let end = End::of(&node, &context.task.subject, (outcome, asks), next, leaving, &context.plan.digest());
            let answer = match end {
                End::Nothing => return Undone::Nothing,
                End::Stays(why) => return stays(&why),
                End::Waits(sentence) => {
                    if said.is_news(&sentence) {
                        context.say(sentence);
                    }
                    if !context.node.control.pause_though_stopped(POLL) {
                        return Undone::Ending;
                    }
                    continue;
                }
                End::PassesOn(note) => cluster.cordon(&node, &note),
                End::Uncordons => cluster.uncordon(&node),
            };
            match (answer, next) {
                (Ok(CordonAnswer::Done), Some(next)) if node.unschedulable => {
                    return stays(&format!(": plan {} goes on with it", next.by.seq));
                }
                (Ok(CordonAnswer::Done), _) if node.self_cordon.is_some() => return stays(" by itself"),
                (Ok(CordonAnswer::Done), _) if !node.unschedulable => return Undone::Nothing,
                (Ok(CordonAnswer::Done), _) => return Undone::Said(format!("{subject} is schedulable again")),
                (Ok(CordonAnswer::Gone), _) => return Undone::Nothing,
                (Ok(CordonAnswer::Changed) | Err(ClusterError::Silent(_)), _) => changes += 1,
                (Err(error), _) => return stays(&format!(": {error}")),
            }
        }
        stays(": it kept changing")
    }
}

/// What the end of a plan does about its cordon.
enum End {
    Nothing,
    /// It stays, and why.
    Stays(String),
    /// Not yet: pods are leaving.
    Waits(String),
    /// The plan that goes on has it now.
    PassesOn(CordonNote),
    Uncordons,
}

impl End {
    /// `name` is the fleet's. `asks`: a person is to decide. `next` goes on with the plan whose cordon may be on the
    /// node; `leaving` speaks of a pod that leaves it.
    fn of(
        node: &Node,
        name: &NodeName,
        (outcome, asks): (&Outcome, bool),
        next: Option<&Continued>,
        leaving: Option<String>,
        plan: &Digest,
    ) -> Self {
        let own = node.cordon.as_ref().filter(|note| note.plan == plan.to_string());
        match (node.cordoned_by(), own, next) {
            // Whoever uncordoned it left our note behind.
            (None, Some(_), _) => End::Uncordons,
            (None, None, _) => End::Nothing,
            (Some(CordonOwner::Node), ..) => End::Stays(" by itself".into()),
            (Some(CordonOwner::Other(who)), ..) => End::Stays(format!(" by {who}")),
            (Some(CordonOwner::Hostler), None, _) => End::Stays(" by another plan".into()),
            (Some(CordonOwner::Hostler), Some(note), Some(next)) => End::PassesOn(CordonNote {
                plan: next.by.digest.to_string(),
                seq: Some(next.by.seq),
                awaits: Some(Awaited { seq: next.by.seq, until: next.expires }),
                ..note.clone()
            }),
            (Some(CordonOwner::Hostler), ..) if asks => End::Stays(format!(
                " until a person decides: `hostler drain {name} --continue` goes on, `hostler uncordon {name}` puts \
                 it back"
            )),
            (Some(CordonOwner::Hostler), ..) if matches!(outcome, Outcome::Unreachable { .. }) => {
                End::Stays(String::new())
            }
            (Some(CordonOwner::Hostler), ..) if matches!(node.ready, NodeReady::Unknown { .. }) => {
                End::Stays(": it is silent".into())
            }
            (Some(CordonOwner::Hostler), ..) => leaving.map_or(End::Uncordons, End::Waits),
        }
    }
}

/// Who signed the plan, as this node's root names them.
pub(super) fn signers(context: &StepContext<'_>) -> Vec<String> {
    let keys = SignedBy::of(DocumentKind::Plan, context.plan.signed());
    let keys = keys.as_ref().map(SignedBy::keys).ok();
    let signers = context.node.state.root().root().signers.iter();
    signers.filter(|s| keys.is_some_and(|keys| keys.contains(&s.key.fingerprint()))).map(|s| s.name.clone()).collect()
}

/// Whether the cordon that is on the node is this plan's to take over: of the plan that it continues, of one that this
/// was to go on with, or passed on by one of them.
fn passes_on(node: &Node, context: &StepContext<'_>) -> bool {
    let Some(note) = &node.cordon else { return false };
    let this = context.plan.digest();
    if note.plan == this.to_string() {
        return note.awaits.is_some();
    }
    let continues = |plan: &Digest| {
        let next = context.node.state.continued(plan, &context.task.subject, context.now());
        next.is_some_and(|next| next.by.digest == this)
    };
    let is_continued = context.plan.document().continues.is_some_and(|plan| plan.to_string() == note.plan);
    is_continued || note.plan.parse().is_ok_and(|plan| continues(&plan))
}

/// The node, and while pods are leaving it that may still stop in time, a sentence about the slowest.
fn look(cluster: &dyn Cluster, name: &str, now: Timestamp) -> Result<Option<(Node, Option<String>)>, ClusterError> {
    let Some(node) = cluster.node(name)? else { return Ok(None) };
    let pods = cluster.pods(PodScope::OnNode(name))?;
    let ends = |pod: &Pod| pod.deletion.filter(|_| is_leaving(pod)).map(|deletion| deletion.ends);
    let leaving = pods.iter().filter_map(|pod| Some((pod.as_ref(), ends(pod)?)));
    let slowest = leaving.filter(|(_, ends)| now < ends.plus(OVERDUE)).max_by_key(|(_, ends)| *ends);
    let waits = |(pod, _): (&Pod, Timestamp)| {
        format!("{name} stays cordoned until {} has stopped: it {}", pod.key, stopping(pod, now))
    };
    Ok(Some((node, slowest.map(waits))))
}
