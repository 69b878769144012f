//! A rollout as somebody watches it: whole at first, then what changed.

use std::collections::BTreeMap;

use crate::v1::{RolloutChange, RolloutDetail, RolloutUpdate, TaskView, rollout_update::Update};

/// What the messages of one stream of `WatchRollout` amount to. Another stream begins with a new one.
#[derive(Debug, Default)]
pub struct WatchedRollout(Option<RolloutDetail>);

/// Why an update does not fit what is held. Whoever sent it is no coordinator of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    #[error("expected the whole rollout first, found a change of it; `hostler rollout show` shows the whole")]
    NothingHeld,
    #[error("expected a change of the plan's tasks, found task {0:?}; `hostler rollout show` shows the whole")]
    UnknownTask(String),
    #[error("expected a rollout or a change of it, found neither; use a command of the coordinator's version")]
    Empty,
}

impl WatchedRollout {
    /// Takes the next message and gives the rollout as it now stands. The same change twice is one change. After an
    /// error nothing is held: only a whole rollout helps.
    pub fn merge(&mut self, update: RolloutUpdate) -> Result<&RolloutDetail, UpdateError> {
        let held = self.0.take();
        let now = match update.update.ok_or(UpdateError::Empty)? {
            Update::Whole(whole) => whole,
            Update::Change(change) => changed(held.ok_or(UpdateError::NothingHeld)?, change)?,
        };
        Ok(self.0.insert(now))
    }
}

fn changed(mut held: RolloutDetail, change: RolloutChange) -> Result<RolloutDetail, UpdateError> {
    let RolloutChange { summary, tasks, waits, baselines } = change;
    let mut tasks: BTreeMap<String, TaskView> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
    for task in &mut held.tasks {
        if let Some(changed) = tasks.remove(&task.id) {
            *task = changed;
        }
    }
    if let Some((unknown, _)) = tasks.pop_first() {
        return Err(UpdateError::UnknownTask(unknown));
    }
    // In the order of their nodes, as the whole has them.
    for baseline in baselines {
        match held.baselines.binary_search_by(|b| b.node.cmp(&baseline.node)) {
            Ok(at) => held.baselines[at] = baseline,
            Err(at) => held.baselines.insert(at, baseline),
        }
    }
    Ok(RolloutDetail { summary, waits, ..held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{BaselineView, RolloutSummary, SignedDocument, WaitView};

    fn task(id: &str, sentence: &str) -> TaskView {
        TaskView { id: id.to_owned(), sentence: sentence.to_owned(), ..TaskView::default() }
    }

    fn baseline(node: &str, recovered: bool) -> BaselineView {
        BaselineView { node: node.to_owned(), recovered, ..BaselineView::default() }
    }

    fn wait(sentence: &str) -> WaitView {
        WaitView { sentence: sentence.to_owned(), ..WaitView::default() }
    }

    fn summary(tasks_succeeded: u32) -> Option<RolloutSummary> {
        Some(RolloutSummary { tasks_succeeded, ..RolloutSummary::default() })
    }

    fn whole() -> RolloutDetail {
        RolloutDetail {
            summary: summary(0),
            tasks: vec![task("b.check", "works"), task("a.check", "waits for b.check")],
            waits: vec![wait("waits for b.check")],
            plan: Some(SignedDocument { content: b"plan".to_vec(), signatures: Vec::new() }),
            receipts: Vec::new(),
            baselines: vec![baseline("b", false)],
        }
    }

    /// `a` begins, `b` is done and recovered.
    fn change() -> RolloutChange {
        RolloutChange {
            summary: summary(1),
            tasks: vec![task("a.check", "works")],
            waits: Vec::new(),
            baselines: vec![baseline("a", false), baseline("b", true)],
        }
    }

    fn update(update: impl Into<Option<Update>>) -> RolloutUpdate {
        RolloutUpdate { update: update.into() }
    }

    #[test]
    fn a_change_replaces_what_it_names_and_leaves_the_rest_in_its_order() {
        let mut watched = WatchedRollout::default();
        assert_eq!(watched.merge(update(Update::Whole(whole()))), Ok(&whole()));
        let expected = RolloutDetail {
            summary: summary(1),
            tasks: vec![task("b.check", "works"), task("a.check", "works")],
            waits: Vec::new(),
            baselines: vec![baseline("a", false), baseline("b", true)],
            ..whole()
        };
        assert_eq!(watched.merge(update(Update::Change(change()))), Ok(&expected));
        let doubled = watched.merge(update(Update::Change(change())));
        assert_eq!(doubled, Ok(&expected), "the same change twice is one change");
        let twice_within = RolloutChange { tasks: [change().tasks, change().tasks].concat(), ..change() };
        assert_eq!(watched.merge(update(Update::Change(twice_within))), Ok(&expected));
    }

    #[test]
    fn a_whole_that_comes_late_counts_alone() {
        let mut watched = WatchedRollout::default();
        watched.merge(update(Update::Whole(whole()))).unwrap();
        watched.merge(update(Update::Change(change()))).unwrap();
        assert_eq!(watched.merge(update(Update::Whole(whole()))), Ok(&whole()));
    }

    #[test]
    fn a_change_without_its_whole_is_refused() {
        let mut watched = WatchedRollout::default();
        assert_eq!(watched.merge(update(Update::Change(change()))), Err(UpdateError::NothingHeld));
        assert_eq!(watched.merge(update(None)), Err(UpdateError::Empty));
    }

    #[test]
    fn a_task_that_the_plan_does_not_have_is_refused_until_a_whole_comes() {
        let mut watched = WatchedRollout::default();
        watched.merge(update(Update::Whole(whole()))).unwrap();
        let unknown = RolloutChange { tasks: vec![task("c.check", "works")], ..change() };
        let refused = watched.merge(update(Update::Change(unknown)));
        assert_eq!(refused, Err(UpdateError::UnknownTask("c.check".to_owned())));
        assert_eq!(watched.merge(update(Update::Change(change()))), Err(UpdateError::NothingHeld));
        assert_eq!(watched.merge(update(Update::Whole(whole()))), Ok(&whole()));
    }
}
