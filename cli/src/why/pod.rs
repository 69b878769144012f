//! What holds a pod, or what became of it: by the plan at work on its node, and by receipts.

use hostler_plan::{
    document::{Blocker, Outcome, Receipt},
    form::PodName,
};
use hostler_proto::v1::TaskStatus;

use super::{Known, Proof, Said, Weight};

/// What a rollout says of it.
pub(super) fn said(known: &Known, name: &PodName) -> Vec<Said> {
    let seq = known.summary().seq;
    let at_work = known.detail.tasks.iter().filter(|task| task.status() == TaskStatus::Granted);
    let at_work = at_work.filter(|task| names(&task.sentence, name.as_str())).map(|task| Said {
        weight: Weight::Works,
        about: name.to_string(),
        sentence: format!("plan {seq} is at {}: {}", task.id, task.sentence),
        proof: Proof::Coordinator,
    });
    at_work.chain(known.evidence.receipts.iter().flat_map(|receipt| told(receipt, name))).collect()
}

/// Whether a sentence speaks of that pod, and not of one whose name only begins or ends like it.
fn names(sentence: &str, pod: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-./".contains(c);
    sentence.match_indices(pod).any(|(at, _)| {
        let (before, after) = (&sentence[..at], &sentence[at + pod.len()..]);
        // A dot may end the sentence.
        let after = after.trim_start_matches('.');
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

fn told(receipt: &Receipt, name: &PodName) -> Vec<Said> {
    let Receipt { node, task, seq, ended, outcome, pods, .. } = receipt;
    let say = |weight, sentence: String| Said {
        weight,
        about: name.to_string(),
        sentence: format!("{sentence} ({task} of plan {seq}, {ended})"),
        proof: Proof::Receipt { node: node.clone() },
    };
    let held: &[Blocker] = match outcome {
        Outcome::Blocked { blockers, .. } => blockers,
        Outcome::Succeeded {}
        | Outcome::Failed { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Unreachable { .. }
        | Outcome::TakenOver { .. }
        | Outcome::Refused { .. } => &[],
    };
    let held = held.iter().filter(|blocker| blocker.pod == name.as_str());
    let mut said: Vec<Said> = held.map(|b| say(Weight::NeedsPerson, format!("is held: {}", b.reason))).collect();
    if said.is_empty() {
        let fates = pods.iter().filter(|report| report.pod == name.as_str());
        said.extend(fates.map(|report| {
            let why = if report.reason.is_empty() { String::new() } else { format!(": {}", report.reason) };
            say(Weight::Stands, format!("{}{why}", report.fate.sentence()))
        }));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_speaks_of_a_pod_only_by_its_whole_name() {
        for (sentence, spoken) in [
            ("waits for shop/db-0", true),
            ("shop/db-0: budget shop/db allows none", true),
            ("waits for shop/db-0.", true),
            ("waits for shop/db-01", false),
            ("waits for workshop/db-0", false),
            ("waits for shop/db-0-x and shop/db-0", true),
        ] {
            assert_eq!(names(sentence, "shop/db-0"), spoken, "{sentence}");
        }
    }
}
