//! The cluster with an administrator's credentials.

use serde_json::Value;

use super::ClusterError;

/// A cluster as the administrator whose file lies on this machine. Steps that make the cluster itself ask it: who is
/// let in, the bootstrap layer, and what the cluster notes of itself. Everything else is done by Hostler's own account.
/// Every call takes at most 40 seconds.
pub trait Administrator: Send + Sync {
    /// What the API server answers to GET of a path, such as `/version`; `None` when there is nothing (404).
    fn get(&self, path: &str) -> Result<Option<String>, ClusterError>;

    /// The same of the API server at that address, such as `https://10.0.0.11:6443`, whoever else serves the cluster.
    fn get_from(&self, server: &str, path: &str) -> Result<Option<String>, ClusterError>;

    /// An object of the cluster that has the kind and the name of this one; `None` where there is none, or no such
    /// kind.
    fn find(&self, object: &Value) -> Result<Option<Value>, ClusterError>;

    /// Applies an object on the server's side, with Hostler as its field manager, and gives what it is then; `None`
    /// where the API server knows no such kind. What somebody else manages and wants otherwise is refused.
    fn apply(&self, object: &Value, how: Applying) -> Result<Option<Value>, ClusterError>;

    /// Changes what lies at a path of the API by a merge patch (RFC 7386). One that names a `resourceVersion` is
    /// refused where somebody else was faster.
    fn patch(&self, path: &str, patch: &Value) -> Result<(), ClusterError>;

    /// Removes what lies at a path of the API; nothing is as good as removed.
    fn delete(&self, path: &str) -> Result<(), ClusterError>;
}

/// Whether an object is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applying {
    /// It is only said what it would be.
    DryRun,
    Really,
}

/// What an API server makes of an object by a merge patch (RFC 7386): for whoever plays one.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (key, value) in changes {
        if value.is_null() {
            target.as_object_mut().and_then(|object| object.remove(key));
        } else {
            merge_patch(&mut target[key], value);
        }
    }
}
