//! Patches over what kubeadm writes, as it reads them from a folder
//! (<https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/control-plane-flags/#patches>).

use super::super::problem::or_nearest;

/// What can be patched.
const TARGETS: &[&str] = &[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "etcd",
    "kubeletconfiguration",
    "corednsdeployment",
];

/// How it is put over the target; nothing is `strategic`.
const TYPES: &[&str] = &["strategic", "merge", "json"];

/// A patch of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// `TARGET[SUFFIX][+TYPE]`; kubeadm applies those of a target in the order of their names.
    pub name: String,
    /// JSON, in one line.
    pub content: String,
}

impl Patch {
    /// The patch of that name; else what is wrong with it and what to do.
    pub(super) fn read(name: &str, value: &toml::Value) -> Result<Self, String> {
        let (what, kind) = name.split_once('+').unwrap_or((name, "strategic"));
        if !TYPES.contains(&kind) {
            let hint = or_nearest(kind, TYPES.iter().copied(), || "leave it away for a strategic one".into());
            return Err(format!("expected a type of {}, found {kind:?}; {hint}", TYPES.join(", ")));
        }
        let suffix = TARGETS.iter().find_map(|target| what.strip_prefix(target));
        if !suffix.is_some_and(|s| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')) {
            let hint = or_nearest(what, TARGETS.iter().copied(), || "change it".into());
            return Err(format!("expected a target of {}, found {what:?}; {hint}", TARGETS.join(", ")));
        }
        let patch = match value.as_str() {
            Some(text) => serde_json::from_str(text)
                .map_err(|wrong| format!("it is no JSON ({wrong}); write it as a table of this file, or as JSON"))?,
            None => serde_json::to_value(value).map_err(|wrong| format!("it is no JSON ({wrong}); change it"))?,
        };
        let fits = if kind == "json" { patch.is_array() } else { patch.is_object() };
        if !fits {
            let expected = if kind == "json" { "a list of operations" } else { "a table" };
            return Err(format!("expected {expected}, as a patch of type {kind} is, found another value; change it"));
        }
        Ok(Self { name: name.to_owned(), content: patch.to_string() })
    }

    /// The file in kubeadm's folder of patches.
    pub fn file(&self) -> String {
        format!("{}.json", self.name)
    }
}
