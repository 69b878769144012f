//! Which document follows which: the numbers of the epoch's plans and of the rosters, and what other ends people named.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hostler_plan::{
    document::{DocumentRef, Holds, Plan, PlanRef, Roster},
    id::{Digest, Epoch, Seq},
    trust::{TrustedRoot, Verified},
};

/// What is known of the chains of the newest epoch.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// It stays, also when its rollout left memory, because it makes others void.
    newest: Option<Arc<Verified<Plan>>>,
    plans: BTreeMap<Seq, Digest>,
    /// Plans that are not here yet and that every plan since their number keeps: signed by some, and waited for.
    awaited: BTreeMap<Seq, Digest>,
    /// What plans and rosters of the ledger name without it being here: kept beside, or the other end of a fork.
    named: BTreeSet<Digest>,
    roster_epoch: Option<Epoch>,
    rosters: BTreeMap<u64, Digest>,
}

/// A document that somebody holds and that this ledger does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stranger {
    /// Such as `plan 43`.
    pub what: String,
    /// What the ledger has under that number; none when it has nothing there.
    pub here: Option<Digest>,
    pub other: Digest,
}

impl Chain {
    pub(super) fn take_plan(&mut self, plan: &Arc<Verified<Plan>>) {
        let document = plan.document();
        let epoch = self.newest.as_ref().map_or(Epoch(0), |newest| newest.document().epoch);
        if document.epoch < epoch {
            return;
        }
        if document.epoch > epoch {
            (self.plans, self.awaited, self.newest) = (BTreeMap::new(), BTreeMap::new(), None);
        }
        let highest = self.newest.as_ref().map_or(Seq(0), |newest| newest.document().seq);
        self.plans.insert(document.seq, plan.digest());
        self.close(document.prev, &document.also);
        let missing: Vec<PlanRef> = document.keeps_valid.iter().filter(|kept| !self.has(kept)).copied().collect();
        self.named.extend(missing.iter().map(|kept| kept.digest));
        if document.seq > highest {
            let still = missing.iter().filter(|kept| kept.seq > highest || self.is_awaited(kept));
            self.awaited = still.map(|kept| (kept.seq, kept.digest)).collect();
            self.newest = Some(plan.clone());
        } else {
            self.awaited.remove(&document.seq);
        }
    }

    pub(super) fn take_roster(&mut self, roster: &Verified<Roster>) {
        let document = roster.document();
        if Some(document.epoch) != self.roster_epoch {
            (self.roster_epoch, self.rosters) = (Some(document.epoch), BTreeMap::new());
        }
        self.rosters.insert(document.version, roster.digest());
        self.close(document.prev, &document.also);
    }

    pub(super) fn take_root(&mut self, root: &TrustedRoot) {
        let document = root.root();
        self.close(document.prev, &document.also);
    }

    /// A document that names several ends closes the fork from each: which of them is here does not matter.
    fn close(&mut self, prev: Option<Digest>, also: &[Digest]) {
        if !also.is_empty() {
            self.named.extend(also.iter().copied().chain(prev));
        }
    }

    /// The plan with the highest number.
    pub(super) fn newest(&self) -> Option<&Arc<Verified<Plan>>> {
        self.newest.as_ref()
    }

    fn has(&self, plan: &PlanRef) -> bool {
        self.plans.get(&plan.seq) == Some(&plan.digest)
    }

    /// Whether that plan's number was kept for it.
    pub(super) fn is_awaited(&self, plan: &PlanRef) -> bool {
        self.awaited.get(&plan.seq) == Some(&plan.digest)
    }

    /// Whether a later document of the ledger names it.
    pub(super) fn names(&self, document: &Digest) -> bool {
        self.named.contains(document)
    }

    /// Documents of the present epoch among those that somebody holds that the ledger neither has nor names.
    pub(super) fn strangers(&self, roots: &[TrustedRoot], holds: &Holds, open: &[PlanRef]) -> Vec<Stranger> {
        let mut found = BTreeSet::new();
        let mut note = |what: String, here: Option<Digest>, other: Digest| {
            if here != Some(other) && !self.names(&other) {
                found.insert(Stranger { what, here, other });
            }
        };
        let DocumentRef { version, digest } = holds.root;
        let root = roots.iter().find(|root| root.root().version == version);
        note(format!("root {version}"), root.map(TrustedRoot::digest), digest);
        if let Some(DocumentRef { version, digest }) = holds.roster.filter(|_| Some(holds.epoch) == self.roster_epoch) {
            note(format!("roster {version}"), self.rosters.get(&version).copied(), digest);
        }
        let epoch = roots.last().map(|root| root.root().epoch);
        for PlanRef { seq, digest } in holds.plan.iter().chain(open).filter(|_| Some(holds.epoch) == epoch) {
            note(format!("plan {seq}"), self.plans.get(seq).copied(), *digest);
        }
        found.into_iter().collect()
    }
}
