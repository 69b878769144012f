//! Turns: of many who speak each is heard once before anybody is heard twice, so that who says much drowns nobody.

use std::collections::{BTreeMap, VecDeque};

/// What was said, in the turns of those who said it; what one of them said stays in its order.
pub fn turns<K: Ord, T>(said: impl IntoIterator<Item = (K, T)>) -> impl Iterator<Item = T> {
    let mut of_each: BTreeMap<K, VecDeque<T>> = BTreeMap::new();
    for (who, what) in said {
        of_each.entry(who).or_default().push_back(what);
    }
    let mut queues: VecDeque<VecDeque<T>> = of_each.into_values().collect();
    std::iter::from_fn(move || {
        let mut queue = queues.pop_front()?;
        let what = queue.pop_front();
        // Whoever has said everything has no turn any more.
        if !queue.is_empty() {
            queues.push_back(queue);
        }
        what
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_much_waits_until_everybody_was_heard() {
        let said = [("b", 1), ("b", 2), ("b", 3), ("a", 4), ("c", 5), ("a", 6)];
        assert_eq!(turns(said).collect::<Vec<_>>(), [4, 1, 5, 6, 2, 3]);
        assert_eq!(turns::<u8, u8>([]).count(), 0);
    }
}
