//! `image.ensure`: every image of an archive is in containerd, where the kubelet looks for it.

use std::{collections::BTreeMap, fs::File, path::Path, time::Duration};

use hostler_plan::{id::ArtifactName, step::EnsureImages};
use serde::Deserialize;

use super::{
    archive::{Content, Image, images},
    artifact::{find_staged, staged},
};
use crate::{
    host::HostError,
    steps::action::{Action, Check, StepContext, StepError},
};

/// containerd answers at once; on a Pi that starts everything at the same time it gets this long.
const QUICK: Duration = Duration::from_secs(60);

/// How often a containerd that starts is asked.
const LOOK: Duration = Duration::from_millis(500);

/// 300 MB are written twice, and an SD card takes 10 MB a second.
const LIMIT: Duration = Duration::from_secs(600);

/// containerd's client, in the namespace of the kubelet's runtime.
const CTR: [&str; 3] = ["ctr", "--namespace", "k8s.io"];

impl Action for EnsureImages {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let Some(archive) = find_staged(&self.artifact, context)? else { return Ok(Check::Ready) };
        let wanted = read(&self.artifact, &archive)?;
        match missing(&wanted, context)? {
            missing if missing.is_empty() => {
                let names: Vec<&str> = wanted.iter().map(|image| image.name.as_str()).collect();
                Ok(Check::Done(format!("containerd has {}", names.join(", "))))
            }
            _ => Ok(Check::Ready),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let archive = staged(&self.artifact, context)?;
        // What is no archive of images is said before containerd is asked.
        read(&self.artifact, &archive)?;
        ctr(&["images", "import", &archive.to_string_lossy()], LIMIT, context)?;
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let wanted = read(&self.artifact, &staged(&self.artifact, context)?)?;
        let missing = missing(&wanted, context)?;
        if missing.is_empty() {
            return Ok(format!("containerd has the {} images of {}", wanted.len(), self.artifact));
        }
        Err(StepError::Failed(format!(
            "expected containerd to have {} after {} was imported, found it has not, or with another content; see \
             `ctr --namespace k8s.io images list`",
            missing.join(", "),
            self.artifact
        )))
    }
}

fn read(name: &ArtifactName, archive: &Path) -> Result<Vec<Image>, StepError> {
    let wrong = |reason: String| StepError::Failed(format!("{name} is no archive of container images: {reason}"));
    let file = File::open(archive).map_err(|e| wrong(e.to_string()))?;
    images(file).map_err(|e| wrong(e.to_string()))
}

fn ctr(arguments: &[&str], limit: Duration, context: &StepContext<'_>) -> Result<String, StepError> {
    Ok(context.host().run(&[&CTR[..], arguments].concat(), limit)?)
}

/// What containerd lists. One that is only starting, as after a loss of power, is waited for.
fn list(context: &mut StepContext<'_>) -> Result<String, StepError> {
    const STARTING: [&str; 2] = ["cannot access socket", "connection refused"];
    let (began, mut has_said) = (context.now(), false);
    loop {
        match context.host().run(&[&CTR[..], &["images", "list"]].concat(), QUICK) {
            Err(HostError::Command { output, .. })
                if STARTING.iter().any(|text| output.contains(text)) && context.now().since(began) < QUICK =>
            {
                if !std::mem::replace(&mut has_said, true) {
                    context.say("waits for containerd, which does not answer yet");
                }
                context.pause(LOOK)?;
            }
            other => return Ok(other?),
        }
    }
}

/// The names that containerd has not, or for something else.
fn missing(wanted: &[Image], context: &mut StepContext<'_>) -> Result<Vec<String>, StepError> {
    let listed = list(context)?;
    let found = digests(&listed);
    let mut missing = Vec::new();
    for image in wanted {
        let is_there = match (found.get(image.name.as_str()), &image.content) {
            (None, _) => false,
            (Some(found), Content::Target(digest)) => found == digest,
            (Some(found), Content::Config(digest)) => config_of(found, context)?.as_deref() == Some(digest),
        };
        if !is_there {
            missing.push(image.name.clone());
        }
    }
    Ok(missing)
}

/// Names and digests of the table that `ctr images list` prints.
fn digests(listed: &str) -> BTreeMap<&str, &str> {
    let lines = listed.lines().skip(1).map(|line| line.split_whitespace());
    lines.filter_map(|mut words| Some((words.next()?, words.nth(1)?))).collect()
}

/// The digest of the configuration of an image, which names its layers; none for an index of several images.
fn config_of(manifest: &str, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    #[derive(Deserialize)]
    struct Manifest {
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    struct Config {
        digest: String,
    }
    let text = ctr(&["content", "get", manifest], QUICK, context)?;
    let read: Option<Manifest> = serde_json::from_str(&text).ok();
    Ok(read.and_then(|manifest| manifest.config).map(|config| config.digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_containerd_is_read() {
        let listed = "REF TYPE DIGEST SIZE PLATFORMS LABELS \n\
                      registry.k8s.io/pause:3.10 application/vnd.x+json sha256:aa 313.0 KiB linux/amd64 - \n\
                      sha256:bb application/vnd.x+json sha256:aa 313.0 KiB linux/amd64 - \n";
        let found = digests(listed);
        assert_eq!(found.get("registry.k8s.io/pause:3.10"), Some(&"sha256:aa"));
        assert_eq!(found.len(), 2);
        assert!(digests("").is_empty());
    }
}
