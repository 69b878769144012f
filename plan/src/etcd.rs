//! Whether etcd is well enough for one of its servers to be changed.

/// etcd as the server sees it that is about to be changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EtcdState {
    /// What its status complains of, such as `NOSPACE`.
    pub alarms: Vec<String>,
    /// Bytes of its database on the disk.
    pub size: u64,
    /// Bytes that it may have; none where its version does not say.
    pub quota: Option<u64>,
    /// Of every write to its log since it began: 99 of 100 were on the disk within so many seconds.
    pub fsync_p99_seconds: Option<f64>,
    pub members: Vec<EtcdMember>,
}

/// A member as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdMember {
    /// Empty while it never started.
    pub name: String,
    pub is_learner: bool,
    /// Whether it answers a question that needs the majority.
    pub is_healthy: bool,
}

/// The quota where nobody set one (<https://etcd.io/docs/v3.6/dev-guide/limit/>).
const DEFAULT_QUOTA: u64 = 2 << 30;

/// At the quota etcd takes no writes any more, an upgrade of Kubernetes writes, and compaction frees no file.
const MAX_FULL_PERCENT: u64 = 80;

/// Half of the second after which members elect another leader: with a server away and kubeadm copying the database
/// beside it there is no room left. etcd's own advice is 0.01 s, which few SD cards keep.
const MAX_FSYNC_SECONDS: f64 = 0.5;

impl EtcdState {
    /// Why server `node` is not changed now, in a sentence with what to do; none when all is well.
    pub fn hinders(&self, node: &str) -> Option<String> {
        if let Some(alarm) = self.alarms.first() {
            return Some(format!(
                "etcd has an alarm: {alarm}; compact and defragment it, then `etcdctl alarm disarm`, and go on"
            ));
        }
        let quota = self.quota.unwrap_or(DEFAULT_QUOTA);
        if self.size.saturating_mul(100) > quota.saturating_mul(MAX_FULL_PERCENT) {
            let (size, quota) = (self.size / 1_000_000, quota / 1_000_000);
            return Some(format!(
                "etcd's database has {size} MB of the {quota} MB that it may have, and takes no writes once it is \
                 full; defragment it (`etcdctl defrag`) or raise quota-backend-bytes"
            ));
        }
        if let Some(seconds) = self.fsync_p99_seconds.filter(|seconds| *seconds > MAX_FSYNC_SECONDS) {
            return Some(format!(
                "etcd's disk is slow: 1 of 100 writes to its log took {seconds:.2} s or more since it began, and \
                 members elect anew after 1 s; look for what else writes there, or move /var/lib/etcd to a faster disk"
            ));
        }
        self.quorum_without(node)
    }

    /// Learners do not vote; a majority of those that do must stay while this server is away. One or two of them never
    /// had one to spare: that outage was accepted by name.
    fn quorum_without(&self, node: &str) -> Option<String> {
        if let Some(learner) = self.members.iter().find(|member| member.is_learner) {
            let name = if learner.name.is_empty() { "that never started" } else { &learner.name };
            return Some(format!(
                "etcd has a learner {name}, which does not vote yet; finish its join or remove it, then go on"
            ));
        }
        let needed = self.members.len() / 2 + 1;
        let healthy: Vec<&EtcdMember> = self.members.iter().filter(|m| m.is_healthy && m.name != node).collect();
        if self.members.len() < 3 || healthy.len() >= needed {
            return None;
        }
        let ill: Vec<&str> = self.members.iter().filter(|m| !m.is_healthy).map(|m| m.name.as_str()).collect();
        Some(format!(
            "etcd has {} members, {} of them without {node} are healthy, and {needed} are needed while {node} is away; \
             see to {}",
            self.members.len(),
            healthy.len(),
            ill.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> EtcdState {
        let member = |name: &str| EtcdMember { name: name.to_owned(), is_learner: false, is_healthy: true };
        let members = ["s1", "s2", "s3"].map(member).to_vec();
        EtcdState { size: 100 << 20, fsync_p99_seconds: Some(0.02), members, ..EtcdState::default() }
    }

    #[test]
    fn a_well_etcd_hinders_nothing_and_each_trouble_has_its_sentence() {
        assert_eq!(well().hinders("s1"), None);
        type Break = fn(&mut EtcdState);
        let cases: [(Break, &str); 7] = [
            (|s| s.alarms.push("NOSPACE".into()), "alarm: NOSPACE"),
            (|s| s.size = 1_800_000_000, "1800 MB of the 2147 MB"),
            (|s| s.quota = Some(110 << 20), "104 MB of the 115 MB"),
            (|s| s.fsync_p99_seconds = Some(0.7), "took 0.70 s or more"),
            (|s| s.members[2].is_learner = true, "a learner s3"),
            (|s| s.members[2].is_healthy = false, "1 of them without s1 are healthy, and 2 are needed"),
            (|s| s.members.push(EtcdMember { name: String::new(), is_learner: true, is_healthy: false }), "never"),
        ];
        for (broken, sentence) in cases {
            let mut state = well();
            broken(&mut state);
            let said = state.hinders("s1").unwrap_or_default();
            assert!(said.contains(sentence), "{sentence}: {said}");
        }
    }

    #[test]
    fn the_ill_server_itself_may_be_changed_and_two_have_none_to_spare() {
        let mut state = well();
        state.members[0].is_healthy = false;
        assert_eq!(state.hinders("s1"), None, "the two others are a majority");
        assert!(state.hinders("s2").is_some());
        state.members.truncate(2);
        assert_eq!(state.hinders("s2"), None);
    }
}
