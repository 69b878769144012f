//! `etcd.restore`: etcd's data are those of the snapshot, as one member of a new etcd; those before lie aside.

use std::{path::Path, time::Duration};

use hostler_plan::step::restore::{Member, Restore, Restored};

use super::{
    restored::{self, MARK, MEMBER, Places},
    run,
};
use crate::{
    distribution::kubeadm::ETCD_DATA,
    steps::action::{Action, Check, StepContext, StepError},
};

/// All of the data are written, on an SD card too.
const LIMIT: Duration = Duration::from_secs(600);

impl Action for Restore {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let name = &self.restored.name;
        let places = Places::of(name);
        let is_restored = restored::is_restored(&self.restored, context)?;
        // With the data in their place nothing of the snapshot is needed any more.
        let left = [&places.snapshot, &places.proved].map(|path| context.host().measure_file(Path::new(path)));
        let left = left.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().count();
        if is_restored && left == 0 && context.host().list_folder(Path::new(&places.new))?.is_empty() {
            return Ok(Check::Done(format!("etcd's data are those of restore {name}")));
        }
        if is_restored {
            return Ok(Check::Ready);
        }
        let running = restored::at_work(context)?;
        if !running.is_empty() {
            let found = format!("{}; make the plan again", running.join(" and "));
            return Ok(Check::Mismatch { expected: "neither etcd nor an API server that runs".into(), found });
        }
        if restored::own_member(&self.restored, context).is_none() || left < 2 {
            let expected = format!("{} as a member, and the proved snapshot in {}", context.subject(), places.snapshot);
            return Ok(Check::Mismatch { expected, found: "none; make the plan again".into() });
        }
        if restored::has_data(context)? && !context.host().list_folder(Path::new(&places.before))?.is_empty() {
            return Ok(Check::Mismatch {
                expected: format!("no data of etcd beside those in {}", places.before),
                found: format!("{ETCD_DATA}/{MEMBER}; move it away by hand, and make the plan again"),
            });
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        exchange(&self.restored, self.bump_revision, &Places::of(&self.restored.name), context)
    }
}

/// Puts the restored data in the place of those that are there, and removes what was needed for it.
pub(super) fn exchange(
    restored: &Restored,
    bump_revision: u64,
    places: &Places,
    context: &mut StepContext<'_>,
) -> Result<(), StepError> {
    let data = format!("{ETCD_DATA}/{MEMBER}");
    if !restored::is_restored(restored, context)? {
        make(restored, bump_revision, places, context)?;
        if restored::has_data(context)? {
            context.say(format!("puts etcd's data aside, to {}", places.before));
            context.host().rename(Path::new(&data), Path::new(&format!("{}/{MEMBER}", places.before)))?;
        }
        // The data and the word that they are restored come into their place at once.
        context.host().rename(Path::new(&format!("{}/{MEMBER}", places.new)), Path::new(&data))?;
    }
    for gone in [&places.new, &places.snapshot, &places.proved] {
        context.host().remove(Path::new(gone))?;
    }
    Ok(())
}

/// Makes the restored data beside those that are there; what an earlier try left of them goes first.
fn make(
    restored: &Restored,
    bump_revision: u64,
    places: &Places,
    context: &mut StepContext<'_>,
) -> Result<(), StepError> {
    let Some(own) = restored::own_member(restored, context) else { return Ok(()) };
    let told = |member: &Member| format!("{}={}", member.name, restored::peer_url(member));
    let cluster: Vec<String> = restored.members.iter().map(told).collect();
    let (cluster, url, bump) = (cluster.join(","), restored::peer_url(own), bump_revision.to_string());
    context.host().remove(Path::new(&places.new))?;
    context.say("restores etcd's data from the snapshot");
    let command = [
        "etcdutl",
        "snapshot",
        "restore",
        &places.snapshot,
        "--data-dir",
        &places.new,
        "--name",
        own.name.as_str(),
        "--initial-cluster",
        &cluster,
        "--initial-cluster-token",
        restored.name.as_str(),
        "--initial-advertise-peer-urls",
        &url,
        "--bump-revision",
        &bump,
        "--mark-compacted",
    ];
    context.host().run(&command, LIMIT)?;
    run::write(&format!("{}/{MEMBER}/{MARK}", places.new), restored.name.as_str(), 0o600, context)?;
    // Before they are anybody's data.
    context.host().run(&["sync", "--file-system", ETCD_DATA], LIMIT)?;
    Ok(())
}
