//! A pod that is being deleted and is still there: what to expect of it, and once its grace is over, who holds it and
//! what to do about that.

use std::time::Duration;

use crate::{cluster::Pod, text::and_more, timestamp::Timestamp};

/// A kubelet reports what it stopped, and the object goes, a few seconds after the end of the grace.
const REPORTED: Duration = Duration::from_secs(10);

/// What a pod that is being deleted does, as the rest of a sentence that begins with it.
pub fn stopping(pod: &Pod, now: Timestamp) -> String {
    let Some(ends) = pod.deletion.map(|deletion| deletion.ends) else { return "is stopping".to_owned() };
    if now < ends {
        return format!("is stopping; its grace ends at {ends}");
    }
    if now < ends.plus(REPORTED) {
        return format!("is stopping; its grace ended at {ends}");
    }
    format!("is still there; its grace is over since {ends}: {}", holder(pod))
}

fn holder(pod: &Pod) -> String {
    let node = pod.node.as_deref().unwrap_or("its node");
    match pod.finalizers.as_slice() {
        [] if pod.is_finished() => {
            "nothing of it runs any more, and somebody denies that its object goes. Look for a webhook or a policy on \
             DELETE of pods"
                .to_owned()
        }
        [] => format!(
            "the kubelet of {node} has not stopped it, or may not delete it. Look at its journal there, then for a \
             webhook or a policy on DELETE of pods"
        ),
        [first, rest @ ..] => format!(
            "finalizer {first}{} keeps it. Look at the controller that has to take that away",
            and_more(rest.len())
        ),
    }
}
