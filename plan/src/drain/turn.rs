//! In which order pods leave, and how many of one controller at a time.

use std::cmp::Reverse;

use super::pods::Fate;
use crate::cluster::Pod;

/// How strong a controller was before, and how much of that may be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strength {
    /// Its Ready pods before the first of them went.
    pub before: u32,
    pub at_once: u32,
}

impl Strength {
    /// Whether one more may go while so many are Ready.
    pub fn allows_another(self, ready: u32) -> bool {
        self.before.saturating_sub(ready) < self.at_once
    }
}

/// A StatefulSet's pods leave as it would take them down itself: the highest number first.
pub fn in_order<'p>(left: impl Iterator<Item = &'p (Pod, Fate)>) -> Vec<&'p (Pod, Fate)> {
    let number = |pod: &Pod| {
        let owner = pod.owner.as_ref().filter(|owner| owner.kind == "StatefulSet")?;
        pod.key.name.strip_prefix(owner.name.as_str())?.strip_prefix('-')?.parse::<u64>().ok()
    };
    let mut left: Vec<&(Pod, Fate)> = left.collect();
    left.sort_by_key(|(pod, _)| Reverse(number(pod)));
    left
}
