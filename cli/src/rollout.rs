//! Rollouts: what the coordinator says of them, what the signed documents prove, and how to stop one.

use std::time::Duration;

use hostler_plan::{
    document::{Decided, Plan, PlanRef, PodReport, Receipt},
    id::{Digest, NodeName, TaskId},
    refusal::{Refusal, Refused},
    sequencer::{RolloutAction, RolloutStatus},
    trust::{self, Purpose, Verified},
    version::Version,
};
use hostler_proto::{
    v1::{self, RolloutDetail, TaskStatus},
    watched::WatchedRollout,
};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::{Admin, decision, error::Error, trust_store::TrustStore};

/// A coordinator that restarts is back within seconds; one that is gone for this long needs a person.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(600);

/// The longest pause between two tries to reach the coordinator again.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What the signed documents say about a rollout, whatever the coordinator says.
#[derive(Debug)]
pub struct Evidence {
    /// The plan that was verified; or why it does not count.
    pub plan: Result<Verified<Plan>, Refused>,
    /// Tasks whose success a node signed.
    pub proved: Vec<TaskId>,
    /// Tasks that the coordinator calls succeeded without a receipt that proves it, and why.
    pub unproved: Vec<(String, String)>,
    /// The newest receipt of each task that has one, in the plan's order.
    pub receipts: Vec<Receipt>,
    /// Whether every receipt that arrived relies on those of the tasks before it, as the plan orders.
    pub order: Result<(), Refused>,
}

impl Evidence {
    /// What became of pods, by the task whose node signed it.
    pub fn pods(&self) -> impl Iterator<Item = (&TaskId, &[PodReport])> {
        self.receipts.iter().filter(|r| !r.pods.is_empty()).map(|r| (&r.task, r.pods.as_slice()))
    }
}

/// Every rollout, newest first.
pub async fn list(admin: &mut Admin) -> Result<Vec<v1::RolloutSummary>, Error> {
    let request = admin.with_session(v1::Empty {});
    let mut rollouts = admin.client().list_rollouts(request).await?.into_inner().rollouts;
    rollouts.sort_by_key(|r| std::cmp::Reverse((r.epoch, r.seq)));
    Ok(rollouts)
}

/// One rollout by its plan's number, digest or the beginning of the digest.
pub async fn get(admin: &mut Admin, rollout: &str) -> Result<RolloutDetail, Error> {
    let request = admin.with_session(v1::GetRolloutRequest { rollout: rollout.to_owned() });
    Ok(admin.client().get_rollout(request).await?.into_inner())
}

