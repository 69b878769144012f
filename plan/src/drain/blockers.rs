//! What can be known before the first eviction: consent that is missing, budgets that can never allow it, replacements
//! that fit nowhere.

use std::collections::BTreeMap;

use super::{
    budget,
    look::Look,
    placement::fits_nowhere,
    pods::{Fate, Options, Turn, evaluate},
};
use crate::{
    cluster::{Budget, Owner, Pod},
    document::Blocker,
};

/// Every pod that will never go, with the reason.
pub fn blockers(look: &Look, options: &Options<'_>) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    // Under one budget: pods that leave and have nowhere to come back to.
    let mut lost: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for pod in &look.pods {
        match evaluate(pod, options) {
            Fate::Stays | Fate::Going | Fate::Finalizer(_) | Fate::Evict(Turn::Storage) => continue,
            Fate::NeedsConsent(consent) => blockers.push(blocker(pod, None, &consent.sentence(pod))),
            Fate::Evict(Turn::Ordinary | Turn::SystemCritical) => {}
        }
        let counting = look.budgets_of(pod);
        if counting.len() > 1 {
            let names: Vec<String> = counting.iter().map(|b| budget::name(b)).collect();
            let reason =
                format!("two budgets count it ({}), which the API refuses for ever. Delete one", names.join(", "));
            blockers.push(blocker(pod, counting.first().copied(), &reason));
            continue;
        }
        let Some(counted) = counting.first() else { continue };
        let scale = |owner: &Owner| look.scales.get(&(pod.key.namespace.clone(), owner.clone())).copied();
        let asked = budget::asked(counted, look.siblings.get(&pod.key.namespace).map_or(&[], Vec::as_slice), scale);
        if let Some(reason) = budget::never(counted, asked, pod) {
            blockers.push(blocker(pod, Some(counted), &reason));
            continue;
        }
        if let Some(place) = fits_nowhere(pod, &look.nodes, &look.node) {
            let may_go = asked.pods.saturating_sub(budget::desired(counted.limit, asked.pods));
            let (gone, _) = lost.entry(budget::name(counted)).or_insert((0, may_go));
            *gone += 1;
            if *gone > may_go {
                let reason = format!(
                    "budget {} lets only {may_go} of its pods be away, and {place}. {}",
                    budget::name(counted),
                    place.advice()
                );
                blockers.push(blocker(pod, Some(counted), &reason));
            }
        }
    }
    blockers
}

fn blocker(pod: &Pod, budget: Option<&Budget>, reason: &str) -> Blocker {
    Blocker { pod: pod.key.to_string(), budget: budget.map(budget::name), reason: reason.to_owned() }
}
