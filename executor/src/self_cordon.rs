//! The cordon that a node gives itself while a required rule of its own health is critical.
//!
//! An admin allows it in the root's policy; the node judges its own facts, with the usual thresholds, so that nobody in
//! between can lie about them. The truth is the note at the node in the cluster. On the disk there is only a mark that
//! a self cordon may stand, so that a policy that was switched off while the agent was down is still followed.

use std::time::{Duration, Instant};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{
    health::{CordonAction, Decided, Desired, HealthEvaluator, Present, Remembered, Rule, Thresholds, desired},
    id::{MachineId, NodeName},
    sequencer::CordonOwner,
    timestamp::Timestamp,
};

use crate::{
    context::NodeContext,
    disk::Disk,
    host::{Cluster, ClusterError, CordonAnswer, Host, Node},
};

/// How often facts are judged while the policy is on, as often as they are reported.
pub(crate) const EVALUATE_EVERY: Duration = Duration::from_secs(10);

/// A judge that did not look for this long begins anew: a task ran.
const BREAK_MS: u64 = 300_000;

/// Judgements between two tries to reach the API server: doubled from 1 up to this, ten minutes.
const MAX_PAUSE: u32 = 60;

/// Judgements between two looks at a node that somebody else has cordoned: a minute.
const OTHER_PAUSE: u32 = 6;

/// Tries in one round while the node object keeps changing, which it does with every heartbeat.
const ATTEMPTS: u32 = 5;

/// The mark on the disk.
const MARK: &str = "own-cordon";

/// What the judge must not forget over a restart: disks that were bad and cannot be seen any more.
const MEMORY: &str = "health-memory";
/// Far above what a server with hundreds of disks leaves.
const MAX_MEMORY_BYTES: u64 = 256 << 10;
/// It is written when something in it is new, and that often so that its times do not grow old.
const MEMORY_EVERY_MS: u64 = 3_600_000;
/// Where the judge's clock begins: far enough from 0 for what was remembered days ago.
const EPOCH_MS: u64 = 1 << 40;

/// What the executor keeps about it.
#[derive(Debug, Default)]
pub(crate) struct SelfCordonReconciler {
    evaluator: Option<Evaluator>,
    /// The desired state that the cluster was seen to fulfil: nothing is asked while it stays. True is a cordon.
    settled: Option<bool>,
    /// Whether a self cordon may stand, now or from an earlier process.
    may_stand: bool,
    next: Option<Instant>,
    /// When the first look was. Holds are counted from there, because the machine's clock may step.
    began: Option<Instant>,
    /// Judgements to let pass before the cluster is asked again, and how many the time after.
    pause: u32,
    next_pause: u32,
    /// What was said last, so that it is said once.
    said: SayOnce,
}

#[derive(Debug)]
struct Evaluator {
    health: HealthEvaluator,
    since: u64,
    last: u64,
    /// What was written last, and when.
    kept: (u64, Remembered),
}

/// What people decided about this node, on a clock that the date is so many milliseconds ahead of; there where an admin
/// allows a self cordon.
type DecidedOn<'a> = &'a dyn Fn(i64) -> Decided;

/// What a round with the cluster led to.
#[derive(Debug)]
enum Round {
    /// Nothing more is to be done until the desired state changes.
    Settled,
    /// It is not to be decided now: look again later.
    Wait,
}

impl SelfCordonReconciler {
    /// After a start, whatever stands at the node is looked at once where a self cordon may stand.
    pub(crate) fn open(disk: &Disk) -> Self {
        // A mark that cannot be read counts as one: a look too many does no harm.
        let may_stand = !matches!(disk.read(MARK, 4096), Ok(None));
        Self { may_stand, ..Self::default() }
    }

    /// Whether there is something to look at every [`EVALUATE_EVERY`]. Where no admin allowed it there is not.
    pub(crate) fn is_awake(&self) -> bool {
        self.evaluator.is_some() || self.may_stand
    }