/// Verifies the plan and every receipt of a rollout.
pub fn verify(store: &TrustStore, detail: &RolloutDetail) -> Evidence {
    let plan = verify_plan(store, detail);
    let receipts: Vec<Verified<Receipt>> = store
        .roster()
        .map(|roster| detail.receipts.iter().filter_map(|r| trust::receipt(roster, &r.clone().into()).ok()).collect())
        .unwrap_or_default();
    let (mut proved, mut unproved, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for task in &detail.tasks {
        let newest = plan.as_ref().ok().and_then(|plan| {
            let id = TaskId::new(&task.id).ok()?;
            let node = &plan.document().task(&id)?.node;
            let about = |r: &&Verified<Receipt>| {
                let r = r.document();
                r.plan == plan.digest() && r.task == id && r.node == *node
            };
            receipts.iter().filter(about).max_by_key(|r| r.document().counter)
        });
        last.extend(newest.map(|receipt| receipt.document().clone()));
        if task.status() != TaskStatus::Succeeded {
            continue;
        }
        match newest.map(Verified::document).filter(|receipt| receipt.outcome.is_success()) {
            Some(receipt) => proved.push(receipt.task.clone()),
            None => unproved.push((task.id.clone(), "no receipt by a key of the roster says so".to_owned())),
        }
    }
    let order = plan.as_ref().map_or(Ok(()), |plan| trust::order_kept(plan, &receipts));
    Evidence { plan, proved, unproved, receipts: last, order }
}

/// Refuses a plan that whoever typed this did not mean: a coordinator can show another rollout than the one that was
/// asked for.
pub(crate) fn check_named(which: &str, plan: &Verified<Plan>) -> Result<(), Refused> {
    let shown = PlanRef { seq: plan.document().seq, digest: plan.digest() };
    if shown.is_named(which) {
        return Ok(());
    }
    let reason = format!(
        "expected the coordinator to show rollout {which}, found plan {} ({}); do not rely on what it says",
        shown.seq, shown.digest
    );
    Err(Refused::new(Refusal::DigestMismatch, reason))
}

/// What the end of the rollout that was asked for proves: how many tasks succeeded, each of its plan by its node's
/// receipt. A coordinator can show another rollout, leave tasks out, and say that it finished.
pub fn finished(store: &TrustStore, rollout: &str, detail: &RolloutDetail) -> Result<usize, Error> {
    let Evidence { plan, proved, unproved, receipts: _, order } = verify(store, detail);
    let plan = plan?;
    check_named(rollout, &plan)?;
    order?;
    let claim = |task: &str, why: &str| {
        let reason = format!(
            "the coordinator says that task {task} succeeded, but {why}; look at the node, and verify the ledger with \
             `hostler ledger verify`"
        );
        Err(Refused::new(Refusal::OrderNotMet, reason).into())
    };
    if let Some((task, why)) = unproved.first() {
        return claim(task, why);
    }
    ending(detail)?;
    match plan.document().tasks.iter().find(|task| !proved.contains(&task.id)) {
        Some(task) => claim(&task.id.to_string(), "it shows no receipt of it"),
        None => Ok(proved.len()),
    }
}

fn verify_plan(store: &TrustStore, detail: &RolloutDetail) -> Result<Verified<Plan>, Refused> {
    let roster = store
        .roster()
        .ok_or_else(|| Refused::new(Refusal::RootChain, "expected a roster to judge the plan with, found none"))?;
    let signed = detail.plan.clone().unwrap_or_default().into();
    let plan = trust::plan(store.trusted(), roster, &signed, Purpose::Begun)?;
    let said = detail.summary.as_ref().map(|s| s.plan.as_str()).unwrap_or_default();
    if plan.digest().to_string() == said {
        return Ok(plan);
    }
    Err(Refused::new(
        Refusal::DigestMismatch,
        format!("expected the coordinator to show plan {said}, found {}; do not rely on what it says", plan.digest()),
    ))
}

/// Pauses, resumes, halts or releases. What stops does so at once, and its signature follows; what goes on again needs
/// it.
pub async fn control(admin: &mut Admin, rollout: &str, action: &RolloutAction, reason: &str) -> Result<(), Error> {
    let detail = get(admin, rollout).await?;
    let plan = verify(admin.trust_store(), &detail).plan;
    if let Ok(plan) = &plan {
        check_named(rollout, plan)?;
    }
    let plan = plan.map(|plan| plan.digest());
    // Of a plan that does not count only what was typed is known.
    let which = plan.as_ref().map_or_else(|_| rollout.to_owned(), Digest::to_string);
    let stopped = match action {
        RolloutAction::Pause | RolloutAction::Halt => {
            let request = admin.with_session(v1::ControlRolloutRequest::new(which, action, reason));
            admin.client().control_rollout(request).await.map(|_| ())
        }
        RolloutAction::Resume | RolloutAction::Release(_) => Ok(()),
    };
    stopped?;
    let (plan, reason) = (plan?, reason.to_owned());
    let decided = match action {
        RolloutAction::Pause => Decided::Pause { plan, reason },
        RolloutAction::Halt => Decided::Halt { plan, reason },
        RolloutAction::Resume => Decided::Resume { plan },
        RolloutAction::Release(task) => {
            let held = detail.tasks.iter().find(|t| t.id == task.to_string()).map(|t| t.grant);
            let grant = held.filter(|grant| *grant > 0).ok_or_else(|| {
                Error::Failed(format!(
                    "expected a task of rollout {rollout} whose lease ran out, found {task} has none"
                ))
            })?;
            Decided::ReleaseLease { plan, task: task.clone(), grant }
        }
    };
    decision::decide(admin, decided).await.map(drop)
}

/// Lets plans try that version on that node again.
pub async fn release_quarantine(admin: &mut Admin, node: &NodeName, version: Version) -> Result<(), Error> {
    decision::decide(admin, Decided::ReleaseQuarantine { node: node.clone(), version }).await.map(drop)
}

/// Follows a rollout until it ends or needs a person, through restarts of the coordinator and lost connections. `see`
/// is called with every change. Gives the last that was seen; [`ending`] says what it means.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "tonic::Code is foreign; the codes after which a second try may do are named"
)]
pub async fn watch(
    admin: &mut Admin,
    rollout: &str,
    see: &mut dyn FnMut(&RolloutDetail) -> Result<(), Error>,
) -> Result<RolloutDetail, Error> {
    let mut named = Named { rollout, proved: None };
    loop {
        let request = admin.with_session(v1::GetRolloutRequest { rollout: rollout.to_owned() });
        let failed = match admin.client().watch_rollout(request).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                let mut watched = WatchedRollout::default();
                loop {
                    match stream.next().await {
                        Some(Ok(update)) => {
                            let detail = watched.merge(update)?;
                            named.check(admin.trust_store(), detail)?;
                            see(detail)?;
                            if stands_still(detail) {
                                return get(admin, rollout).await;
                            }
                        }
                        Some(Err(status)) => break status,
                        None => {
                            let detail = get(admin, rollout).await?;
                            named.check(admin.trust_store(), &detail)?;
                            if stands_still(&detail) {
                                see(&detail)?;
                                return Ok(detail);
                            }
                            break tonic::Status::unavailable("the stream ended");
                        }
                    }
                }
            }
            Err(status) => status,
        };
        match failed.code() {
            Code::Unavailable | Code::Unauthenticated | Code::Unknown | Code::Cancelled | Code::Internal => {
                reconnect(admin, failed).await?;
            }
            _ => return Err(failed.into()),
        }
    }
}

