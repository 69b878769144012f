//! The nodes as people see them.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{
    document::{RosterStatus, Signed},
    health::{Level, Verdict, worst},
    id::NodeName,
    step::ClusterRole,
};
use hostler_proto::v1;

use super::{Desk, DeskError, at};
use crate::{clock::Moment, control::state::Membership, nodes::live::Heard, nodes::summary::Summary};

impl Desk {
    /// Every node of the roster and every one that waits for it, by name.
    pub fn nodes(&self, heard: &BTreeMap<NodeName, Heard>) -> Vec<v1::NodeSummary> {
        let listed = self.state.roster.iter().flat_map(|r| &r.document().nodes).map(|n| n.name.clone());
        let pending = self.pending().map(|(node, _)| node.clone());
        let names: BTreeSet<NodeName> = listed.chain(pending).collect();
        let (rollouts, waits) = (self.state.sequencer.rollouts(), self.state.sequencer.waits(at()));
        names
            .into_iter()
            .map(|name| v1::NodeSummary {
                activity: Self::activity(&name, &rollouts, &waits),
                ..self.node_summary(&name, heard.get(&name))
            })
            .collect()
    }

    /// One node, with the refusals that it reported.
    pub fn node(
        &self,
        name: &str,
        heard: Option<&Heard>,
    ) -> Result<(v1::NodeSummary, Vec<v1::ReportedRefusal>), DeskError> {
        let missing =
            || DeskError::NotFound(format!("expected a node of this fleet, found {name:?}; see `hostler nodes`"));
        let name = NodeName::new(name).map_err(|_| missing())?;
        let listed = self.state.roster.as_ref().is_some_and(|r| r.document().nodes.iter().any(|n| n.name == name));
        if !listed && !self.state.enrolled.contains_key(&name) {
            return Err(missing());
        }
        let (rollouts, waits) = (self.state.sequencer.rollouts(), self.state.sequencer.waits(at()));
        let summary =
            v1::NodeSummary { activity: Self::activity(&name, &rollouts, &waits), ..self.node_summary(&name, heard) };
        let refusals = self.state.refusals.get(&name).into_iter().flatten().rev().map(|r| v1::ReportedRefusal {
            at: r.at.unix_seconds(),
            refusal: r.refusal.word().to_owned(),
            reason: r.reason.clone(),
            document: r.document.map(|d| d.to_string()).unwrap_or_default(),
        });
        Ok((summary, refusals.collect()))
    }

    /// Enrolments that no roster lists yet, each with its admission.
    pub fn enrolments(&self) -> Vec<v1::PendingEnrolment> {
        self.pending()
            .map(|(node, enrolled)| v1::PendingEnrolment {
                enrolment: Some(enrolled.enrolment.signed().clone().into()),
                admission: self
                    .state
                    .tokens
                    .get(&enrolled.enrolment.document().token)
                    .map(|t| Signed::clone(t.admission.signed()).into()),
                peer_address: self.address_of(node).map(|a| a.to_string()).unwrap_or_default(),
                enrolled_at: enrolled.at.unix_seconds(),
            })
            .collect()
    }

    /// Every token with the nodes that it admitted.
    pub fn tokens(&self) -> Vec<v1::Token> {
        self.state
            .tokens
            .values()
            .map(|t| v1::Token {
                admission: Some(t.admission.signed().clone().into()),
                used: u32::try_from(t.keys.len()).unwrap_or(u32::MAX),
                revoked: t.revoked,
                nodes: t.keys.values().map(ToString::to_string).collect(),
            })
            .collect()
    }

    fn pending(&self) -> impl Iterator<Item = (&NodeName, &crate::control::state::Enrolled)> {
        self.state.enrolled.iter().filter(|(node, e)| {
            self.state.membership(node, &e.enrolment.document().key.fingerprint()) == Membership::Pending
        })
    }

    fn node_summary(&self, name: &NodeName, heard: Option<&Heard>) -> v1::NodeSummary {
        let listed = self.state.roster.as_ref().and_then(|r| r.document().nodes.iter().find(|n| n.name == *name));
        let enrolment = self.state.enrolled.get(name).map(|e| e.enrolment.document());
        let status = match listed.map(|l| l.status) {
            Some(RosterStatus::Active) => "active",
            Some(RosterStatus::Retired) => "retired",
            None => "pending",
        };
        let token = enrolment.and_then(|e| self.state.tokens.get(&e.token));
        let role = listed.map(|l| l.role).or_else(|| token.map(|t| t.admission.document().role));
        let key = listed.map(|l| l.key.fingerprint()).or_else(|| enrolment.map(|e| e.key.fingerprint()));
        let facts = heard.and_then(|h| h.reading.as_deref()).map(Summary::of).unwrap_or_default();
        let verdicts = heard.map(|h| h.verdicts.as_slice()).unwrap_or_default();
        let speaks = verdicts.first().filter(|v| v.level != Level::Ok);
        v1::NodeSummary {
            name: name.to_string(),
            status: status.to_owned(),
            role: role.map(role_word).unwrap_or_default().to_owned(),
            arch: listed
                .map(|l| l.arch)
                .or_else(|| enrolment.map(|e| e.arch))
                .map(|a| a.to_string())
                .unwrap_or_default(),
            key: key.map(|k| k.to_string()).unwrap_or_default(),
            connected: self.streams.contains_key(name),
            agent_version: heard.map(|h| h.agent_version.clone()).unwrap_or_default(),
            boot_id: heard.and_then(|h| h.boot_id.as_ref()).map(ToString::to_string).unwrap_or_default(),
            last_report: heard.and_then(|h| h.received).map_or(0, |at| Moment::now().wall_of(at).unix_milliseconds()),
            condition: self.shown_conditions.get(name).cloned(),
            health: worst(verdicts).to_string(),
            health_reason: speaks.map(Verdict::sentence).unwrap_or_default(),
            temperature_celsius: facts.temperature_celsius,
            throttled: facts.throttled,
            memory_used_ratio: facts.memory_used_ratio,
            disk_used_ratio: facts.disk_used_ratio,
            nvme_used_ratio: facts.nvme_used_ratio,
            clock_synchronised: facts.clock_synchronised,
            activity: String::new(),
            model: enrolment.map(|e| e.hardware.model.clone()).unwrap_or_default(),
        }
    }
}

fn role_word(role: ClusterRole) -> &'static str {
    match role {
        ClusterRole::Server => "server",
        ClusterRole::Worker => "worker",
    }
}
