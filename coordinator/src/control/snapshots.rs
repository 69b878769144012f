//! Snapshots of etcd that receipts name: which a node may hand in, and which stay.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use hostler_plan::{
    document::{Plan, Receipt, SealedSnapshot, TakenSnapshot},
    id::{Digest, NodeName},
    timestamp::Timestamp,
    trust::Verified,
};

/// Snapshots that are remembered; the ledger has them all, and no plan may ask for more to be kept.
const REMEMBERED: usize = 100;

/// What stays where no plan said it: as many as a server keeps before it is changed, for as long as anybody goes back.
const KEPT: (u32, u32) = (7, 60);

/// A snapshot by the receipt of the task that took it.
#[derive(Debug, Clone)]
pub(crate) struct KnownSnapshot {
    pub taken: TakenSnapshot,
    pub receipt: Arc<Verified<Receipt>>,
    /// How many stay and for how many days, as the plan says.
    kept: (u32, u32),
}

/// The newest snapshots, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct KnownSnapshots(VecDeque<KnownSnapshot>);

impl KnownSnapshots {
    /// Remembers what a receipt says of a snapshot, where its plan let the node take one, and gives the receipt back.
    pub(super) fn noted(
        &mut self,
        receipt: Verified<Receipt>,
        plans: &BTreeMap<Digest, Arc<Verified<Plan>>>,
    ) -> Verified<Receipt> {
        let document = receipt.document();
        let Some(taken) = TakenSnapshot::of(document).filter(|_| document.outcome.is_success()) else { return receipt };
        let task = plans.get(&document.plan).and_then(|plan| plan.document().task(&document.task));
        let kept = task.into_iter().flat_map(|task| &task.steps).find_map(|step| match step.keeps_snapshots() {
            Some(kept) => Some(kept),
            None => step.takes_snapshot().then_some(KEPT),
        });
        let Some(kept) = kept else { return receipt };
        self.0.retain(|other| other.taken.name != taken.name);
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(KnownSnapshot { taken, receipt: Arc::new(receipt.clone()), kept });
        receipt
    }

    /// The newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &KnownSnapshot> {
        self.0.iter().rev()
    }

    /// The sealed form of the snapshot of that name, if that node took it and it is to stay.
    pub(crate) fn of_node(&self, node: &NodeName, name: &str, now: Timestamp) -> Option<SealedSnapshot> {
        let known = self.0.iter().find(|known| known.taken.name == name)?;
        let sealed = known.taken.sealed.filter(|_| known.receipt.document().node == *node)?;
        self.stay(now).contains(&sealed.digest).then_some(sealed)
    }

    /// Those that stay, by their sealed form: as many as the newest one's plan says and no older than that, and the
    /// newest whatever its age.
    pub(crate) fn stay(&self, now: Timestamp) -> BTreeSet<Digest> {
        let mut sealed = self.all().filter_map(|known| Some((known, known.taken.sealed?.digest)));
        let Some((newest, digest)) = sealed.next() else { return BTreeSet::new() };
        let (keep, days) = newest.kept;
        let oldest = now.minus(Duration::from_secs(86_400).saturating_mul(days));
        let others = sealed.take(keep.saturating_sub(1) as usize);
        let others = others.filter(|(known, _)| known.receipt.document().ended >= oldest).map(|(_, digest)| digest);
        std::iter::once(digest).chain(others).collect()
    }
}
