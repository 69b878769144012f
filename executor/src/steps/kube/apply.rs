//! `kube.apply`: the objects of a file of manifests, by server-side apply. What others manage of them stays theirs.

use std::{fs, io::Read as _, path::Path, time::Duration};

use hostler_plan::step::Apply;
use serde_json::Value;

use crate::{
    control::POLL,
    host::{Administrator, Applying, ClusterError},
    steps::{
        action::{Action, Check, StepContext, StepError},
        host::artifact::{find_staged, staged},
    },
};

/// The manifests of a network add-on with its kinds have 300 KiB, those of everything that people bootstrap some MiB.
const MAX_BYTES: u64 = 8 << 20;

/// How long an API server that does not answer, or a kind that was only just made known, is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

impl Action for Apply {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let Some(file) = find_staged(&self.artifact, context)? else { return Ok(Check::Ready) };
        let objects = self.objects(&file)?;
        let administrator = context.administrator()?;
        for object in &objects {
            match is_so(object, administrator) {
                Ok(true) => {}
                // What is refused is refused again when it is applied, and said then.
                Ok(false) | Err(_) => return Ok(Check::Ready),
            }
        }
        Ok(Check::Done(format!("the cluster has the {} objects of {}", objects.len(), self.artifact)))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let objects = self.objects(&staged(&self.artifact, context)?)?;
        for object in &objects {
            apply(object, context)?;
        }
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let objects = self.objects(&staged(&self.artifact, context)?)?;
        let administrator = context.administrator()?;
        for object in &objects {
            if administrator.find(object)?.is_none() {
                return Err(StepError::Failed(format!("{} was applied and is not there", name(object))));
            }
        }
        Ok(format!("the cluster has the {} objects of {}", objects.len(), self.artifact))
    }
}

trait Objects {
    fn objects(&self, file: &Path) -> Result<Vec<Value>, StepError>;
}

impl Objects for Apply {
    /// The objects of the file in the order in which they can be applied.
    fn objects(&self, file: &Path) -> Result<Vec<Value>, StepError> {
        let wrong = |reason: String| StepError::Failed(format!("{} is no file of manifests: {reason}", self.artifact));
        let mut text = String::new();
        let file = fs::File::open(file).map_err(|e| wrong(e.to_string()))?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|e| wrong(e.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(wrong(format!("expected at most {MAX_BYTES} bytes, found more")));
        }
        read(&text).map_err(wrong)
    }
}

/// The objects of YAML documents, lists taken apart: what others need comes first, everything else as it stands.
fn read(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| e.to_string())?;
    let mut objects = Vec::new();
    for document in documents {
        if document["kind"] == "List" {
            objects.extend(document["items"].as_array().ok_or("a List in it has no items")?.iter().cloned());
        } else if !document.is_null() {
            objects.push(document);
        }
    }
    let is_named = |object: &Value| {
        [&object["apiVersion"], &object["kind"], &object["metadata"]["name"]].iter().all(|text| text.is_string())
    };
    if let Some(at) = objects.iter().position(|object| !is_named(object)) {
        return Err(format!("object {} of {} has no apiVersion, kind or metadata.name", at + 1, objects.len()));
    }
    if objects.is_empty() {
        return Err("there is no object in it".into());
    }
    objects.sort_by_key(|object| match object["kind"].as_str() {
        Some("Namespace") => 0,
        Some("CustomResourceDefinition") => 1,
        _ => 2,
    });
    Ok(objects)
}

/// Applies one object. An API server that is starting, and a kind that it was only just told of, are waited for.
fn apply(object: &Value, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let began = context.now();
    loop {
        let (may_pass, why) = match context.administrator()?.apply(object, Applying::Really) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => (true, format!("the API server knows no kind {}", kind(object))),
            Err(error) => (matches!(error, ClusterError::Silent(_)), error_text(&error)),
        };
        if !may_pass || context.now().since(began) >= PATIENCE {
            return Err(StepError::Failed(format!("{}: {why}", name(object))));
        }
        context.say(format!("waits to apply {}: {why}", name(object)));
        context.pause(POLL)?;
    }
}

/// What the API server says, and what a person does about it.
fn error_text(error: &ClusterError) -> String {
    let todo = match error {
        ClusterError::Refused { reason, .. } if reason.starts_with("409") => {
            "; take those fields out of the manifest, or let their manager go first"
        }
        ClusterError::Refused { .. } => "; mend the manifest and plan again",
        ClusterError::Silent(_) | ClusterError::Forbidden { .. } | ClusterError::NoAccount { .. } => "",
    };
    format!("{error}{todo}")
}

/// Whether applying would change nothing.
fn is_so(object: &Value, administrator: &dyn Administrator) -> Result<bool, ClusterError> {
    let Some(found) = administrator.find(object)? else { return Ok(false) };
    let applied = administrator.apply(object, Applying::DryRun)?;
    Ok(applied.is_some_and(|applied| without_history(found) == without_history(applied)))
}

/// An object without what the API server counts and notes of its changes.
fn without_history(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for counted in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(counted);
        }
    }
    object
}

fn kind(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} of {}", text(&object["kind"]), text(&object["apiVersion"]))
}

/// `Kind NAMESPACE/NAME`.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Result<Vec<String>, String> {
        Ok(read(text)?.iter().map(name).collect())
    }

    #[test]
    fn manifests_are_read_in_the_order_in_which_they_can_be_applied() {
        let text = "---\n# nothing\n---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: net, namespace: net}\n\
                    ---\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: Namespace, metadata: {name: net}}\n\
                    ---\n\
                    apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.b}\n";
        let expected = ["Namespace net", "CustomResourceDefinition a.b", "DaemonSet net/net"];
        assert_eq!(kinds(text), Ok(expected.map(str::to_owned).to_vec()));
        let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
        assert_eq!(kinds(json), Ok(vec!["ConfigMap a".to_owned()]));
    }

    #[test]
    fn what_is_no_manifest_is_said() {
        for (text, expected) in [
            ("", "no object"),
            ("kind: ConfigMap\nmetadata: {name: a}", "object 1 of 1 has no apiVersion"),
            ("apiVersion: v1\nkind: List", "has no items"),
            ("a: [", ""),
        ] {
            let found = kinds(text).unwrap_err();
            assert!(found.contains(expected), "{text:?}: {found}");
        }
    }
}
