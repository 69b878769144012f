//! Who belongs to the fleet, as every listener needs to know it on every call, and what was decided about each node.

use std::collections::BTreeMap;

use hostler_plan::{
    document::Signer,
    id::{Fingerprint, NodeName},
    trust::{NodeDecisions, TrustedRoot},
};

use super::state::{Membership, State};

/// The root that holds, and every node that ever enrolled.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub root: Option<TrustedRoot>,
    nodes: BTreeMap<NodeName, Vec<(Fingerprint, Membership)>>,
    decisions: BTreeMap<NodeName, NodeDecisions>,
}

impl Members {
    pub(super) fn of(state: &State) -> Self {
        let mut nodes: BTreeMap<NodeName, Vec<(Fingerprint, Membership)>> = BTreeMap::new();
        let listed = state.roster.iter().flat_map(|r| &r.document().nodes).map(|n| (&n.name, &n.key));
        let enrolled = state.enrolled.values().map(|e| (&e.enrolment.document().node, &e.enrolment.document().key));
        for (node, key) in listed.chain(enrolled) {
            let key = key.fingerprint();
            let membership = state.membership(node, &key);
            nodes.entry(node.clone()).or_default().push((key, membership));
        }
        let about = |node: &NodeName| Some((node.clone(), state.judge.decisions_about(node)?.clone()));
        let decisions = nodes.keys().filter_map(about).collect();
        Self { root: state.root().cloned(), nodes, decisions }
    }

    /// What people decided about an active node.
    pub(crate) fn decisions_about(&self, node: &NodeName) -> Option<&NodeDecisions> {
        self.decisions.get(node)
    }

    /// How the holder of that key stands under that name.
    pub(crate) fn membership(&self, node: &NodeName, key: &Fingerprint) -> Membership {
        let known = self.nodes.get(node).into_iter().flatten().find(|(k, _)| k == key);
        known.map_or(Membership::Unknown, |(_, membership)| *membership)
    }

    /// The signer of the present root with that key, unless it is revoked.
    pub(crate) fn signer(&self, key: &Fingerprint) -> Option<&Signer> {
        let root = self.root.as_ref()?.root();
        root.signers.iter().find(|s| s.key.fingerprint() == *key && !root.revoked.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_only_with_the_key_that_has_it() {
        let fingerprint = |letter: &str| Fingerprint::new(format!("SHA256:{}", letter.repeat(43))).unwrap();
        let (name, own, retired) = (NodeName::new("w1").unwrap(), fingerprint("A"), fingerprint("B"));
        let keys = vec![(own.clone(), Membership::Active), (retired.clone(), Membership::Retired)];
        let members = Members { nodes: BTreeMap::from([(name.clone(), keys)]), ..Members::default() };
        assert_eq!(members.membership(&name, &own), Membership::Active);
        assert_eq!(members.membership(&name, &retired), Membership::Retired);
        assert_eq!(members.membership(&name, &fingerprint("C")), Membership::Unknown);
        assert_eq!(members.membership(&NodeName::new("w2").unwrap(), &own), Membership::Unknown);
    }
}
