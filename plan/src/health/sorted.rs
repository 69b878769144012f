//! A short map as a list in the order of its keys. A coordinator holds two of them for every node, and a tree keeps
//! a half-empty page of eleven places for every six entries.

use serde::{Deserialize, Serialize};

/// Each key once. It grows by one place at a time: entries come with a node's first report and hardly ever again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Sorted(Vec::new())
    }
}

impl<K: Ord, V> Sorted<K, V> {
    /// Where a key is, or where it would be.
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }

    fn add(&mut self, place: usize, key: K, value: V) {
        self.0.reserve_exact(1);
        self.0.insert(place, (key, value));
    }

    /// The value of that key, or this one from now on.
    pub(super) fn or_insert(&mut self, key: K, value: V) -> &mut V {
        let place = self.place(&key).unwrap_or_else(|place| {
            self.add(place, key, value);
            place
        });
        &mut self.0[place].1
    }

    /// The value of that key, or a new one.
    pub(super) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.or_insert(key, V::default())
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| stays(key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps in proptest::collection::vec((any::<bool>(), 0u8..9, any::<u8>()), 0..64)) {
            let (mut list, mut tree) = (Sorted::default(), BTreeMap::new());
            for (inserts, key, value) in steps {
                match inserts {
                    true => prop_assert_eq!(list.or_insert(key, value), tree.entry(key).or_insert(value)),
                    false => {
                        list.retain(|_, value| value % 7 != key % 7);
                        tree.retain(|_, value| *value % 7 != key % 7);
                    }
                }
                prop_assert!(list.0.iter().map(|(key, value)| (key, value)).eq(tree.iter()));
            }
        }
    }
}
