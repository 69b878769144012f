//! A node's cordon and verdicts.

use hostler_plan::{
    health::{Accepted, Condition, DiskNumber, DiskNumbers, Rule, Verdict},
    sequencer::{Cordon, CordonOwner},
    timestamp::Timestamp,
};

use super::{UnreadableMessage, id};
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
            accepted: verdict.accepted.clone().map(Into::into),
        }
    }
}

impl From<Accepted> for v1::Accepted {
    fn from(accepted: Accepted) -> Self {
        let Accepted { until, by, reason } = accepted;
        Self { until: until.unix_milliseconds(), by, reason }
    }
}

impl From<v1::Accepted> for Accepted {
    fn from(accepted: v1::Accepted) -> Self {
        let v1::Accepted { until, by, reason } = accepted;
        Self { until: Timestamp::from_unix_milliseconds(until), by, reason }
    }
}

impl From<DiskNumbers> for v1::DiskNumbers {
    fn from(disk: DiskNumbers) -> Self {
        let text = |number: Option<DiskNumber>| number.map(String::from).unwrap_or_default();
        Self { serial: text(disk.serial), wwid: text(disk.wwid), part: disk.part }
    }
}

impl TryFrom<v1::DiskNumbers> for DiskNumbers {
    type Error = UnreadableMessage;
    fn try_from(disk: v1::DiskNumbers) -> Result<Self, UnreadableMessage> {
        let number = |text: String| match text.as_str() {
            "" => Ok(None),
            text => id("the number of a disk", text).map(Some),
        };
        Ok(Self { serial: number(disk.serial)?, wwid: number(disk.wwid)?, part: disk.part })
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
            disk,
            numbers,
            accepted,
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
            disk: disk.map(Into::into),
            accepted: accepted.map(Into::into),
            numbers: numbers
                .into_iter()
                .map(|(condition, value)| v1::ConditionNumber { condition: condition.name().to_owned(), value })
                .collect(),
        }
    }
}

impl TryFrom<v1::Verdict> for Verdict {
    type Error = UnreadableMessage;
    fn try_from(verdict: v1::Verdict) -> Result<Self, UnreadableMessage> {
        let level = verdict.level().try_into()?;
        let rule = Rule::ALL.iter().copied().find(|r| r.name() == verdict.rule);
        let named = |name: &String| {
            Condition::ALL
                .iter()
                .copied()
                .find(|c| c.name() == name)
                .ok_or_else(|| UnreadableMessage::new("the name of a condition of health", format!("{name:.80?}")))
        };
        let condition = verdict.condition.as_ref().map(named).transpose()?;
        let numbers = verdict.numbers.iter().map(|number| Ok((named(&number.condition)?, number.value)));
        let numbers = numbers.collect::<Result<_, UnreadableMessage>>()?;
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
            disk: verdict.disk.map(TryInto::try_into).transpose()?,
            numbers,
            accepted: verdict.accepted.map(Into::into),
            advice: verdict.advice.into(),
        })
    }
}
