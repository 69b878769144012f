//! The members of a stacked etcd, asked of the one on this machine.

use std::net::IpAddr;

use hostler_plan::{id::NodeName, quorum::Quorum};
use serde::Deserialize;

use super::layout::QUICK;
use crate::host::{Host, HostError};

/// A member is asked this long whether it answers, so that one whose machine is off holds nobody up.
const ANSWER_SECONDS: &str = "5s";

/// etcdctl with the certificate that kubeadm makes for the health checks of the static pod.
const ETCDCTL: [&str; 9] = [
    "etcdctl",
    "--endpoints",
    "https://127.0.0.1:2379",
    "--cacert",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "--cert",
    "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
    "--key",
    "/etc/kubernetes/pki/etcd/healthcheck-client.key",
];

/// A member of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Member {
    #[serde(rename = "ID")]
    pub id: u64,
    /// Empty until it has started for the first time.
    #[serde(default)]
    pub name: String,
    /// Where other members reach it, also before it has started.
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; none before it has started.
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
    /// It does not vote yet.
    #[serde(default, rename = "isLearner")]
    pub is_learner: bool,
}

/// A command of etcdctl to the member on this machine.
pub(crate) fn command<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&ETCDCTL[..], arguments].concat()
}

/// The members; none where this machine has no etcdctl.
pub(crate) fn members(host: &dyn Host) -> Result<Option<Vec<Member>>, HostError> {
    match host.run(&command(&["member", "list", "--write-out", "json"]), QUICK) {
        Ok(text) => read(&text).map(Some),
        Err(HostError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(text: &str) -> Result<Vec<Member>, HostError> {
    #[derive(Deserialize)]
    struct List {
        members: Vec<Member>,
    }
    let list: List = serde_json::from_str(text).map_err(|e| HostError::Unexpected {
        what: "list of etcd's members",
        expected: "JSON as etcdctl 3.4 and later write it",
        found: e.to_string(),
    })?;
    Ok(list.members)
}

/// The member of that node: by its name, or by its address where it has never started. A sentence says that the address
/// is another one's.
pub(crate) fn of_node<'a>(
    members: &'a [Member],
    node: &NodeName,
    address: Option<IpAddr>,
) -> Result<Option<&'a Member>, String> {
    if let Some(member) = members.iter().find(|member| member.name == node.as_str()) {
        return Ok(Some(member));
    }
    let Some(there) = members.iter().find(|member| address.is_some_and(|address| member.is_at(address))) else {
        return Ok(None);
    };
    match there.name.as_str() {
        "" => Ok(Some(there)),
        other => Err(format!(
            "etcd's member {:x} has the address of {node} and is called {other}; correct the address in the fleet file",
            there.id
        )),
    }
}

impl Member {
    fn is_at(&self, address: IpAddr) -> bool {
        let host = match address {
            IpAddr::V4(address) => format!("//{address}:"),
            IpAddr::V6(address) => format!("//[{address}]:"),
        };
        self.peer_urls.iter().any(|url| url.contains(&host))
    }

    /// What people call it.
    pub(crate) fn said(&self) -> String {
        let name = if self.name.is_empty() { "(never started)" } else { &self.name };
        format!("{:x} {name}", self.id)
    }

    /// Whether it answers: its state alone, because a learner serves no question about its health.
    pub(crate) fn answers(&self, host: &dyn Host) -> Result<bool, HostError> {
        if self.client_urls.is_empty() {
            return Ok(false);
        }
        let urls = self.client_urls.join(",");
        let mut status = command(&["--command-timeout", ANSWER_SECONDS, "endpoint", "status"]);
        status[2] = &urls;
        match host.run(&status, QUICK) {
            Ok(_) => Ok(true),
            Err(HostError::Command { .. } | HostError::TimedOut { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Takes a member out for good. Those that are left must have agreed before anybody empties its machine.
pub(crate) fn remove(host: &dyn Host, member: &Member) -> Result<(), HostError> {
    host.run(&command(&["member", "remove", &format!("{:x}", member.id)]), QUICK).map(drop)
}

/// Lets a learner vote that has caught up.
pub(crate) fn promote(host: &dyn Host, member: &Member) -> Result<(), HostError> {
    host.run(&command(&["member", "promote", &format!("{:x}", member.id)]), QUICK).map(drop)
}

/// Why this member must not be removed: the others would be no majority, or nobody could agree to it. `answering` are
/// the ids of the members that answer.
pub(crate) fn must_stay(members: &[Member], member: &Member, answering: &[u64]) -> Option<String> {
    // What does not vote is no part of any majority.
    if member.is_learner {
        return None;
    }
    let voters: Vec<&Member> = members.iter().filter(|member| !member.is_learner).collect();
    let answers = |member: &&&Member| answering.contains(&member.id);
    let now = Quorum { members: voters.len(), healthy: voters.iter().filter(answers).count() };
    let silent: Vec<String> = voters.iter().filter(|voter| !answers(voter)).map(|voter| voter.said()).collect();
    let silent = silent.join(", ");
    if now.members <= 1 {
        return Some(format!("{} is the only member of etcd", member.said()));
    }
    if !now.is_kept() {
        return Some(format!(
            "{now} and {} are needed to agree: bring one of {silent} back, or restore a snapshot",
            now.needed()
        ));
    }
    let left = now.removed(answers(&&member));
    (!left.is_kept()).then(|| {
        format!(
            "without {} {left} and {} are needed: bring {silent} back or remove it first",
            member.said(),
            left.needed()
        )
    })
}

/// Why a server does not vote in etcd; none when it does, or when nobody can tell.
pub(crate) fn not_voting(members: &[Member], node: &NodeName) -> Option<String> {
    match members.iter().find(|member| member.name == node.as_str()) {
        Some(member) if member.is_learner => Some(format!(
            "etcd's member {:x} of {node} is a learner, which does not vote; it blocks every further server",
            member.id
        )),
        Some(_) => None,
        None => Some(format!("etcd has no member {node} that ever started")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, is_learner: bool) -> Member {
        let peer_urls = vec![format!("https://10.0.0.{id}:2380")];
        Member { id, name: name.into(), peer_urls, client_urls: Vec::new(), is_learner }
    }

    #[test]
    fn a_member_is_removed_only_where_a_majority_stays() {
        let three = [member(1, "c1", false), member(2, "c2", false), member(3, "c3", false)];
        let stays = |members: &[Member], of: usize, answering: &[u64]| must_stay(members, &members[of], answering);
        assert_eq!(stays(&three, 2, &[1, 2, 3]), None);
        assert_eq!(stays(&three, 2, &[1, 2]), None, "a dead one of three");
        let lost = stays(&three, 0, &[1, 2]).unwrap();
        assert!(lost.contains("without 1 c1 1 of 2 members is healthy") && lost.contains("bring 3 c3 back"), "{lost}");
        assert!(stays(&three, 2, &[1]).unwrap().contains("are needed to agree"));
        assert_eq!(stays(&three[..2], 1, &[1, 2]), None);
        assert!(stays(&three[..2], 1, &[1]).unwrap().contains("are needed to agree"));
        assert!(stays(&three[..1], 0, &[1]).unwrap().contains("the only member"));
        let learner = [member(1, "c1", false), member(2, "", true)];
        assert_eq!(stays(&learner, 1, &[1]), None, "a learner takes nothing away");
        assert!(stays(&learner, 0, &[1]).unwrap().contains("the only member"));
    }

    #[test]
    fn a_member_that_never_started_is_found_by_its_address_alone() {
        let members = [member(1, "c1", false), member(13, "", true), member(14, "old", false)];
        let found = |name: &str, address: &str| {
            of_node(&members, &NodeName::new(name).unwrap(), address.parse().ok()).map(|m| m.map(|m| m.id))
        };
        assert_eq!(found("c1", ""), Ok(Some(1)));
        assert_eq!(found("c3", "10.0.0.13"), Ok(Some(13)));
        assert_eq!(found("c3", "10.0.0.130"), Ok(None));
        assert_eq!(found("c3", "10.0.0.3"), Ok(None));
        assert!(found("c3", "10.0.0.14").unwrap_err().contains("is called old"));
    }

    #[test]
    fn members_are_read_and_learners_told() {
        let text = r#"{"header":{"cluster_id":1},"members":[
            {"ID":11703905170464361475,"name":"c1","peerURLs":["https://10.0.0.1:2380"],"clientURLs":["x"]},
            {"ID":255,"name":"c2","peerURLs":["x"],"isLearner":true},{"ID":7,"peerURLs":["https://10.0.0.3:2380"]}]}"#;
        let members = read(text).unwrap();
        let why = |name: &str| not_voting(&members, &NodeName::new(name).unwrap());
        assert_eq!(why("c1"), None);
        assert!(why("c2").unwrap().contains("member ff of c2 is a learner"));
        assert!(why("c3").unwrap().contains("no member c3"));
        assert!(read("{}").is_err());
    }
}
