//! A static pod restarts where its manifest changes. A manifest that were taken away for that could stay away, so a
//! note in it says since when it is to run; the kubelet takes that for a new pod, and the pod's mirror says when.

use std::path::Path;

use serde_json::Value;

use super::complete::Asked;
use crate::{
    distribution::kubeadm::{MANIFESTS, state::Manifest},
    steps::action::{StepContext, StepError},
};

/// Since when it is to run.
const SINCE: &str = "hostler.dev/restarted";

/// Lets a component run anew that does not run since then.
pub(super) fn since(manifest: &Manifest, since: &str, context: &StepContext<'_>) -> Result<(), StepError> {
    let path = format!("{MANIFESTS}/{}.yaml", manifest.component);
    let Some(mut file) = context.host().read_file(Path::new(&path))? else {
        return Err(StepError::Failed(format!("expected {path}, found it gone")));
    };
    let text = String::from_utf8_lossy(&file.content).into_owned();
    let noted = note(&text, since).map_err(|reason| StepError::Failed(format!("{path}: {reason}")))?;
    if noted != text {
        file.content = noted.into_bytes();
        context.host().write_file(Path::new(&path), &file)?;
    }
    Ok(())
}

/// Whether what runs is what the manifest says since then, and is Ready.
pub(super) fn runs(manifest: &Manifest, since: &str, node: &str, asked: &Asked<'_>) -> Result<(), String> {
    let name = format!("{}-{node}", manifest.component);
    let pod = asked.object(&format!("/api/v1/namespaces/kube-system/pods/{name}"))?;
    match pod["metadata"]["annotations"][SINCE].as_str() {
        Some(found) if found == since => asked.pod_of(manifest, node),
        Some(_) | None => Err(format!("{name} still runs as before")),
    }
}

/// The manifest with that note in it, and nothing else of it changed.
fn note(text: &str, since: &str) -> Result<String, String> {
    let line = format!("    {SINCE}: {since:?}");
    let mut lines: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with(SINCE)).collect();
    let metadata = lines.iter().position(|l| *l == "metadata:").ok_or("it has no line `metadata:`")?;
    let rest = &lines[metadata + 1..];
    let within = rest.iter().take_while(|l| l.starts_with(' ')).count();
    match rest[..within].iter().position(|l| *l == "  annotations:") {
        Some(annotations) => lines.insert(metadata + annotations + 2, &line),
        None => lines.splice(metadata + 1..metadata + 1, ["  annotations:", &line]).for_each(drop),
    }
    let noted = lines.join("\n") + "\n";
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).map_err(|e| e.to_string());
    if bare(parse(&noted)?) != bare(parse(text)?) || parse(&noted)?["metadata"]["annotations"][SINCE] != since {
        return Err("its metadata is written in a way that nobody but a person changes; restart its pod by hand".into());
    }
    Ok(noted)
}

/// Without the note.
fn bare(mut pod: Value) -> Value {
    let metadata = pod["metadata"].as_object_mut();
    if let Some(metadata) = metadata
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(SINCE);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_gets_one_note_and_keeps_all_else() {
        for text in [
            "kind: Pod\nmetadata:\n  annotations:\n    a.b/c: 10.0.0.1:6443\n  labels:\n    tier: x\nspec: {}\n",
            "kind: Pod\nmetadata:\n  labels:\n    tier: x\n  name: kube-scheduler\nspec: {}\n",
        ] {
            let first = note(text, "2026-11-28T08:00:00Z").unwrap();
            let again = note(&first, "2027-11-28T08:00:00Z").unwrap();
            assert_eq!(note(&again, "2027-11-28T08:00:00Z").unwrap(), again);
            assert_eq!(again.matches(SINCE).count(), 1, "{again}");
            let read: Value = serde_saphyr::from_str(&again).unwrap();
            assert_eq!(read["metadata"]["annotations"][SINCE], "2027-11-28T08:00:00Z");
            assert_eq!(bare(read), bare(serde_saphyr::from_str(text).unwrap()));
        }
    }

    #[test]
    fn a_manifest_that_is_written_otherwise_is_left_alone() {
        for text in ["{\"metadata\": {}}", "metadata: {name: x}\n", "metadata:\n    annotations:\n        a: b\n", ""] {
            assert!(note(text, "2026-11-28T08:00:00Z").is_err(), "{text:?}");
        }
    }
}
