//! A component gets another manifest, and its old one back where it does not start with that.

use std::{path::Path, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::text::clean;
use serde_json::Value;

use super::{complete::Asked, run};
use crate::{
    distribution::difference::Change,
    distribution::kubeadm::{
        ASIDE, MANIFESTS,
        config::Documents,
        etcd,
        state::{self, API_SERVER, ETCD},
    },
    steps::action::{StepContext, StepError},
};

/// Longer than an etcd of two slow cores takes to come back (80 s), whose old mirror the kubelet cannot delete
/// meanwhile.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is looked whether it runs.
const LOOK: Duration = Duration::from_secs(1);

/// A container that ended so often does not start by itself: the kubelet waits 10 s, then 20 s in between.
const ENDS: u32 = 2;

/// Where the kubelet keeps what containers print.
const LOGS: &str = "/var/log/pods";

/// The manifest of a component.
pub(super) fn path(component: &str) -> String {
    format!("{MANIFESTS}/{component}.yaml")
}

fn aside(component: &str) -> String {
    format!("{ASIDE}/{component}.yaml")
}

/// The folders of what its pods printed before.
fn noted(component: &str) -> String {
    format!("{ASIDE}/{component}.logs")
}

/// Whether it has a new manifest that has not proved itself.
pub(super) fn is_underway(component: &str, context: &StepContext<'_>) -> Result<bool, StepError> {
    Ok(context.host().read_file(Path::new(&aside(component)))?.is_some())
}

/// Lets kubeadm write the component's manifest, and waits until it runs by it.
pub(super) fn replace(
    component: &'static str,
    changes: &[Change],
    documents: &Documents,
    context: &mut StepContext<'_>,
) -> Result<(), StepError> {
    if !is_underway(component, context)? {
        let Some(old) = context.host().read_file(Path::new(&path(component)))? else {
            return Err(StepError::Failed(format!("expected {}, found it gone", path(component))));
        };
        context.host().write_file(Path::new(&aside(component)), &old)?;
    }
    let logs = logs_before(component, context)?;
    let phase = match component {
        ETCD => ["etcd", "local"],
        other => ["control-plane", other.trim_start_matches("kube-")],
    };
    run::phase(phase, documents, context)?;
    context.say(format!("waits for {component} with its new manifest"));
    let Err(why) = await_start(component, &logs, context)? else {
        return forget(component, context);
    };
    put_back(component, context)?;
    Err(StepError::Failed(format!(
        "{component} did not start with {}: {why}; its old manifest is back, and nothing after it was changed. Correct \
         the fleet file and plan again",
        blamed(changes, &why)
    )))
}

/// The old manifest comes back, and the component by it; nothing where none lies aside.
pub(super) fn put_back(component: &str, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let Some(old) = context.host().read_file(Path::new(&aside(component)))? else { return Ok(()) };
    context.host().write_file(Path::new(&path(component)), &old)?;
    context.say(format!("waits for {component} with its old manifest"));
    let logs = logs(component, context)?;
    match await_start(component, &logs, context)? {
        Ok(()) => forget(component, context),
        Err(why) => Err(StepError::Failed(format!(
            "{component} did not start with its new manifest, and by its old one, which is back, neither: {why}"
        ))),
    }
}

fn forget(component: &str, context: &StepContext<'_>) -> Result<(), StepError> {
    context.host().remove(Path::new(&noted(component)))?;
    Ok(context.host().remove(Path::new(&aside(component)))?)
}

/// Waits until it runs by its manifest; in the inner result why it does not.
fn await_start(
    component: &str,
    before: &[String],
    context: &mut StepContext<'_>,
) -> Result<Result<(), String>, StepError> {
    let (began, mut said) = (context.now(), SayOnce::default());
    loop {
        let Err(missing) = runs(component, context)? else { return Ok(Ok(())) };
        let log = last_log(component, before, context)?;
        let is_over = context.now().since(began) >= PATIENCE;
        if let Some((ends, text)) = log.filter(|(ends, _)| is_over || *ends >= ENDS) {
            return Ok(Err(reason(&text).unwrap_or_else(|| format!("it ended {ends} times and said nothing"))));
        }
        if is_over {
            return Ok(Err(format!("after {} min {missing}", PATIENCE.as_secs() / 60)));
        }
        if said.is_news(&missing) {
            context.say(format!("waits: {missing}"));
        }
        context.pause(LOOK)?;
    }
}

/// Whether what runs is what the manifest says, and is Ready.
pub(super) fn runs(component: &str, context: &StepContext<'_>) -> Result<Result<(), String>, StepError> {
    let manifests = state::manifests(context.host())?;
    let Some(manifest) = manifests.iter().find(|manifest| manifest.component == component) else {
        return Ok(Err(format!("{component} has no manifest")));
    };
    let Some(server) = state::own_server(&manifests) else { return Ok(Err(format!("there is no {API_SERVER}"))) };
    let asked = Asked { administrator: context.administrator()?, server: &server };
    let node = context.subject().clone();
    let written = manifest_of(component, context)?;
    let wanted = command_of(&written);
    let shown = || -> Result<(), String> {
        asked.is_ready()?;
        let pod = asked.object(&format!("/api/v1/namespaces/kube-system/pods/{component}-{node}"))?;
        if command_of(&pod) != wanted {
            return Err(format!("{component} still runs with its earlier arguments"));
        }
        asked.pod_of(manifest, node.as_str())
    };
    if let Err(missing) = shown() {
        return Ok(Err(missing));
    }
    let is_etcd = component == ETCD;
    let members = if is_etcd { etcd::members(context.host()).ok().flatten() } else { None };
    Ok(members.and_then(|members| etcd::not_voting(&members, &node)).map_or(Ok(()), Err))
}

/// A component's manifest; null where there is none.
pub(super) fn manifest_of(component: &str, context: &StepContext<'_>) -> Result<Value, StepError> {
    let Some(text) = state::text(context.host(), path(component))? else { return Ok(Value::Null) };
    serde_saphyr::from_str(&text).map_err(|e| StepError::Failed(format!("{} cannot be read: {e}", path(component))))
}

/// The arguments that a pod's program is started with.
pub(super) fn command_of(pod: &Value) -> Vec<&str> {
    let container = &pod["spec"]["containers"][0];
    let words = ["command", "args"].into_iter().flat_map(|key| container[key].as_array().into_iter().flatten());
    words.filter_map(Value::as_str).collect()
}

/// The folders of what its pods printed.
fn logs(component: &str, context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let prefix = format!("kube-system_{component}-{}_", context.subject());
    let mut names = context.host().list_folder(Path::new(LOGS))?;
    names.retain(|name| name.starts_with(&prefix));
    Ok(names)
}

/// Those that were there before its manifest was another, also where that was before this process began.
fn logs_before(component: &str, context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let file = noted(component);
    if let Some(text) = state::text(context.host(), &file)? {
        return Ok(text.lines().map(str::to_owned).collect());
    }
    let names = logs(component, context)?;
    run::write(&file, &names.join("\n"), 0o600, context)?;
    Ok(names)
}

/// How often the newest pod's container has ended, and what it printed last.
fn last_log(component: &str, before: &[String], context: &StepContext<'_>) -> Result<Option<(u32, String)>, StepError> {
    let mut newest: Option<(u32, String)> = None;
    for name in logs(component, context)?.iter().filter(|name| !before.contains(name)) {
        let folder = format!("{LOGS}/{name}/{component}");
        let files = context.host().list_folder(Path::new(&folder))?;
        let last = files.iter().filter_map(|file| file.strip_suffix(".log")?.parse::<u32>().ok()).max();
        let Some(ends) = last else { continue };
        // One that has only just begun has not said anything; the one before it has.
        for number in [ends, ends.saturating_sub(1)] {
            let text = state::text(context.host(), format!("{folder}/{number}.log")).ok().flatten();
            if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
                newest = Some((ends, text));
                break;
            }
        }
    }
    Ok(newest)
}

