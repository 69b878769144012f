//! The loop of a drain.

use std::time::Duration;

use hostler_plan::{
    document::{Blocker, Turn},
    drain::{Fate, Keeper, MAX_GOING, blockers, in_order, needs_consent, stopping},
    step::{self, Reaction},
    text::{and_more, count},
    timestamp::Timestamp,
};

use super::{
    evictions::AT_ONCE,
    preflight::{silent, view_now},
    remaining::Remaining,
    state::{Drain, Round, RoundError, moved, sentence_of},
    turns::{May, Turns},
};
use crate::{
    control::{POLL, span},
    host::{EvictionRequest, Node, NodeReady, Pod, PodKey},
    steps::action::{StepContext, StepError},
};

/// How often it is asked what others want of pods.
const REQUESTS: Duration = Duration::from_secs(10);
/// How often the budgets' arithmetic is done again while one says no.
const RECHECK: Duration = Duration::from_secs(30);

/// Evicts until nothing is left, or says why not.
pub(super) fn apply(step: &step::Drain, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let mut drain = Drain::new(step, context.began());
    drain.show_begin(context);
    let ended = drain.run(context);
    match ended {
        // Nothing has ended: the next process goes on.
        Err(StepError::Ending) => return ended,
        Ok(()) => drain.conclude(context)?,
        Err(_) => drain.conclude(context).unwrap_or_else(|error| tracing::warn!("{error:?}")),
    }
    drain.show_end(ended.is_ok(), context);
    drop(drain);
    // It held what a whole cluster is made of.
    context.host().on_idle();
    ended
}

