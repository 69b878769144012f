//! What the Eviction API of the simulated cluster answers.

use serde::{Deserialize, Serialize};

use super::{
    Millis,
    cluster::{Cluster, Owner, POD_STOP, PodKey, PodState},
    fault::Faults,
};

/// The answers that matter for a drain, with the words of the real API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvictionAnswer {
    /// 201: accepted, not gone.
    Accepted,
    /// 404.
    NotFound,
    /// 409: another pod has this name now.
    OtherUid { found: String },
    /// 429 with cause DisruptionBudget.
    Budget { budget: String, sentence: String },
    /// 500: more than one budget selects the pod.
    TooManyBudgets { budgets: Vec<String> },
}

impl Cluster {
    /// Asks to evict a pod. As in the real one, a budget is charged before the UID is compared, and no budget is
    /// asked for pods that do not run.
    pub fn evict(&mut self, key: &PodKey, uid: Option<&str>, now: Millis, faults: &Faults) -> EvictionAnswer {
        let Some(pod) = self.pods.get(key) else { return EvictionAnswer::NotFound };
        let (labels, state, found_uid, owner) = (pod.labels.clone(), pod.state, pod.uid.clone(), pod.owner.clone());
        let asks = match state {
            PodState::Ready | PodState::Starting { .. } | PodState::Lost => true,
            PodState::Pending | PodState::Succeeded | PodState::Terminating { .. } => false,
        };
        if asks {
            let over: Vec<usize> =
                (0..self.budgets.len()).filter(|at| self.budgets[*at].selects(&key.namespace, &labels)).collect();
            match over.as_slice() {
                [] => {}
                [at] => {
                    if let Some(answer) = self.charge(*at, key, state, now, faults) {
                        return answer;
                    }
                }
                several => {
                    let budgets = several.iter().map(|at| self.budgets[*at].full_name()).collect();
                    return EvictionAnswer::TooManyBudgets { budgets };
                }
            }
        }
        if uid.is_some_and(|uid| uid != found_uid) {
            return EvictionAnswer::OtherUid { found: found_uid };
        }
        match (owner, state) {
            // A static pod's mirror is made anew at once while its container runs on.
            (Owner::Mirror, _) => {
                let uid = self.new_uid();
                if let Some(pod) = self.pods.get_mut(key) {
                    pod.uid = uid;
                }
            }
            (_, PodState::Pending | PodState::Succeeded) => {
                self.pods.remove(key);
            }
            (_, PodState::Terminating { .. }) => {}
            (_, PodState::Ready | PodState::Starting { .. } | PodState::Lost) => {
                if let Some(pod) = self.pods.get_mut(key) {
                    pod.state = PodState::Terminating { until: now + POD_STOP };
                }
            }
        }
        EvictionAnswer::Accepted
    }

    /// Takes one disruption from a budget. None: allowed.
    fn charge(
        &mut self,
        at: usize,
        key: &PodKey,
        state: PodState,
        now: Millis,
        faults: &Faults,
    ) -> Option<EvictionAnswer> {
        let status = self.allowance(&self.budgets[at]);
        let budget = &mut self.budgets[at];
        let name = budget.full_name();
        let held = faults.budget_holds(&name, now);
        if state != PodState::Ready && !held {
            let healthy = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
            if budget.always_allow_unhealthy || healthy {
                return None;
            }
        }
        if status.allowed > 0 && !held {
            budget.disrupted.insert(key.clone(), now);
            return None;
        }
        let needed = if held { status.current_healthy } else { status.desired_healthy };
        let sentence = format!(
            "The disruption budget {} needs {needed} healthy pods and has {} currently",
            budget.name, status.current_healthy
        );
        Some(EvictionAnswer::Budget { budget: name, sentence })
    }
}
