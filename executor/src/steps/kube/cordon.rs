//! `kube.cordon`. A cordon carries its owner; nobody else's is undone.

use std::time::Duration;

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{document::Outcome, drain::is_leaving, sequencer::CordonOwner, step::Cordon, timestamp::Timestamp};

use super::subject::{ATTEMPTS, PATIENCE, change, subject};
use crate::{
    control::POLL,
    host::{Cluster, ClusterError, CordonAnswer, CordonNote, Node, NodeReady, Pod, PodScope},
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
            was_unschedulable: false,
        };
        change(context, |node, context| match node.cordoned_by() {
            None | Some(CordonOwner::Node) => Ok(Some(context.cluster()?.cordon(node, &note))),
            Some(CordonOwner::Hostler | CordonOwner::Other(_)) => Ok(None),
        })
    }

    /// Takes this plan's own cordon back after a task that did not succeed, once the last pod that is leaving has left.
    /// A node that is silent stays cordoned: nothing should be sent there.
    fn undo(&self, outcome: &Outcome, context: &mut StepContext<'_>) -> Undone {
        let subject = context.subject().to_owned();
        let stays = |why: &str| Undone::Said(format!("{subject} stays cordoned{why}"));
        if matches!(outcome, Outcome::Unreachable { .. }) {
            return stays("");
        }
        let plan = context.plan.digest().to_string();
        let mut said = SayOnce::default();
        let (mut changes, mut answered) = (0, context.now());
        while changes < ATTEMPTS {
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
            let is_ours = node.cordon.as_ref().is_some_and(|c| c.plan == plan);
            match node.cordoned_by() {
                // Whoever uncordoned it left our note behind.
                None if is_ours => {}
                None => return Undone::Nothing,
                Some(CordonOwner::Node) => return stays(" by itself"),
                Some(CordonOwner::Other(who)) => return stays(&format!(" by {who}")),
                Some(CordonOwner::Hostler) if !is_ours => return stays(" by an earlier plan"),
                Some(CordonOwner::Hostler) if matches!(node.ready, NodeReady::Unknown { .. }) => {
                    return stays(": it is silent");
                }
                Some(CordonOwner::Hostler) => {
                    if let Some(sentence) = leaving {
                        if said.is_news(&sentence) {
                            context.say(sentence);
                        }
                        if !context.node.control.pause_though_stopped(POLL) {
                            return Undone::Ending;
                        }
                        continue;
                    }
                }
            }
            match cluster.uncordon(&node) {
                Ok(CordonAnswer::Done) if node.self_cordon.is_some() => return stays(" by itself"),
                Ok(CordonAnswer::Done) if !node.unschedulable => return Undone::Nothing,
                Ok(CordonAnswer::Done) => return Undone::Said(format!("{subject} is schedulable again")),
                Ok(CordonAnswer::Gone) => return Undone::Nothing,
                Ok(CordonAnswer::Changed) | Err(ClusterError::Silent(_)) => changes += 1,
                Err(error) => return stays(&format!(": {error}")),
            }
        }
        stays(": it kept changing")
    }
}

/// The node, and while pods are leaving it that may still stop in time, a sentence about the slowest.
fn look(cluster: &dyn Cluster, name: &str, now: Timestamp) -> Result<Option<(Node, Option<String>)>, ClusterError> {
    let Some(node) = cluster.node(name)? else { return Ok(None) };
    let pods = cluster.pods(PodScope::OnNode(name))?;
    let ends = |pod: &Pod| pod.deletion.filter(|_| is_leaving(pod)).map(|deletion| deletion.ends);
    let leaving = pods.iter().filter_map(|pod| Some((pod, ends(pod)?)));
    let slowest = leaving.filter(|(_, ends)| now < ends.plus(OVERDUE)).max_by_key(|(_, ends)| *ends);
    let waits = |(pod, ends): (&Pod, Timestamp)| {
        format!("{name} stays cordoned until {} has stopped; its grace ends at {ends}", pod.key)
    };
    Ok(Some((node, slowest.map(waits))))
}
