//! What a drain may lose, and what a signer lets it lose: of whose pods, and of which kind.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::form::{ClusterName, PodName, PodUid};

/// What is lost for ever when a pod goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Data in an emptyDir on the node's disk.
    EmptyDirDisk,
    /// Data in an emptyDir of medium `Memory`, which a reboot empties too.
    EmptyDirMemory,
    /// The pod itself: no controller starts it again.
    Unmanaged,
}

impl Loss {
    /// Every kind.
    pub const ALL: [Loss; 3] = [Loss::EmptyDirDisk, Loss::EmptyDirMemory, Loss::Unmanaged];

    /// What is lost, as the object of "loses".
    pub fn word(self) -> &'static str {
        match self {
            Loss::EmptyDirDisk => "emptyDir data on disk",
            Loss::EmptyDirMemory => "emptyDir data in memory",
            Loss::Unmanaged => "the pod itself, which nothing starts again",
        }
    }

    /// The flag of the command that allows it for every pod that a plan is about.
    pub fn flag(self) -> &'static str {
        match self {
            Loss::EmptyDirDisk => "--delete-emptydir-data=disk",
            Loss::EmptyDirMemory => "--delete-emptydir-data=memory",
            Loss::Unmanaged => "--force-unmanaged",
        }
    }

    /// The key of the fleet file that allows it for every plan.
    pub fn key(self) -> &'static str {
        match self {
            Loss::EmptyDirDisk | Loss::EmptyDirMemory => "delete_empty_dir_data",
            Loss::Unmanaged => "force_unmanaged",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The controller at the top of a pod, such as a Deployment or a CronJob, in the pod's namespace: it stays while its
/// pods come and go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopOwner {
    pub kind: ClusterName,
    pub name: ClusterName,
}

/// That this may be lost of these pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    pub of: Whose,
    pub loss: Loss,
}

/// What the consent of a command's flags means for owners that nobody saw when the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewOwners {
    /// It does not count for them: they block the drain, and somebody is asked again.
    #[default]
    Ask,
    /// It counts for them too.
    Allow,
}

/// Whose pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Whose {
    /// Those of a controller, whichever they are when the drain runs.
    Owner { namespace: ClusterName, kind: ClusterName, name: ClusterName },
    /// One pod that has no controller, and no other that ever has its name.
    Pod { pod: PodName, uid: PodUid },
}

impl Whose {
    /// Whom to ask about a pod: its owner at the top, or itself where it has none.
    pub fn of(pod: &PodName, uid: &PodUid, owner: Option<&TopOwner>) -> Self {
        match owner {
            Some(TopOwner { kind, name }) => {
                let namespace = ClusterName::of(pod.namespace());
                Whose::Owner { namespace, kind: kind.clone(), name: name.clone() }
            }
            None => Whose::Pod { pod: pod.clone(), uid: uid.clone() },
        }
    }
}

/// `NAMESPACE/KIND/NAME`, or `NAMESPACE/NAME (UID)`.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Owner { namespace, kind, name } => write!(f, "{namespace}/{kind}/{name}"),
            Whose::Pod { pod, uid } => write!(f, "{pod} ({uid})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is signed is these bytes, so that they never change.
    #[test]
    fn a_consent_is_written_in_one_form() {
        let pod: PodName = "shop/cart-0".parse().expect("a pod");
        let uid: PodUid = "7d0f-1".parse().expect("a UID");
        let owner = TopOwner { kind: ClusterName::of("Deployment"), name: ClusterName::of("web") };
        for (of, loss, written) in [
            (
                Whose::of(&pod, &uid, Some(&owner)),
                Loss::EmptyDirDisk,
                r#"{"of":{"owner":{"namespace":"shop","kind":"Deployment","name":"web"}},"loss":"empty_dir_disk"}"#,
            ),
            (
                Whose::of(&pod, &uid, None),
                Loss::Unmanaged,
                r#"{"of":{"pod":{"pod":"shop/cart-0","uid":"7d0f-1"}},"loss":"unmanaged"}"#,
            ),
        ] {
            let consent = Consent { of, loss };
            assert_eq!(serde_json::to_string(&consent).expect("serialisable"), written);
            assert_eq!(crate::json::parse::<Consent>(written.as_bytes()), Ok(consent));
        }
    }
}