impl Drain<'_> {
    /// Rounds until nothing is left, or until it is known why that will not be.
    fn run(&mut self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        if self.reactions.never == Reaction::Ask
            && let Err(RoundError::Step(error)) = self.check_never(context.subject().as_str(), context)
        {
            return Err(error);
        }
        self.kept = context.cluster()?.keep(context.node.control.waker());
        loop {
            let round = self.round(context);
            context.note_pods(std::mem::take(&mut self.news))?;
            let drained = match round {
                Ok(drained) => drained,
                Err(RoundError::Silent(reason)) => {
                    self.say(format!("waits: the API server does not answer ({reason})"), context);
                    false
                }
                Err(RoundError::Step(error)) => return Err(error),
            };
            if drained {
                return Ok(());
            }
            if self.is_out_of_time(context) {
                return Err(self.out_of_time(context));
            }
            context.pause_while_wanted(POLL)?;
        }
    }

    /// One look and what follows from it. True when the node is drained.
    fn round(&mut self, context: &mut StepContext<'_>) -> Result<bool, RoundError> {
        let round = self.look(context)?;
        if let Some(sentence) = self.check_node(&round.node, context)? {
            self.say(sentence, context);
            return Ok(false);
        }
        let left = in_order(round.remaining.left());
        self.held.retain(|key, _| left.iter().any(|(p, _)| p.key == *key));
        if left.is_empty() {
            return Ok(self.volumes_detached(&round, context));
        }
        self.note_first(&round.remaining);
        self.keep_off_next(&round.nodes, context);
        let now = context.now();
        if self.reactions.never != Reaction::Wait && !self.held.is_empty() && now.since(self.rechecked) >= RECHECK {
            self.rechecked = now;
            self.check_never(&round.node.name, context)?;
        }
        let last = |fate: &Fate| *fate == Fate::Evict(Turn::Storage);
        let ordinary_left = left.iter().any(|(_, fate)| *fate != Fate::Evict(Turn::SystemCritical) && !last(fate));
        let all_last = left.iter().all(|(_, fate)| last(fate));
        self.waits = None;
        self.look_at_requests(now, context)?;
        let budgets = self.cluster(context)?.budgets()?;
        let mut turns = Turns::new(&round, &budgets, self.going(now));
        self.count_charged(&mut turns, &budgets, now);
        let mut going = left.iter().filter(|(_, fate)| *fate == Fate::Going).count();
        let (most, mut together) = (MAX_GOING as usize, Vec::new());
        for (pod, fate) in left {
            match fate {
                Fate::Evict(_) if let Some(why) = self.keeps_returning(pod, &round.node) => {
                    self.stuck(pod, &why, context)?;
                }
                Fate::Evict(_) if self.asked_by_another(pod) => {}
                Fate::Evict(Turn::SystemCritical) if ordinary_left => {}
                Fate::Evict(Turn::Storage) if !all_last || self.storage_holds(pod, &turns) => {}
                Fate::Evict(_) if going < most && self.is_due(&pod.key, now) => {
                    match self.may_go(pod, &mut turns, context)? {
                        May::Go => {
                            self.waits = context.may_act()?;
                            if self.waits.is_some() {
                                break;
                            }
                            turns.took(pod);
                            together.push(pod);
                            going += 1;
                        }
                        May::Held(budget, sentence) => self.hold_closed(pod, budget, sentence),
                        May::NotYet => drop(self.held.remove(&pod.key)),
                    }
                    if together.len() == AT_ONCE {
                        going -= self.evict_all(&mut together, &mut turns, context)?;
                    }
                }
                Fate::NeedsConsent(loss) => {
                    self.stuck(pod, &needs_consent(&pod.key.to_string(), *loss, &self.options), context)?;
                }
                Fate::Evict(_) | Fate::Going | Fate::Stays(_) => {}
            }
        }
        match &self.waits {
            Some(_) => together.iter().for_each(|pod| turns.gave_back(pod)),
            None => drop(self.evict_all(&mut together, &mut turns, context)?),
        }
        self.note_charged(&turns, &budgets, now);
        self.report(&round.remaining, &turns, context);
        Ok(false)
    }

    /// What others asked for of pods. A server that knows no such requests is asked once.
    fn look_at_requests(&mut self, now: Timestamp, context: &StepContext<'_>) -> Result<(), RoundError> {
        let is_due = match (self.requests_at, &self.requests) {
            (None, _) => true,
            (Some(at), Some(_)) => now.since(at) >= REQUESTS,
            (Some(_), None) => false,
        };
        if is_due {
            let found = self.cluster(context)?.eviction_requests()?;
            let by_pod = |asked: EvictionRequest| (asked.pod.uid.clone(), asked);
            self.requests = found.map(|found| found.into_iter().map(by_pod).collect());
            self.requests_at = Some(now);
        }
        Ok(())
    }

    /// Whether the pod is left to whom another asked to see to it.
    fn asked_by_another(&mut self, pod: &Pod) -> bool {
        let sentence =
            self.requests.as_ref().and_then(|requests| requests.get(&pod.key.uid)).map(EvictionRequest::sentence);
        match sentence {
            Some(sentence) => {
                self.hold(pod, None, &sentence);
                true
            }
            None => false,
        }
    }

    /// A node that went silent, or that somebody uncordoned, ends the drain, or is waited for with a sentence.
    fn check_node(&self, node: &Node, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
        let name = &node.name;
        match (node.ready, node.cordoned_by()) {
            (NodeReady::Unknown { since }, _) if self.reactions.unreachable == Reaction::Wait => {
                Ok(Some(format!("waits for {name}, which has been silent since {since}; check its power")))
            }
            (NodeReady::Unknown { since }, _) => Err(silent(node, since, context)),
            (_, None) if self.reactions.taken_over == Reaction::Wait => {
                let who = node.unschedulable_by.as_deref().unwrap_or("somebody");
                Ok(Some(format!("waits because {who} uncordoned {name}; nothing more leaves it before it is cordoned")))
            }
            (_, None) => Err(taken_over(node, moved(context))),
            (NodeReady::Ready | NodeReady::NotReady, Some(_)) => Ok(None),
        }
    }

    fn is_out_of_time(&self, context: &StepContext<'_>) -> bool {
        match self.reactions.slow {
            Reaction::Stop | Reaction::Ask => context.now().since(self.began) >= self.timeout,
            Reaction::Wait => context.plan.document().expires <= context.now(),
        }
    }

    fn is_due(&self, key: &PodKey, now: Timestamp) -> bool {
        self.next_try.get(key).is_none_or(|at| now >= *at)
    }

    /// Whether the storage system still has its budget over one of its own pods. Asking to evict it before is in vain.
    fn storage_holds(&mut self, pod: &Pod, turns: &Turns<'_>) -> bool {
        match turns.budget_over(pod).filter(|budget| turns.is_closed(budget)) {
            Some(holding) => {
                self.hold(pod, Some(holding.full_name()), Keeper::of(pod).map_or("", Keeper::holds));
                true
            }
            None => {
                self.held.remove(&pod.key);
                false
            }
        }
    }

    /// Nothing that a drain waits for frees the pod: the drain ends, or waits all the same where that is the policy.
    pub(super) fn stuck(&mut self, pod: &Pod, reason: &str, context: &StepContext<'_>) -> Result<(), StepError> {
        self.hold(pod, None, reason);
        if self.reactions.never == Reaction::Wait { Ok(()) } else { Err(self.blocked(&pod.key, context)) }
    }

    /// Its budget says no for now.
    fn hold_closed(&mut self, pod: &Pod, budget: String, sentence: String) {
        // A whole look knows more, such as who is not Ready and has to be repaired.
        let known = self.slow.get(&pod.key.to_string());
        let why = known.and_then(|why| why.strip_prefix(&format!("budget {budget}: ")));
        let sentence = why.map_or(sentence, str::to_owned);
        self.hold(pod, Some(budget), &sentence);
    }

    pub(super) fn hold(&mut self, pod: &Pod, budget: Option<String>, reason: &str) {
        let blocker = Blocker { pod: pod.key.to_string(), budget, reason: reason.to_owned() };
        self.held.insert(pod.key.clone(), blocker);
    }

    /// Does the arithmetic again: what was slow may have become never.
    fn check_never(&mut self, node: &str, context: &StepContext<'_>) -> Result<(), RoundError> {
        let view = view_now(self.cluster(context)?, context.subject(), context.now())?;
        let slow = view.pods.iter().filter_map(|pod| Some((pod.pod.to_string(), pod.slow()?.to_string())));
        self.slow = slow.collect();
        let never = blockers(&view, &self.options);
        let Some(first) = never.first() else { return Ok(()) };
        Err(RoundError::Step(StepError::Blocked {
            reason: format!(
                "{node} stopped, {} moved: {} ({}){}",
                count(moved(context), "pod"),
                first.reason,
                first.pod,
                and_more(never.len() - 1)
            ),
            blockers: never,
        }))
    }

    /// Ends for this pod first of all.
    fn blocked(&self, pod: &PodKey, context: &StepContext<'_>) -> StepError {
        let node = context.subject();
        let blockers: Vec<Blocker> = self.held.values().cloned().collect();
        let first = self.held.get(pod).map_or_else(String::new, sentence_of);
        let after = span(self.began, context.now());
        StepError::Blocked {
            reason: format!(
                "{node} stopped after {after}, {} moved, {} left: {first}{}",
                count(moved(context) + self.news.len(), "pod"),
                count(blockers.len(), "pod"),
                and_more(blockers.len().saturating_sub(1))
            ),
            blockers,
        }
    }

    /// Blocked only by what waiting cannot change; what was merely slow ran out of time.
    fn out_of_time(&mut self, context: &StepContext<'_>) -> StepError {
        let node = context.subject().as_str();
        if !self.held.is_empty()
            && let Err(RoundError::Step(blocked)) = self.check_never(node, context)
        {
            return blocked;
        }
        let until = if self.reactions.slow == Reaction::Wait { context.now() } else { self.began.plus(self.timeout) };
        let limit = span(self.began, until);
        let doing = if self.said.last().is_empty() { "nothing was seen of it" } else { self.said.last() };
        StepError::TimedOut(format!(
            "{node} not drained in {limit}, {} moved, {doing}. Nothing was killed",
            count(moved(context), "pod")
        ))
    }

    /// The volumes of the pods that left are detached; they hold a replacement back until then.
    fn volumes_detached(&mut self, round: &Round, context: &StepContext<'_>) -> bool {
        let attached = &round.remaining.attached;
        let Some(first) = attached.first() else { return true };
        let (volume, node) = (first.volume.as_deref().unwrap_or("?"), &round.node.name);
        let (more, name, driver) = (and_more(attached.len() - 1), &first.name, &first.driver);
        let sentence = format!(
            "every pod has gone, but volume {volume}{more} is still attached to {node} ({name} of driver {driver}). \
             If that lasts, look at that driver's controller"
        );
        self.say(sentence, context);
        false
    }

    /// One sentence about where the drain stands.
    fn report(&mut self, remaining: &Remaining, turns: &Turns<'_>, context: &StepContext<'_>) {
        let left = remaining.left().count();
        let slowest = remaining
            .left()
            .filter(|(_, fate)| *fate == Fate::Going)
            .filter_map(|(pod, _)| pod.deletion.map(|d| (pod, d.ends)))
            .max_by_key(|(_, ends)| *ends);
        let what = match (&self.waits, self.held.values().next(), slowest) {
            (Some(waits), ..) => waits.clone(),
            (None, Some(held), _) if self.held.len() > 1 => {
                format!("{}; {} more held", sentence_of(held), count(self.held.len() - 1, "pod"))
            }
            (None, Some(held), _) => sentence_of(held),
            (None, None, Some((pod, _))) => format!("{} {}", pod.key, stopping(pod, context.now())),
            (None, None, None) => match turns.unscheduled() {
                Some((pod, why)) => format!("waits for {pod}, for which there is no node: {why}"),
                None => "waits for replacements to become Ready".to_owned(),
            },
        };
        self.say(format!("{} left: {what}", count(left, "pod")), context);
    }

    fn say(&mut self, sentence: String, context: &StepContext<'_>) {
        // Only what is news; the seconds of a grace that runs out are none.
        if self.said.is_news(&sentence) {
            context.say(sentence);
        }
    }
}

/// Somebody made the node schedulable again: the drain gives way and leaves everything as it is.
pub(super) fn taken_over(node: &Node, moved: usize) -> StepError {
    let by = node.unschedulable_by.clone();
    let who = by.as_deref().unwrap_or("somebody");
    let moved = count(moved, "pod");
    let reason =
        format!("{} was uncordoned by {who} during the drain; {moved} evicted and the rest left alone", node.name);
    StepError::TakenOver { reason, by }
}
