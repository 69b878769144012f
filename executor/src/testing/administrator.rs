//! A cluster as its administrator sees it, in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::host::{Administrator, Applying, ClusterError, merge_patch};

/// Objects by their paths, and pages such as `/readyz`.
#[derive(Debug, Default)]
pub(crate) struct TestAdministrator {
    objects: Mutex<BTreeMap<String, Value>>,
    pages: Mutex<BTreeMap<String, String>>,
    /// What every call is answered with, where it is set.
    pub silent: Mutex<Option<ClusterError>>,
    /// What happens to the cluster before a path is read, as by its kubelets.
    pub before_get: Mutex<Option<BeforeGet>>,
}

/// What is done with the cluster and the path.
pub(crate) struct BeforeGet(pub Box<Look>);

type Look = dyn Fn(&TestAdministrator, &str) + Send;

impl std::fmt::Debug for BeforeGet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeGet")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TestAdministrator {
    /// An object that is there.
    pub(crate) fn put(&self, object: Value) {
        lock(&self.objects).insert(path(&object), object);
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        lock(&self.objects).get(path).cloned()
    }

    /// What a path that is no object answers.
    pub(crate) fn page(&self, path: &str, text: impl Into<String>) {
        lock(&self.pages).insert(path.into(), text.into());
    }

    fn answer<T>(&self, answer: T) -> Result<T, ClusterError> {
        match &*lock(&self.silent) {
            Some(error) => Err(error.clone()),
            None => Ok(answer),
        }
    }
}

/// Enough of the API's paths for the kinds that are used here.
fn path(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]));
    let version = object["apiVersion"].as_str().unwrap_or("v1");
    let group = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{kind}s/{name}"),
        None => format!("{group}/{kind}s/{name}"),
    }
}

impl Administrator for TestAdministrator {
    fn get(&self, path: &str) -> Result<Option<String>, ClusterError> {
        let path = path.split('?').next().unwrap_or(path);
        if let Some(BeforeGet(happens)) = &*lock(&self.before_get) {
            happens(self, path);
        }
        let page = lock(&self.pages).get(path).cloned();
        let objects = lock(&self.objects);
        let below = || objects.iter().filter(|(at, _)| at.rsplit_once('/').is_some_and(|(list, _)| list == path));
        let found = objects.get(path).map(Value::to_string);
        let list = || Some(json!({ "items": below().map(|(_, object)| object).collect::<Vec<_>>() }).to_string());
        let is_list = path.ends_with("/secrets") || path.ends_with("/nodes");
        self.answer(page.or(found).or_else(|| if is_list { list() } else { None }))
    }

    fn get_from(&self, _: &str, path: &str) -> Result<Option<String>, ClusterError> {
        self.get(path)
    }

    fn find(&self, object: &Value) -> Result<Option<Value>, ClusterError> {
        self.answer(self.object(&path(object)))
    }

    fn apply(&self, object: &Value, how: Applying) -> Result<Option<Value>, ClusterError> {
        if how == Applying::Really {
            self.answer(())?;
            self.put(object.clone());
        }
        self.answer(Some(object.clone()))
    }

    fn patch(&self, path: &str, patch: &Value) -> Result<(), ClusterError> {
        self.answer(())?;
        match lock(&self.objects).get_mut(path) {
            Some(object) => {
                merge_patch(object, patch);
                Ok(())
            }
            None => Err(ClusterError::Refused { action: format!("patch {path}"), reason: "not found".into() }),
        }
    }

    fn delete(&self, path: &str) -> Result<(), ClusterError> {
        self.answer(())?;
        lock(&self.objects).remove(path);
        Ok(())
    }
}
