//! Values that many hold together: the pods of one controller have the same labels, and who looks at a cluster holds
//! what is known of it without a copy.

use std::{
    borrow::Borrow,
    collections::BTreeSet,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// A value that costs nothing to clone. Who changes one that others hold too gets a copy of their own first.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shared<T>(Arc<T>);

impl<T: Clone> Shared<T> {
    /// The value itself: a copy where others hold it too.
    pub fn into_inner(self) -> T {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> AsRef<T> for Shared<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}

impl<T> Borrow<T> for Shared<T> {
    fn borrow(&self) -> &T {
        &self.0
    }
}

/// Values of which each is kept once, however many hold it.
#[derive(Debug)]
pub struct Pool<T> {
    values: BTreeSet<Shared<T>>,
    /// With so many it forgets those that nobody else holds.
    full: usize,
}

/// A pool forgets nothing before it has so many values.
const LEAST: usize = 64;

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { values: BTreeSet::new(), full: LEAST }
    }
}

impl<T: Ord> Pool<T> {
    /// Makes an equal value that is known already the one that is held.
    pub fn share(&mut self, value: &mut Shared<T>) {
        if let Some(known) = self.values.get(value) {
            *value = known.clone();
            return;
        }
        if self.values.len() >= self.full {
            self.values.retain(|value| Arc::strong_count(&value.0) > 1);
            self.full = LEAST.max(2 * self.values.len());
        }
        self.values.insert(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_those_that_nobody_holds_are_forgotten() {
        let mut pool = Pool::default();
        let mut first = Shared::from("web".to_owned());
        pool.share(&mut first);
        let mut second = Shared::from("web".to_owned());
        pool.share(&mut second);
        assert!(Arc::ptr_eq(&first.0, &second.0));
        for other in 0..10 * LEAST {
            pool.share(&mut Shared::from(other.to_string()));
        }
        assert!(pool.values.len() <= LEAST, "{}", pool.values.len());
        assert!(pool.values.iter().any(|value| **value == "web"), "somebody holds it");
    }

    #[test]
    fn who_changes_a_value_changes_nobody_elses() {
        let first = Shared::from(vec![1]);
        let mut second = first.clone();
        second.push(2);
        assert_eq!((first.into_inner(), second.into_inner()), (vec![1], vec![1, 2]));
    }
}
