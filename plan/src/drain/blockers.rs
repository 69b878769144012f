//! What can be known before the first eviction: consent that is missing, and pods that will never go.

use super::pods::{Options, needs_consent};
use crate::{
    document::{Blocker, LeftOut, NodeView, PodView, Prospect},
    text::count,
};

/// Every pod that will never go under this plan, with the reason and what to do about it; those that a view has no
/// room for together.
pub fn blockers(view: &NodeView, options: &Options<'_>) -> Vec<Blocker> {
    view.pods.iter().flat_map(|pod| blocking(pod, options)).chain(unseen(&view.left_out, options)).collect()
}

/// What nobody was shown is not judged by owner: only what the plan allows of every pod counts.
fn unseen(left_out: &LeftOut, options: &Options<'_>) -> Vec<Blocker> {
    let pod = format!("{} that no view has room for", count(left_out.deciding, "pod"));
    let blocker = |reason: String| Blocker { pod: pod.clone(), budget: None, reason };
    let never = left_out.never > 0 || (left_out.deciding > 0 && left_out.loses.is_empty());
    let never = never.then(|| {
        blocker(
            "some of them never go, and nobody sees which. Free those that are shown, or make a plan for fewer nodes"
                .to_owned(),
        )
    });
    let lost = left_out.loses.iter().filter(|loss| !options.allow_of_all(**loss));
    let lost = lost.map(|loss| {
        blocker(format!(
            "some of them lose {loss}, which the plan does not allow of pods that nobody was shown. Make a plan for \
             fewer nodes, or allow it of every pod with {} or {} in the fleet file",
            loss.flag(),
            loss.key()
        ))
    });
    never.into_iter().chain(lost).collect()
}

fn blocking(view: &PodView, options: &Options<'_>) -> Vec<Blocker> {
    let Prospect::Leaves(leaving) = &view.prospect else { return Vec::new() };
    let pod = view.pod.as_str();
    let blocker = |budget: Option<String>, reason: String| Blocker { pod: pod.to_owned(), budget, reason };
    let whose = view.whose();
    let lost = leaving.loses.iter().find(|loss| !options.allow(pod, Some(&whose), **loss));
    let consent = lost.map(|loss| blocker(None, needs_consent(pod, *loss, options)));
    let never = leaving
        .never
        .as_ref()
        .map(|never| blocker(never.budget.as_ref().map(ToString::to_string), never.reason.to_string()));
    consent.into_iter().chain(never).collect()
}
