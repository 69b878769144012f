//! The simulated cluster as its administrator sees it.

use hostler_executor::host::{Administrator, Applying, ClusterError, merge_patch};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    host::SimHost,
    wire::{Failure, Request},
};

impl Administrator for SimHost {
    fn get(&self, path: &str) -> Result<Option<String>, ClusterError> {
        self.answer("get", Request::KubeGet { server: None, path: path.into() })
    }

    fn get_from(&self, server: &str, path: &str) -> Result<Option<String>, ClusterError> {
        self.answer("get", Request::KubeGet { server: Some(server.into()), path: path.into() })
    }

    fn find(&self, object: &Value) -> Result<Option<Value>, ClusterError> {
        self.answer("find an object", Request::KubeFind { object: object.clone() })
    }

    fn apply(&self, object: &Value, how: Applying) -> Result<Option<Value>, ClusterError> {
        let really = how == Applying::Really;
        self.answer("apply an object", Request::KubeApply { object: object.clone(), really }).map(Some)
    }

    fn patch(&self, path: &str, patch: &Value) -> Result<(), ClusterError> {
        let text = self.get(path)?.unwrap_or_else(|| "{}".into());
        let mut object: Value = serde_json::from_str(&text).unwrap_or_default();
        merge_patch(&mut object, patch);
        let request = Request::KubeApply { object, really: true };
        self.answer::<Value>("patch an object", request).map(drop)
    }

    fn delete(&self, path: &str) -> Result<(), ClusterError> {
        self.answer("delete an object", Request::KubeDelete { path: path.into() })
    }
}

impl SimHost {
    /// What an API server at an address answers about itself.
    pub(crate) fn ready_at(&self, server: &str, name: &str) -> Result<(), ClusterError> {
        self.answer("ask an API server", Request::KubeReady { server: server.into(), name: name.into() })
    }

    fn answer<T: DeserializeOwned>(&self, action: &str, request: Request) -> Result<T, ClusterError> {
        self.ask(request).map_err(|failure| match failure {
            Failure::Silent { reason } => ClusterError::Silent(reason),
            Failure::Off { .. } | Failure::Protocol { .. } => ClusterError::Silent(failure.to_string()),
            Failure::Missing { .. } | Failure::Program { .. } => {
                ClusterError::Refused { action: action.into(), reason: failure.to_string() }
            }
        })
    }
}
