//! The members of a stacked etcd, asked of the one on this machine.

use hostler_plan::id::NodeName;
use serde::Deserialize;

use super::layout::QUICK;
use crate::host::{Host, HostError};

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
