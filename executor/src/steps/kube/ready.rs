//! `kube.await_ready`: Ready for a while without a break, at the right version and, after a reboot, in the new boot.

use std::time::Duration;

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{step::AwaitReady, timestamp::Timestamp, trust, version::Version};

use super::subject::is_meant;
use crate::{
    control::span,
    host::{ClusterError, Node, NodeReady, Shared},
    steps::{
        action::{Action, Check, StepContext, StepError},
        host::reboot::BOOT_ID,
    },
};

/// How often the node is looked at: what follows in the plan waits for it.
const LOOK: Duration = Duration::from_secs(1);

/// A node that has been Ready at another version for so long beyond the soak did not upgrade.
const WRONG_VERSION: Duration = Duration::from_secs(30);

impl Action for AwaitReady {
    fn check(&self, _: &mut StepContext<'_>) -> Result<Check, StepError> {
        Ok(Check::Ready)
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let (soak, limit) = (Duration::from_secs(self.for_seconds), Duration::from_secs(self.timeout_seconds));
        await_ready(self.version, soak, limit, context)
    }
}

fn await_ready(
    version: Option<Version>,
    soak: Duration,
    limit: Duration,
    context: &mut StepContext<'_>,
) -> Result<String, StepError> {
    let began = context.began();
    let subject = context.subject().to_string();
    let rebooted_to = rebooted_to(context);
    let mut ready_since: Option<Timestamp> = None;
    let mut wrong_since: Option<Timestamp> = None;
    let mut said = SayOnce::default();
    loop {
        let mut pause = LOOK;
        let found = find(&subject, context)?;
        let now = context.now();
        let state = evaluate(&found, version, rebooted_to.as_deref());
        match &state {
            State::Good(running) => {
                wrong_since = None;
                let since = *ready_since.get_or_insert(now);
                if now.since(since) >= soak {
                    let sentence = format!("{subject} has been Ready for {} at {running}", span(since, now));
                    observe(&found, running, context);
                    return Ok(sentence);
                }
                pause = pause.min(soak.saturating_sub(now.since(since)));
            }
            State::WrongVersion(running) => {
                ready_since = None;
                let since = *wrong_since.get_or_insert(now);
                if now.since(since) >= soak + WRONG_VERSION {
                    return Err(StepError::Failed(format!(
                        "{subject} came back on another version: expected {}, found {running}",
                        version.map_or_else(String::new, |v| v.to_string())
                    )));
                }
            }
            State::Waiting(_) | State::Silent(_) => (ready_since, wrong_since) = (None, None),
        }
        let sentence = state.sentence(&subject, soak);
        if now.since(began) >= limit {
            let text = format!("{sentence}, after {}", span(began, now));
            return Err(match state {
                State::Silent(_) => StepError::Unreachable(text),
                State::Good(_) | State::WrongVersion(_) | State::Waiting(_) => StepError::TimedOut(text),
            });
        }
        if said.is_news(&sentence) {
            context.say(format!("waits: {sentence}"));
        }
        context.pause_while_wanted(pause)?;
    }
}

enum State {
    Good(String),
    WrongVersion(String),
    Waiting(String),
    /// The kubelet does not report.
    Silent(Timestamp),
}

impl State {
    fn sentence(&self, subject: &str, soak: Duration) -> String {
        match self {
            State::Good(version) => {
                format!("{subject} is Ready at {version} and must stay so for {} s", soak.as_secs())
            }
            State::WrongVersion(version) => format!("{subject} is Ready, but still at {version}"),
            State::Waiting(why) => why.clone(),
            State::Silent(since) => format!("{subject} has been silent since {since}; check its power and network"),
        }
    }
}

/// The boot that the subject's own receipt of its reboot names, where this task relies on one. The API server shows a
/// machine that went down as Ready for some time yet.
fn rebooted_to(context: &StepContext<'_>) -> Option<String> {
    let plan = context.plan.digest();
    context
        .receipts()
        .iter()
        .filter_map(|stored| trust::receipt(&context.roster, &stored.0).ok())
        .filter(|r| r.document().plan == plan && r.document().node == context.task.subject)
        .find_map(|r| r.document().observation(BOOT_ID).map(str::to_owned))
}

fn evaluate(found: &Result<Option<Node>, String>, version: Option<Version>, rebooted_to: Option<&str>) -> State {
    match found {
        Err(silent) => State::Waiting(silent.clone()),
        Ok(None) => State::Waiting("the node has not registered with the cluster yet".into()),
        Ok(Some(node)) => match node.ready {
            NodeReady::Unknown { since } => State::Silent(since),
            NodeReady::NotReady => State::Waiting(format!("{} is not Ready", node.name)),
            NodeReady::Ready if rebooted_to.is_some_and(|boot| boot != node.boot_id) => State::Waiting(format!(
                "the API server still shows {} as it was before its reboot: expected boot id {}, found {}",
                node.name,
                rebooted_to.unwrap_or_default(),
                node.boot_id
            )),
            NodeReady::Ready if version.is_none_or(|v| v.to_string() == node.version) => {
                State::Good(node.version.clone())
            }
            NodeReady::Ready => State::WrongVersion(node.version.clone()),
        },
    }
}