/// That what is shown is of the rollout that was asked for: each form of its plan is verified once.
struct Named<'a> {
    rollout: &'a str,
    proved: Option<Verified<Plan>>,
}

impl Named<'_> {
    fn check(&mut self, store: &TrustStore, detail: &RolloutDetail) -> Result<(), Refused> {
        let said = detail.summary.as_ref().map(|s| s.plan.as_str()).unwrap_or_default();
        let shown = detail.plan.as_ref().map(|plan| plan.content.as_slice());
        let is_proved =
            |plan: &Verified<Plan>| shown == Some(&plan.signed().bytes) && plan.digest().to_string() == said;
        if !self.proved.as_ref().is_some_and(is_proved) {
            let plan = verify_plan(store, detail)?;
            check_named(self.rollout, &plan)?;
            self.proved = Some(plan);
        }
        Ok(())
    }
}

/// Logs in again, patiently.
async fn reconnect(admin: &mut Admin, failed: tonic::Status) -> Result<(), Error> {
    let started = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(500);
    loop {
        match admin.reconnect().await {
            Ok(()) => return Ok(()),
            // The coordinator is there and says no: waiting does not help.
            Err(e @ (Error::Refused(_) | Error::Key(_))) => return Err(e),
            Err(_) if started.elapsed() > RECONNECT_PATIENCE => return Err(failed.into()),
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether nothing more happens by itself.
fn stands_still(detail: &RolloutDetail) -> bool {
    let status = detail.summary.as_ref().and_then(|s| RolloutStatus::try_from(s.status()).ok());
    status.is_some_and(RolloutStatus::stands_still)
}

/// What the end of a watch means: done, or stopped with the reason.
pub fn ending(detail: &RolloutDetail) -> Result<(), Error> {
    let summary = detail.summary.clone().unwrap_or_default();
    if summary.status() == v1::RolloutStatus::Finished {
        return Ok(());
    }
    let mut reasons: Vec<String> = Vec::new();
    // Several nodes often wait for the same reason.
    for said in std::iter::once(&summary.reason).chain(detail.waits.iter().map(|w| &w.sentence)) {
        if !said.is_empty() && !reasons.contains(said) {
            reasons.push(said.clone());
        }
    }
    if reasons.is_empty() {
        reasons.push("the coordinator gives no reason; see `hostler rollout show`".to_owned());
    }
    let status = summary.status();
    let drained_badly = [TaskStatus::Blocked, TaskStatus::TimedOut, TaskStatus::Unreachable, TaskStatus::TakenOver];
    let task = detail.tasks.iter().map(v1::TaskView::status).find(|status| drained_badly.contains(status));
    Err(Error::RolloutStopped { rollout: summary.seq.to_string(), status, task, reason: reasons.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_drain_ended_is_the_exit_code() {
        let stopped = |status: TaskStatus| {
            let task = v1::TaskView { status: status.into(), ..Default::default() };
            let summary = v1::RolloutSummary { status: v1::RolloutStatus::NeedsAttention.into(), ..Default::default() };
            let detail = RolloutDetail { summary: Some(summary), tasks: vec![task], ..Default::default() };
            ending(&detail).unwrap_err().exit_code()
        };
        let codes = [
            (TaskStatus::Failed, 3),
            (TaskStatus::Blocked, 5),
            (TaskStatus::TimedOut, 6),
            (TaskStatus::Unreachable, 7),
            (TaskStatus::TakenOver, 8),
        ];
        assert_eq!(codes.map(|(status, _)| stopped(status)), codes.map(|(_, code)| code));
    }
}