    /// Looks at the facts and at the node, if it is time. Never an error: the node's work goes on without it.
    pub(crate) fn reconcile(&mut self, context: &NodeContext, host: &dyn Host) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + EVALUATE_EVERY);
        let steady = now.duration_since(*self.began.get_or_insert(now));
        self.reconcile_at(u64::try_from(steady.as_millis()).unwrap_or(u64::MAX), context, host);
    }

    /// The same at that many milliseconds of a clock that does not step.
    fn reconcile_at(&mut self, now: u64, context: &NodeContext, host: &dyn Host) {
        let policy = context.state.root().root().policy.cordon_when_critical;
        if policy || self.may_stand {
            // What is over by any clock of this node is over: that it ends is the safe side.
            let time = context.state.time(context.clock()).max(host.now());
            let decided = |ahead: i64| {
                let at = |date: Timestamp| date.unix_milliseconds().saturating_add_signed(-ahead);
                context.state.decisions().for_health(time, at)
            };
            self.round(now, policy.then_some(&decided), &context.disk, &context.me.node, host);
        } else {
            // A policy that is switched on is followed at once.
            (self.evaluator, self.next) = (None, None);
        }
    }

    /// One judgement and what follows from it.
    fn round(&mut self, now: u64, policy: Option<DecidedOn<'_>>, disk: &Disk, name: &NodeName, host: &dyn Host) {
        let desired = self.evaluate(now, policy, disk, host);
        let wanted = match &desired {
            Desired::Cordon(..) => true,
            Desired::Free(_) => false,
            Desired::Leave => return,
        };
        if self.settled == Some(wanted) {
            return;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        match self.apply(&desired, disk, name, host) {
            Ok(Round::Settled) => {
                self.settled = Some(wanted);
                self.said.forget();
                self.next_pause = 0;
                if !wanted {
                    self.unmark(disk);
                }
            }
            Ok(Round::Wait) => self.pause = OTHER_PAUSE,
            Err(why) => {
                self.next_pause = (self.next_pause * 2).clamp(1, MAX_PAUSE);
                self.pause = self.next_pause;
                let what = if wanted { "cannot cordon itself" } else { "cannot take its own cordon back" };
                self.say(name, format!("{name} {what}: {why}; it is tried again"));
            }
        }
    }

    fn evaluate(&mut self, now: u64, policy: Option<DecidedOn<'_>>, disk: &Disk, host: &dyn Host) -> Desired {
        let Some(decided) = policy else {
            self.evaluator = None;
            return desired(false, 0, &[]);
        };
        let now = EPOCH_MS + now;
        let date = host.now();
        let reading = host.read_facts(date);
        // How far the date is ahead of this process's clock.
        let ahead = date.unix_milliseconds().wrapping_sub(now).cast_signed();
        let unbroken = |j: &Evaluator| now.saturating_sub(j.last) <= BREAK_MS;
        if !self.evaluator.as_ref().is_some_and(unbroken) {
            let mut health = HealthEvaluator::new(Thresholds::default());
            let recalled = recall(disk).moved(-ahead);
            health.remember(recalled.clone());
            self.evaluator = Some(Evaluator { health, since: now, last: now, kept: (now, recalled) });
        }
        let Some(evaluator) = &mut self.evaluator else { return Desired::Leave };
        evaluator.last = now;
        evaluator.health.set_decided(decided(ahead));
        let desired = desired(true, now.saturating_sub(evaluator.since), evaluator.health.observe(now, &reading));
        let remembered = evaluator.health.remembered();
        let (at, kept) = &evaluator.kept;
        let old = now.saturating_sub(*at) >= MEMORY_EVERY_MS && *remembered != Remembered::default();
        if old || !kept.is_like(remembered) {
            keep(disk, &remembered.moved(ahead));
            evaluator.kept = (now, remembered.clone());
        }
        desired
    }

    /// Brings the node to what is desired, if that is its own business.
    fn apply(&mut self, desired: &Desired, disk: &Disk, name: &NodeName, host: &dyn Host) -> Result<Round, String> {
        let cluster = host.own_cluster().ok_or(
            "this machine has neither an administrator's nor a kubelet's credentials for an API server".to_owned(),
        )?;
        for _ in 0..ATTEMPTS {
            let node = own_node(name, cluster, host)?;
            let present = present(&node);
            let answer = match desired.action(present, node.self_cordon.as_ref().map(|own| own.rule)) {
                CordonAction::Wait => return Ok(Round::Wait),
                CordonAction::Nothing => return Ok(Round::Settled),
                CordonAction::Cordon(rule, reason) => {
                    self.mark(disk, &reason);
                    set(cluster, &node, rule, reason, host.now())
                }
                CordonAction::Uncordon => take_back(cluster, &node, false),
                CordonAction::LeaveToPlan => take_back(cluster, &node, true),
            };
            match answer.map_err(|e| e.to_string())? {
                CordonAnswer::Done => return Ok(Round::Settled),
                CordonAnswer::Gone => return Err(format!("the cluster has no node {name} any more")),
                CordonAnswer::Changed => {}
            }
        }
        Err("the node object keeps changing".to_owned())
    }

    /// Written before the cordon. A disk that is full is a reason to cordon and none to leave it.
    fn mark(&mut self, disk: &Disk, reason: &str) {
        self.may_stand = true;
        if let Err(error) = disk.replace(MARK, reason.as_bytes()) {
            tracing::warn!("{error}; the cordon is set all the same");
        }
    }

    fn unmark(&mut self, disk: &Disk) {
        if self.may_stand {
            // One that cannot be removed costs a look at the next start.
            self.may_stand = disk.remove(MARK).is_err();
        }
    }

    fn say(&mut self, name: &NodeName, text: String) {
        if self.said.is_news(&text) {
            tracing::warn!(NODE = %name, "{text}");
        }
    }
}