/// The node; a silent API server is a reason to wait, everything else is an error.
fn find(subject: &str, context: &StepContext<'_>) -> Result<Result<Option<Node>, String>, StepError> {
    let Ok(cluster) = context.cluster() else {
        return Ok(Err("this node has no credentials for an API server yet".into()));
    };
    match cluster.nodes() {
        Ok(nodes) => {
            let node = nodes.into_iter().find(|n| n.name == subject).map(Shared::into_inner);
            node.iter().try_for_each(|node| is_meant(node, context))?;
            Ok(Ok(node))
        }
        Err(silent @ ClusterError::Silent(_)) => Ok(Err(silent.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn observe(found: &Result<Option<Node>, String>, running: &str, context: &mut StepContext<'_>) {
    context.observe("ready_version", running);
    if let Ok(Some(node)) = found {
        context.observe("ready_boot_id", node.boot_id.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hostler_plan::{
        document::{Outcome, PlanKind, Receipt},
        json,
        step::Step,
    };

    use super::*;
    use crate::{
        protocol::Request,
        testing::{self, Fleet, Machine, TestCluster, task},
    };

    /// What comes of waiting for s1, and how long it took, where somebody sets the clock meanwhile.
    fn wait_for_s1(ready: NodeReady, step_ms: i64) -> (Outcome, Duration) {
        let fleet = Fleet::new();
        let now = fleet.now.plus(Duration::from_secs(60));
        let machine = Arc::new(Machine::new(now).with_cluster(TestCluster::new(now, &["s1", "w1"])));
        machine.cluster.as_ref().unwrap().state().nodes[0].ready = ready;
        machine.inner().step_ms = step_ms;
        let wait = Step::AwaitReady(AwaitReady { version: None, for_seconds: 60, timeout_seconds: 600 });
        let tasks = vec![task("w1.work", "w1", "s1", &[], vec![wait])];
        let plan = fleet.plan(1, vec![], |p| (p.kind, p.tasks) = (PlanKind::Uncordon, tasks));
        let (executor, sender, status, _disk) = fleet.executor(&machine).unwrap();
        sender.offer(Request::Plan(plan.clone())).unwrap();
        sender.offer(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
        executor.run_until_idle().unwrap();
        let receipt: Receipt = json::parse(&status.content().receipts[0].bytes).unwrap();
        let waited = machine.inner().waited;
        (receipt.outcome, waited)
    }

    #[test]
    fn a_clock_that_is_set_meanwhile_makes_no_node_ready_for_long_and_ends_no_patience() {
        for days in [-365, -1, 0, 1, 365] {
            let (outcome, waited) = wait_for_s1(NodeReady::Ready, days * 86_400_000);
            assert!(outcome.is_success() && waited >= Duration::from_secs(60), "{days} days: {outcome}, {waited:?}");
            assert!(waited < Duration::from_secs(70), "{days} days: {waited:?}");
            let (outcome, waited) = wait_for_s1(NodeReady::NotReady, days * 86_400_000);
            assert!(matches!(outcome, Outcome::TimedOut { .. }), "{days} days: {outcome}");
            assert!((600..610).contains(&waited.as_secs()), "{days} days: {waited:?}");
        }
    }

    fn sentence(node: Node, version: &str, rebooted_to: Option<&str>) -> String {
        let version = Some(version.parse().unwrap());
        evaluate(&Ok(Some(node)), version, rebooted_to).sentence("w1", Duration::from_secs(60))
    }

    #[test]
    fn a_node_that_the_api_server_shows_in_its_old_boot_is_not_ready_yet() {
        let node = Node { version: "v1.34.3".into(), ..testing::node("w1") };
        let before = sentence(node.clone(), "v1.34.3", Some("b2"));
        assert!(before.contains("expected boot id b2, found b1"), "{before}");
        let after = sentence(Node { boot_id: "b2".into(), ..node.clone() }, "v1.34.3", Some("b2"));
        assert!(after.contains("is Ready at v1.34.3"), "{after}");
        assert!(sentence(node.clone(), "v1.34.3", None).contains("is Ready at v1.34.3"));
        assert!(sentence(node, "v1.34.4", Some("b1")).contains("still at v1.34.3"));
    }
}
