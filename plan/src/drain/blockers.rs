//! What can be known before the first eviction: consent that is missing, and pods that will never go.

use super::pods::{Options, needs_consent};
use crate::document::{Blocker, NodeView, PodView, Prospect};

/// Every pod that will never go under this plan, with the reason and what to do about it.
pub fn blockers(view: &NodeView, options: &Options<'_>) -> Vec<Blocker> {
    view.pods.iter().flat_map(|pod| blocking(pod, options)).collect()
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
