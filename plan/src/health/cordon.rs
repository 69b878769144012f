//! Whether a node should cordon itself: its own verdicts, the policy that admins signed, and what stands at it now.

use super::{Level, Rule, Verdict};

/// A self cordon is taken back only by a judge that has looked for this long without a break: a judge that has just
/// started remembers nothing, and the slowest critical condition takes a quarter of an hour to be confirmed.
pub const SETTLED_MS: u64 = 900_000;

/// What the verdicts ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Desired {
    /// To be cordoned because of this rule, with its sentence.
    Cordon(Rule, String),
    /// To be without a self cordon, unless one of these rules, which are not known now, asked for it.
    Free(Vec<Rule>),
    /// Nothing: what stands stays.
    Leave,
}

/// How a node stands in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// Schedulable.
    Free,
    /// Cordoned by itself and by nobody else.
    Own,
    /// Cordoned by itself, and a plan cordoned it too.
    OwnAndPlan,
    /// Cordoned by a plan or by somebody.
    Other,
    /// Schedulable again, because somebody took the self cordon away; its note is still there.
    OwnUndone,
}

/// What the node does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CordonAction {
    /// Cordons itself because of this rule, with its sentence.
    Cordon(Rule, String),
    /// Removes its own note, and the cordon with it.
    Uncordon,
    /// Removes its own note; the cordon stays with the plan.
    LeaveToPlan,
    /// Looks again later: somebody else's cordon stands, or nobody knows whether the rule has cleared.
    Wait,
    /// All is as it should be.
    Nothing,
}

/// What a node's verdicts ask for. Only required rules count, and unknown is neither well nor critical. `observed_ms`
/// is how long the judge has looked without a break.
pub fn desired(policy_is_on: bool, observed_ms: u64, verdicts: &[Verdict]) -> Desired {
    if !policy_is_on {
        return Desired::Free(Vec::new());
    }
    let required = || verdicts.iter().filter(|v| v.required);
    if let Some(critical) = required().find(|v| v.counts_as() == Level::Critical) {
        return Desired::Cordon(critical.rule, critical.sentence());
    }
    if observed_ms < SETTLED_MS || required().next().is_none() {
        return Desired::Leave;
    }
    Desired::Free(required().filter(|v| v.level == Level::Unknown).map(|v| v.rule).collect())
}

