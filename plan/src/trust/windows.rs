//! Whether the windows of a plan leave nothing open: what begins in them, which they are, and that each can begin.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{Plan, Task, Window, WindowSet, Windows},
    id::TaskId,
};

/// Windows of one plan: three a day for as long as a plan may live by the usual policy, in several groups.
pub const MAX_WINDOWS: usize = 512;

/// No clock on a wall is further from UTC.
const MAX_OFFSET_MINUTES: u16 = 24 * 60;

/// What is wrong with them, behind the plan's number.
pub(super) fn check_windows(plan: &Plan) -> Result<(), String> {
    let Some(windows) = &plan.windows else { return Ok(()) };
    if !plan.kind.waits_for_windows() {
        return Err(format!("expected no windows in a plan of kind {}, found some", plan.kind));
    }
    let sets = match windows {
        Windows::AtOnce {} => return Ok(()),
        Windows::Within { sets } => sets,
    };
    let count = windows.windows().count();
    if sets.is_empty() || count > MAX_WINDOWS {
        return Err(format!("expected 1 to {MAX_WINDOWS} windows, found {count}"));
    }
    let tasks: BTreeMap<&TaskId, &Task> = plan.tasks.iter().map(|task| (&task.id, task)).collect();
    let mut listed = BTreeSet::new();
    for set in sets {
        check_set(plan, set, &tasks)?;
        if let Some(again) = set.tasks.iter().find(|known| !listed.insert(&known.task)) {
            return Err(format!("expected windows for every task once, found {} again", again.task));
        }
    }
    Ok(())
}

fn check_set(plan: &Plan, set: &WindowSet, tasks: &BTreeMap<&TaskId, &Task>) -> Result<(), String> {
    if set.windows.is_empty() || set.tasks.is_empty() {
        return Err("expected windows and tasks that begin in them, found none".to_owned());
    }
    let is_whole = |w: &Window| w.from < w.until && w.offset_minutes.unsigned_abs() <= MAX_OFFSET_MINUTES;
    if !set.windows.iter().all(is_whole) || !set.windows.is_sorted_by(|one, next| one.until < next.from) {
        return Err("expected windows in order and apart, each opening before it closes, found others".to_owned());
    }
    if !set.tasks.is_sorted_by(|one, next| one.task < next.task) {
        return Err("expected the tasks of windows once and in order, found others".to_owned());
    }
    for known in &set.tasks {
        let id = &known.task;
        if tasks.get(id).is_none_or(|task| task.finishes) {
            return Err(format!("expected a task of the plan to begin in windows, found {id}"));
        }
        if set.first_room(plan.not_before, known.seconds).is_none_or(|at| at >= plan.expires) {
            return Err(format!(
                "expected a window before {} in which {id} can begin with {} s left, found none",
                plan.expires, known.seconds
            ));
        }
    }
    Ok(())
}
