//! `registry.ensure` and `registry.forget`: with what containerd asks registries. Of the credentials nothing is said
//! but whether they are there.

use std::{fs::File, io::BufReader, path::Path};

use hostler_plan::{
    id::ArtifactName,
    registry::{Credentials, FILE, FOLDER, RegistryHost, RegistryName, SECRET_HEAD, hosts_file},
    step::registry::{Ensure, Forget},
    text::count,
};
use hostler_seal::{Identity, open_note};

use super::artifact::staged;
use crate::{
    host::{HostError, HostFile},
    steps::action::{Action, Check, StepContext, StepError},
};

/// Some dozen registries with tokens of a cloud take a tenth of it.
const MAX_BYTES: usize = 256 << 10;

impl Action for Ensure {
    /// Fetches the credentials where nobody did before: without them nobody can tell.
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let wanted = wanted(self, context)?;
        let found = context.host().read_file(Path::new(&path(&self.registry)))?;
        if found.as_ref() == Some(&wanted) {
            let with = self.hosts.iter().filter(|host| host.credentials).count();
            let asked = count(with, "address");
            return Ok(Check::Done(format!("images of {} are asked for with credentials at {asked}", self.registry)));
        }
        context.observe("change", format!("{}: {}", self.registry, difference(found.as_ref(), &wanted)));
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let wanted = wanted(self, context)?;
        Ok(context.host().write_file(Path::new(&path(&self.registry)), &wanted)?)
    }
}

fn path(registry: &RegistryName) -> String {
    format!("{}/{FILE}", registry.folder())
}

fn wanted(step: &Ensure, context: &mut StepContext<'_>) -> Result<HostFile, StepError> {
    let credentials = open(&step.artifact, context)?;
    let of = |host: &RegistryHost| credentials.of(&step.registry, &host.url).filter(|_| host.credentials);
    if let Some(host) = step.hosts.iter().find(|host| host.credentials && of(host).is_none()) {
        return Err(StepError::Failed(format!(
            "expected credentials for {} of {} in {}, found none; make the plan again",
            host.url, step.registry, step.artifact
        )));
    }
    let content = hosts_file(&step.registry, &step.hosts, of).into_bytes();
    Ok(HostFile { content, mode: 0o600, uid: 0, gid: 0 })
}

/// What was sealed to this machine.
fn open(name: &ArtifactName, context: &mut StepContext<'_>) -> Result<Credentials, StepError> {
    let failed = |why: &str| StepError::Failed(format!("{name}, the credentials of registries: {why}"));
    let file = File::open(staged(name, context)?).map_err(|e| failed(&format!("reading them failed: {e}")))?;
    let key = Identity::from_bytes(context.keys.sealing().to_bytes());
    let text = open_note(&key, BufReader::new(file), MAX_BYTES).map_err(|_| {
        failed(
            "expected them sealed to the key of this machine, found that it does not open them; make the plan again, \
             so that they are sealed to the key that the roster lists today",
        )
    })?;
    // What is wrong with it would say what is in it.
    serde_json::from_str(&text)
        .map_err(|_| failed("expected a list that this version knows, found another; update hostler-agent"))
}

/// In what the file differs, without what it holds.
fn difference(found: Option<&HostFile>, wanted: &HostFile) -> &'static str {
    let Some(found) = found.filter(|file| is_secret(file)) else { return "no credentials are there" };
    let open = |file: &HostFile| {
        let text = String::from_utf8_lossy(&file.content);
        text.lines().filter(|line| !line.starts_with("Authorization = ")).map(str::to_owned).collect::<Vec<_>>()
    };
    match (found.content == wanted.content, open(found) == open(wanted)) {
        (true, _) => "the credentials are there, and others than root can read or change them",
        (false, true) => "the credentials that are there are other ones",
        (false, false) => "who is asked, and who of them with credentials, differs",
    }
}

fn is_secret(file: &HostFile) -> bool {
    file.content.starts_with(SECRET_HEAD.as_bytes())
}

impl Action for Forget {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let left = left(self, context)?;
        if left.is_empty() {
            return Ok(Check::Done("no other credentials of registries are there".to_owned()));
        }
        for folder in left {
            context.observe("change", format!("{folder}: credentials are there that the fleet file has no more"));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        for folder in left(self, context)? {
            let in_it = |name: &str| format!("{FOLDER}/{folder}/{name}");
            context.host().remove(Path::new(&in_it(FILE)))?;
            // Alone it would be the authority of the registry itself.
            context.host().remove(Path::new(&in_it("ca.crt")))?;
            let folder = format!("{FOLDER}/{folder}");
            if context.host().list_folder(Path::new(&folder))?.is_empty() {
                context.host().remove(Path::new(&folder))?;
            }
        }
        Ok(())
    }
}

/// The folders with credentials that Hostler wrote, but for those of registries that are kept.
fn left(step: &Forget, context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let kept: Vec<String> = step.keep.iter().map(RegistryName::folder).collect();
    let mut left = Vec::new();
    for name in context.host().list_folder(Path::new(FOLDER))? {
        let folder = format!("{FOLDER}/{name}");
        let found = match context.host().read_file(Path::new(&format!("{folder}/{FILE}"))) {
            // Neither is anything that Hostler writes: a link, or what is longer than any file of ours.
            Err(HostError::File { .. } | HostError::Unexpected { .. }) => None,
            other => other?,
        };
        if found.is_some_and(|file| is_secret(&file)) && !kept.contains(&folder) {
            left.push(name);
        }
    }
    Ok(left)
}
