//! `etcd.seed`: a bare machine has the authorities and etcd's data of a snapshot, for `kubeadm init` to begin with.

use std::path::Path;

use hostler_plan::step::restore::Seed;

use super::{
    receive::{self, ENCRYPTION, Taken},
    restore,
    restored::{self, Places},
    run,
};
use crate::{
    distribution::kubeadm::{PKI, SERVER_FILES, state},
    host::HostFile,
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for Seed {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let places = Places::of(&self.restored.name);
        let is_there = |name: &&str| {
            let file = context.host().read_file(Path::new(&format!("{PKI}/{name}")));
            file.map(|file| file.is_some())
        };
        let files = SERVER_FILES.iter().map(is_there).collect::<Result<Vec<_>, _>>()?;
        let is_begun = state::text(context.host(), &places.proved)?.is_some();
        if restored::is_restored(&self.restored, context)? && files.into_iter().all(|is_there| is_there) {
            return Ok(match is_begun {
                true => Check::Ready,
                false => Check::Done(format!("the cluster of snapshot {} can begin here", self.snapshot.name)),
            });
        }
        let found = run::found(context)?;
        if found.is_empty() || is_begun {
            return Ok(Check::Ready);
        }
        Ok(run::leftovers("plan", &found.join(", ")))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let places = Places::of(&self.restored.name);
        if !restored::is_restored(&self.restored, context)? {
            let taken = Taken { artifact: &self.artifact, snapshot: &self.snapshot, restored: &self.restored };
            let opened = receive::take_in(taken, context, |opened, _| {
                let is_encrypted = opened.iter().any(|part| part.file.name == ENCRYPTION);
                Ok(is_encrypted.then(|| {
                    let found = "Secrets that are encrypted with keys of an own file; restore by hand".to_owned();
                    ("a snapshot whose Secrets need no other keys".to_owned(), found)
                }))
            })?;
            for part in &opened {
                let Some((name, content)) = part.file.name.strip_prefix("pki/").zip(part.content.as_ref()) else {
                    continue;
                };
                if !SERVER_FILES.contains(&name) {
                    continue;
                }
                let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
                let file = HostFile { content: content.clone(), mode, uid: 0, gid: 0 };
                context.host().write_file(Path::new(&format!("{PKI}/{name}")), &file)?;
            }
        }
        restore::exchange(&self.restored, self.bump_revision, &places, context)
    }
}