/// The Node object of this machine: the one of its name, and where that is another machine's or there is none, the one
/// on this machine. A kubelet's credentials show its own alone, and change no other one.
fn own_node(name: &NodeName, cluster: &dyn Cluster, host: &dyn Host) -> Result<Node, String> {
    let named = cluster.node(name.as_str()).map_err(|e| e.to_string())?;
    let id = host.hardware().ok().and_then(|hardware| MachineId::new(hardware.machine_id).ok());
    let is_other = |node: &Node| id.as_ref().is_some_and(|id| node.machine_id != id.as_str());
    let mut here = Vec::new();
    if named.as_ref().is_none_or(|node| MachineId::new(&*node.machine_id).is_ok() && is_other(node)) {
        here = cluster.nodes().unwrap_or_default();
        here.retain(|node| id.is_some() && !is_other(node));
    }
    match (here.len(), here.pop(), named) {
        (2.., ..) => Err("several nodes of the cluster have its machine id, as copied disks do".to_owned()),
        (_, Some(node), _) => Ok(node.into_inner()),
        (_, None, Some(node)) => Ok(node),
        (_, None, None) => Err(format!("the cluster has no node {name}")),
    }
}

/// What an earlier judge remembered, by the date. What cannot be read is nothing.
fn recall(disk: &Disk) -> Remembered {
    let bytes = disk.read(MEMORY, MAX_MEMORY_BYTES).ok().flatten().unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// A disk that is full costs the memory and not the judgement.
fn keep(disk: &Disk, remembered: &Remembered) {
    let written = serde_json::to_vec(remembered).map(|bytes| disk.replace(MEMORY, &bytes));
    if let Ok(Err(error)) = written {
        tracing::debug!("{error}; what the judge remembers ends with this process");
    }
}

fn set(
    cluster: &dyn Cluster,
    node: &Node,
    rule: Rule,
    reason: String,
    at: Timestamp,
) -> Result<CordonAnswer, ClusterError> {
    let note = crate::host::SelfCordon { rule, reason, since: at.whole_seconds(), was_unschedulable: false };
    let answer = cluster.cordon_itself(node, &note)?;
    if answer == CordonAnswer::Done {
        tracing::warn!(NODE = %node.name, RULE = rule.name(), "{} cordoned itself: {}", node.name, note.reason);
    }
    Ok(answer)
}

fn take_back(cluster: &dyn Cluster, node: &Node, stays: bool) -> Result<CordonAnswer, ClusterError> {
    let answer = cluster.uncordon_itself(node, stays)?;
    if answer == CordonAnswer::Done {
        let left = if stays { "; it stays cordoned by a plan" } else { "" };
        tracing::info!(NODE = %node.name, "{} took its own cordon back{left}", node.name);
    }
    Ok(answer)
}

fn present(node: &Node) -> Present {
    let own = node.self_cordon.is_some();
    match node.cordoned_by() {
        None if own => Present::OwnUndone,
        None => Present::Free,
        Some(CordonOwner::Node) => Present::Own,
        Some(CordonOwner::Hostler) if own => Present::OwnAndPlan,
        // A note of its own beside somebody else's cordon is left from before that.
        Some(CordonOwner::Hostler | CordonOwner::Other(_)) => Present::Other,
    }
}

#[cfg(test)]
mod tests;