impl Desired {
    /// What to do where the node stands like that. `cause` is the rule that its own note names.
    pub fn action(&self, present: Present, cause: Option<Rule>) -> CordonAction {
        match (self, present) {
            (Desired::Cordon(rule, why), Present::Free) => CordonAction::Cordon(*rule, why.clone()),
            (Desired::Cordon(..), Present::Other) => CordonAction::Wait,
            (Desired::Free(unknown), Present::Own | Present::OwnAndPlan | Present::OwnUndone)
                if cause.map_or(!unknown.is_empty(), |rule| unknown.contains(&rule)) =>
            {
                CordonAction::Wait
            }
            (Desired::Free(_), Present::Own | Present::OwnUndone) => CordonAction::Uncordon,
            (Desired::Free(_), Present::OwnAndPlan) => CordonAction::LeaveToPlan,
            // Somebody who takes a self cordon away while the rule is critical is right until the rule has cleared.
            (Desired::Cordon(..), Present::Own | Present::OwnAndPlan | Present::OwnUndone)
            | (Desired::Free(_), Present::Free | Present::Other)
            | (Desired::Leave, _) => CordonAction::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(level: Level, required: bool) -> Verdict {
        Verdict {
            rule: Rule::DiskSpace,
            subject: "/".into(),
            level,
            required,
            condition: None,
            fact: "node_filesystem_avail_bytes".into(),
            value: Some(0.99),
            threshold: Some(0.98),
            since_ms: 0,
            clear_seconds: None,
            damped: false,
            disk: None,
            numbers: std::collections::BTreeMap::new(),
            accepted: None,
            advice: "make room".into(),
        }
    }

    /// Policy, how long observed, verdicts (level, required), and whether it asks for a cordon, freedom or nothing.
    type Case = (bool, u64, &'static [(Level, bool)], &'static str);

    #[test]
    fn only_a_required_rule_that_is_critical_asks_for_a_cordon() {
        use Level::{Critical, Degraded, Ok, Unknown};
        let (young, old) = (SETTLED_MS - 1, SETTLED_MS);
        let cases: [Case; 15] = [
            (true, young, &[(Critical, true)], "cordon"),
            (true, old, &[(Critical, true)], "cordon"),
            (true, old, &[(Ok, true), (Unknown, true), (Critical, true)], "cordon"),
            (true, old, &[(Critical, false), (Ok, true)], "free"),
            (true, old, &[(Unknown, true)], "free but 1"),
            (true, old, &[(Ok, true), (Unknown, true), (Critical, false)], "free but 1"),
            (true, old, &[(Unknown, false), (Degraded, true)], "free"),
            (true, old, &[(Ok, true), (Degraded, true)], "free"),
            (true, young, &[(Ok, true)], "leave"),
            (true, old, &[], "leave"),
            (true, old, &[(Ok, false)], "leave"),
            (false, old, &[(Critical, true)], "free"),
            (false, young, &[(Unknown, true)], "free"),
            (false, 0, &[], "free"),
            (false, old, &[(Ok, true)], "free"),
        ];
        for (policy, observed, verdicts, expected) in cases {
            let all: Vec<Verdict> = verdicts.iter().map(|(level, required)| verdict(*level, *required)).collect();
            let found = match desired(policy, observed, &all) {
                Desired::Cordon(rule, why) => {
                    assert_eq!(rule, Rule::DiskSpace);
                    assert!(why.contains("disk_space /") && why.contains("make room"), "{why}");
                    "cordon".to_owned()
                }
                Desired::Free(unknown) if unknown.is_empty() => "free".to_owned(),
                Desired::Free(unknown) => format!("free but {}", unknown.len()),
                Desired::Leave => "leave".to_owned(),
            };
            assert_eq!(found, expected, "policy {policy}, observed {observed}, {verdicts:?}");
        }
    }

    #[test]
    fn a_node_touches_its_own_cordon_alone() {
        let (disk, clock) = (Some(Rule::DiskSpace), Some(Rule::Clock));
        let why = || "disk".to_owned();
        // Present, when critical, when free, when free but the disk is not known.
        let cases = [
            (Present::Free, CordonAction::Cordon(Rule::DiskSpace, why()), CordonAction::Nothing, CordonAction::Nothing),
            (Present::Own, CordonAction::Nothing, CordonAction::Uncordon, CordonAction::Wait),
            (Present::OwnAndPlan, CordonAction::Nothing, CordonAction::LeaveToPlan, CordonAction::Wait),
            (Present::Other, CordonAction::Wait, CordonAction::Nothing, CordonAction::Nothing),
            (Present::OwnUndone, CordonAction::Nothing, CordonAction::Uncordon, CordonAction::Wait),
        ];
        for (present, critical, free, unknown) in cases {
            let but_disk = Desired::Free(vec![Rule::DiskSpace]);
            assert_eq!(Desired::Cordon(Rule::DiskSpace, why()).action(present, disk), critical, "{present:?}");
            assert_eq!(Desired::Free(vec![]).action(present, disk), free, "{present:?}");
            assert_eq!(Desired::Free(vec![]).action(present, None), free, "{present:?}");
            assert_eq!(but_disk.action(present, disk), unknown, "{present:?}");
            assert_eq!(but_disk.action(present, None), unknown, "a note of an older version: {present:?}");
            assert_eq!(but_disk.action(present, clock), free, "another rule asked for it: {present:?}");
            assert_eq!(Desired::Leave.action(present, disk), CordonAction::Nothing, "{present:?}");
        }
    }
}
