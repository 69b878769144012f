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

/// What stays of those before a change, for which no plan says it: an upgrade of seven servers, for as long as anybody
/// goes back.
const KEPT: (u32, u32) = (7, 60);

/// A snapshot by the receipt of the task that took it.
#[derive(Debug, Clone)]
pub(crate) struct KnownSnapshot {
    pub taken: TakenSnapshot,
    pub receipt: Arc<Verified<Receipt>>,
    /// How many stay and for how many days, as the plan says; none where it was taken before a change.
    kept: Option<(u32, u32)>,
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
            Some(kept) => Some(Some(kept)),
            None => step.takes_snapshot().then_some(None),
        });
        let Some(kept) = kept else { return receipt };
        // Two of one name were taken within a second by an older version: neither hides the other.
        self.0.retain(|other| (&other.taken.name, other.taken.sealed) != (&taken.name, taken.sealed));
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

    /// The sealed form of the newest snapshot of that name, if that node took it and it is to stay.
    pub(crate) fn of_node(&self, node: &NodeName, name: &str, now: Timestamp) -> Option<SealedSnapshot> {
        let known = self.all().find(|known| known.taken.name == name)?;
        let sealed = known.taken.sealed.filter(|_| known.receipt.document().node == *node)?;
        self.stay(now).contains(&sealed.digest).then_some(sealed)
    }

    /// Those that stay, by their sealed form. Of those that plans asked for and of those before a change each: as many
    /// as the newest one's plan says and no older than that, and the newest whatever its age.
    pub(crate) fn stay(&self, now: Timestamp) -> BTreeSet<Digest> {
        let of_a_sort = |is_asked: bool| {
            let mut sealed = self
                .all()
                .filter(move |known| known.kept.is_some() == is_asked)
                .filter_map(|known| Some((known, known.taken.sealed?.digest)));
            let newest = sealed.next();
            let (keep, days) = newest.and_then(|(newest, _)| newest.kept).unwrap_or(KEPT);
            let oldest = now.minus(Duration::from_secs(86_400).saturating_mul(days));
            let others = sealed.take(keep.saturating_sub(1) as usize);
            let others = others.filter(move |(known, _)| known.receipt.document().ended >= oldest);
            newest.into_iter().chain(others).map(|(_, digest)| digest)
        };
        of_a_sort(true).chain(of_a_sort(false)).collect()
    }
}
