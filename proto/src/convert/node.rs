//! A node's cordon and verdicts.

use hostler_plan::{
    health::{Condition, Rule, Verdict},
    sequencer::{Cordon, CordonOwner},
};

use super::UnreadableMessage;
use crate::v1;

/// A field manager's name is at most 128 bytes in Kubernetes.
const MAX_MANAGER_BYTES: usize = 128;

impl From<Cordon> for v1::Cordon {
    fn from(cordon: Cordon) -> Self {
        let (owner, manager) = match cordon.owner {
            CordonOwner::Hostler => (v1::CordonOwner::Hostler, String::new()),
            CordonOwner::Node => (v1::CordonOwner::Node, String::new()),
            CordonOwner::Other(manager) => (v1::CordonOwner::Other, manager),
        };
        Self { owner: owner.into(), manager, reason: cordon.reason }
    }
}

impl TryFrom<v1::Cordon> for Cordon {
    type Error = UnreadableMessage;
    fn try_from(cordon: v1::Cordon) -> Result<Self, UnreadableMessage> {
        let owner = match cordon.owner() {
            v1::CordonOwner::Unspecified => {
                return Err(UnreadableMessage::new("the owner of a cordon", "none that is known here"));
            }
            v1::CordonOwner::Hostler => CordonOwner::Hostler,
            v1::CordonOwner::Node => CordonOwner::Node,
            v1::CordonOwner::Other if cordon.manager.len() > MAX_MANAGER_BYTES => {
                return Err(UnreadableMessage::new("the name of a field manager", "a longer text"));
            }
            v1::CordonOwner::Other if cordon.manager.is_empty() => CordonOwner::Other("somebody".to_owned()),
            v1::CordonOwner::Other => CordonOwner::Other(cordon.manager),
        };
        Ok(Self { owner, reason: cordon.reason })
    }
}

impl From<&Verdict> for v1::VerdictView {
    fn from(verdict: &Verdict) -> Self {
        Self {
            rule: verdict.rule.name().to_owned(),
            level: v1::Level::from(verdict.level).into(),
            sentence: verdict.sentence(),
            advice: verdict.advice.to_string(),
            since: verdict.since_ms / 1000,
        }
    }
}

impl From<Verdict> for v1::Verdict {
    fn from(verdict: Verdict) -> Self {
        let Verdict {
            rule,
            subject,
            level,
            required,
            condition,
            fact,
            value,
            threshold,
            since_ms,
            clear_seconds,
            damped,
            advice,
        } = verdict;
        Self {
            rule: rule.name().to_owned(),
            subject,
            level: v1::Level::from(level).into(),
            required,
            condition: condition.map(|c| c.name().to_owned()),
            fact,
            value,
            threshold,
            since_ms,
            clear_seconds,
            damped,
            advice: advice.into_owned(),
        }
    }
}

impl TryFrom<v1::Verdict> for Verdict {
    type Error = UnreadableMessage;
    fn try_from(verdict: v1::Verdict) -> Result<Self, UnreadableMessage> {
        let level = verdict.level().try_into()?;
        let rule = Rule::ALL.iter().copied().find(|r| r.name() == verdict.rule);
        let condition =
            match &verdict.condition {
                None => None,
                Some(name) => Some(Condition::ALL.iter().copied().find(|c| c.name() == name).ok_or_else(|| {
                    UnreadableMessage::new("the name of a condition of health", format!("{name:.80?}"))
                })?),
            };
        Ok(Self {
            rule: rule.ok_or_else(|| {
                UnreadableMessage::new("the name of a rule of health", format!("{:.80?}", verdict.rule))
            })?,
            subject: verdict.subject,
            level,
            required: verdict.required,
            condition,
            fact: verdict.fact,
            value: verdict.value,
            threshold: verdict.threshold,
            since_ms: verdict.since_ms,
            clear_seconds: verdict.clear_seconds,
            damped: verdict.damped,
            advice: verdict.advice.into(),
        })
    }
}