/// What a program says of its end: the error that it names, or else its last line.
fn reason(log: &str) -> Option<String> {
    // As the container runtime writes it: the time, the stream, whether the line is whole, and the line.
    let lines: Vec<&str> = log.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or(line).trim()).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let named =
        |line: &&&str| ["Error:", "error:", "err=", "invalid", "unknown flag"].iter().any(|word| line.contains(word));
    let last = lines.iter().rev().find(named).or(lines.last())?;
    Some(clean(last).chars().take(300).collect())
}

/// The arguments that its words name, or all that are new.
fn blamed(changes: &[Change], why: &str) -> String {
    let arguments = || changes.iter().filter(|change| change.name.starts_with("--"));
    let is_named = |change: &&Change| {
        let name = change.name.trim_start_matches('-');
        why.contains(name)
            || change.new.as_ref().and_then(Value::as_str).is_some_and(|v| v.len() > 2 && why.contains(v))
    };
    let shown = |change: &Change| match change.new.as_ref().and_then(Value::as_str) {
        Some(value) => format!("{}={value}", change.name),
        None => format!("no {}", change.name),
    };
    let named: Vec<String> = arguments().filter(is_named).map(shown).collect();
    let named = if named.is_empty() { arguments().map(shown).collect() } else { named };
    if named.is_empty() { "its new manifest".to_owned() } else { named.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_names_the_argument() {
        let log = "2026-11-28T15:00:00.1Z stderr F I1128 15:00:00 options.go:1] external host was not specified\n\
                   2026-11-28T15:00:00.2Z stderr F Error: unknown flag: --wrong\n\
                   2026-11-28T15:00:00.2Z stderr F \n";
        let why = reason(log).unwrap();
        assert_eq!(why, "Error: unknown flag: --wrong");
        let change = |name: &str, new: &str| Change { name: name.into(), old: None, new: Some(new.into()) };
        let changes = [change("--v", "4"), change("--wrong", "x")];
        assert_eq!(blamed(&changes, &why), "--wrong=x");
        assert_eq!(blamed(&changes, "it is dark"), "--v=4, --wrong=x");
        assert_eq!(blamed(&[], "it is dark"), "its new manifest");
        assert_eq!(reason(""), None);
    }
}
