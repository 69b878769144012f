//! One run of kubeadm, and what it says.

use std::{path::Path, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{step::Step, version::Version};

use super::restored;
use crate::{
    control::span,
    distribution::kubeadm::{self, ETCD_DATA, KUBEADM_UNIT, MARKER, PKI, RUN_CONFIG, config::Documents, state},
    host::{HostFile, Reach},
    steps::{
        action::{Check, StepContext, StepError},
        started::{self, Long},
    },
};

/// An upgrade of a server on an SD card, with four images to be read and an etcd that is slow: its own time limits end
/// it long before.
const LIMIT: Duration = Duration::from_secs(3600);

/// How often it is asked whether a node or a cluster is whole: what follows in the plan waits for it.
const LOOK: Duration = Duration::from_millis(500);

/// How often kubeadm is run in one go: once more where somebody killed it.
const RUNS: usize = 2;

/// Runs kubeadm as a unit of its own and says in a person's words why it failed. `prepare` writes what it reads; it is
/// told whether an earlier run was cut off.
pub(super) fn run(
    arguments: &[&str],
    mut again: bool,
    context: &mut StepContext<'_>,
    prepare: impl Fn(bool, &mut StepContext<'_>) -> Result<(), StepError>,
) -> Result<(), StepError> {
    let arguments = [&["kubeadm"][..], arguments].concat();
    let mut runs = 0;
    loop {
        prepare(again, context)?;
        let words: Vec<&str> = arguments.iter().copied().take_while(|argument| !argument.starts_with('-')).collect();
        context.say(format!("runs {}", words.join(" ")));
        let long = Long {
            unit: KUBEADM_UNIT,
            arguments: &arguments,
            limit: LIMIT,
            reach: Reach::Everybody,
            at_work: Some(kubeadm::at_work),
        };
        let end = started::run(&long, context)?;
        runs += 1;
        if end.is_success() {
            return Ok(());
        }
        if end.code.is_none() && runs < RUNS {
            context.say(format!("runs kubeadm once more: it ended with {}", end.how));
            again = true;
            continue;
        }
        let node = context.subject().as_str();
        return Err(match kubeadm::explained(&end.output, node) {
            Some(sentence) => StepError::Failed(format!("{sentence}; see `journalctl -u {KUBEADM_UNIT}`")),
            None => started::failed(&arguments, KUBEADM_UNIT, &end),
        });
    }
}

/// Runs one phase of `kubeadm init` by that configuration.
pub(super) fn phase(phase: [&str; 2], documents: &Documents, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let arguments = [&["init", "phase"][..], &phase, &["--config", RUN_CONFIG]].concat();
    run(&arguments, false, context, |_, context| write(RUN_CONFIG, &documents.write(), 0o600, context))
}

/// Whether a run of kubeadm for this very step is at work, or has ended unread: nothing is done before that.
pub(super) fn is_there(context: &StepContext<'_>) -> Result<bool, StepError> {
    started::is_there(KUBEADM_UNIT, "kubeadm", context)
}

/// Waits for the end of a run that an earlier process of ours began for this step, whatever it did: phases that are run
/// one after the other are run again from the first.
pub(super) fn settle(context: &mut StepContext<'_>) -> Result<(), StepError> {
    if is_there(context)? {
        let long = Long {
            unit: KUBEADM_UNIT,
            arguments: &["kubeadm"],
            limit: LIMIT,
            reach: Reach::Everybody,
            at_work: Some(kubeadm::at_work),
        };
        started::run(&long, context)?;
    }
    Ok(())
}

/// Notes that this configuration makes this machine a node. Whether an earlier run by it was cut off.
pub(super) fn begin(config: &str, context: &StepContext<'_>) -> Result<bool, StepError> {
    let began_before = is_marked(config, context)?;
    write(MARKER, config, 0o600, context)?;
    Ok(began_before && !state::leftovers(context.host())?.is_empty())
}

/// What lies here of a cluster, but for what this plan itself brings.
pub(super) fn found(context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let steps = || context.plan.document().tasks.iter().flat_map(|task| &task.steps);
    let brought = |path: &str| steps().any(|step| matches!(step, Step::EnsureFile(file) if file.path.as_str() == path));
    // What a snapshot brought is what the cluster begins with.
    let seeded = |step: &Step| {
        if let Step::SeedEtcd(seed) = step { restored::is_restored(&seed.restored, context) } else { Ok(false) }
    };
    let is_seeded = steps().map(seeded).collect::<Result<Vec<_>, _>>()?.into_iter().any(|is_seeded| is_seeded);
    let brought_by_seed: &[&str] = if is_seeded { &[PKI, ETCD_DATA] } else { &[] };
    let mut found = state::leftovers_but(context.host(), brought_by_seed)?;
    found.extend(state::network_leftovers(context.host(), brought)?);
    Ok(found)
}

/// What a machine with something of a cluster on it is refused with.
pub(super) fn leftovers(expected: &str, found: &str) -> Check {
    Check::Mismatch {
        expected: format!("a machine without anything of a cluster, or with what this very {expected} began"),
        found: format!(
            "{found}; where a join of this cluster left it, `hostler node remove` takes it away; where another cluster \
             did and nobody needs it, `kubeadm reset --force`, and what stays by hand"
        ),
    }
}

/// After kubeadm has ended well: waits until nothing is missing and gives how long that took. `parts` is what is waited
/// for, and `whole` what it makes.
pub(super) fn await_whole(
    (parts, whole): (&str, &str),
    patience: Duration,
    context: &mut StepContext<'_>,
    missing: impl Fn(&StepContext<'_>) -> Result<Option<String>, StepError>,
) -> Result<String, StepError> {
    await_all(parts, patience, context, missing, |missing| {
        format!("kubeadm ended well, and the {whole} is not complete: {missing}")
    })
}

/// Waits until nothing is missing and gives how long that took; `late` says what is, where that takes too long.
pub(super) fn await_all(
    parts: &str,
    patience: Duration,
    context: &mut StepContext<'_>,
    missing: impl Fn(&StepContext<'_>) -> Result<Option<String>, StepError>,
    late: impl Fn(&str) -> String,
) -> Result<String, StepError> {
    let (began, mut said) = (context.now(), SayOnce::default());
    loop {
        let Some(missing) = missing(context)? else { return Ok(span(began, context.now())) };
        if context.now().since(began) >= patience {
            let late = late(&missing);
            return Err(StepError::TimedOut(format!("after {} min: {late}", patience.as_secs() / 60)));
        }
        if said.is_news(&missing) {
            context.say(format!("waits for the {parts}: {missing}"));
        }
        context.pause(LOOK)?;
    }
}

/// kubeadm has to be of the version that it sets up.
pub(super) fn must_be(version: Version, context: &StepContext<'_>) -> Result<(), StepError> {
    match state::kubeadm(context.host())? {
        Some(found) if found == version => Ok(()),
        found => Err(StepError::Failed(format!(
            "expected kubeadm at {version}, found {}; install that program first",
            found.map_or_else(|| "none".to_owned(), |found| found.to_string())
        ))),
    }
}

/// The configuration of a plan.
pub(super) fn documents(text: &str) -> Result<Documents, StepError> {
    Documents::read(text)
        .map_err(|reason| StepError::Failed(format!("the plan's configuration of kubeadm cannot be read: {reason}")))
}

pub(super) fn unfit(reason: String) -> StepError {
    StepError::Failed(format!("the plan's configuration of kubeadm does not fit: {reason}"))
}

/// Whether this machine was begun to be made a node by just this configuration.
pub(super) fn is_marked(config: &str, context: &StepContext<'_>) -> Result<bool, StepError> {
    Ok(state::text(context.host(), MARKER)?.as_deref() == Some(config))
}

/// Writes a file of root's.
pub(super) fn write(path: &str, content: &str, mode: u32, context: &StepContext<'_>) -> Result<(), StepError> {
    let file = HostFile { content: content.as_bytes().to_vec(), mode, uid: 0, gid: 0 };
    Ok(context.host().write_file(Path::new(path), &file)?)
}
