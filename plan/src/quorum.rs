//! Whether etcd keeps its majority while a server is away. Servers are counted, not members: who is a member of etcd,
//! no API of Kubernetes tells.

use std::fmt;

/// The servers of a cluster, as etcd counts them. A cordon changes nothing about them: etcd runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    pub members: usize,
    /// Those that are Ready.
    pub healthy: usize,
}

impl Quorum {
    /// How many have to be healthy.
    pub fn needed(self) -> usize {
        self.members / 2 + 1
    }

    /// Whether it has a majority.
    pub fn is_kept(self) -> bool {
        self.healthy >= self.needed()
    }

    /// After one of the healthy went.
    #[must_use]
    pub fn less_one(self) -> Self {
        Self { healthy: self.healthy.saturating_sub(1), ..self }
    }

    /// After one more is healthy.
    #[must_use]
    pub fn one_more(self) -> Self {
        Self { healthy: self.members.min(self.healthy + 1), ..self }
    }

    /// After one of the members was removed for good.
    #[must_use]
    pub fn removed(self, was_healthy: bool) -> Self {
        let less = usize::from(was_healthy);
        Self { members: self.members.saturating_sub(1), healthy: self.healthy.saturating_sub(less) }
    }

    /// What taking this healthy server away leaves.
    pub fn without(self, server: impl fmt::Display) -> String {
        format!("{self}, taking {server} leaves {} where {} are needed", self.less_one().healthy, self.needed())
    }
}

/// `2 of 3 members are healthy`.
impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are = if self.healthy == 1 { "is" } else { "are" };
        write!(f, "{} of {} members {are} healthy", self.healthy, self.members)
    }
}
