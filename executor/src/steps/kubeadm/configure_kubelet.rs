//! `kubelet.configure`: this node's kubelet runs by the fleet file, and its kubeconfigs lead to the cluster's endpoint.

use std::{path::Path, time::Duration};

use hostler_plan::step::{ClusterRole, configure::ConfigureKubelet};
use serde::{Deserialize, Serialize};

use super::{component, restart, run, upgrade};
use crate::{
    distribution::difference::{self, Change},
    distribution::kubeadm::{
        ASIDE, KUBELET_KUBECONFIG, KUBELET_UNIT, Kubeadm, RUN_CONFIG,
        config::{self, Documents},
        state, wanted,
    },
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership,
    },
};

/// Where kubeadm keeps what a kubelet runs by.
const FOLDER: &str = "/var/lib/kubelet";

/// Of them kubeadm writes a new one each time.
const FILES: [&str; 3] = ["config.yaml", "kubeadm-flags.env", "instance-config.yaml"];

/// What of them lies aside, and where the kubeconfigs led.
const LIST: &str = "kept.json";

/// Kubeconfigs that always lead to the endpoint; the others of a server lead to its own API server or to it.
const TO_ENDPOINT: [&str; 2] = ["admin", "super-admin"];
const TO_EITHER: [&str; 3] = ["controller-manager", "scheduler", "kubelet"];

/// Flags of a kubelet that say what it registers with, once, or what its file of the machine says too.
const READ_ONCE: [&str; 3] = ["--register-with-taints", "--container-runtime-endpoint", "--pod-infra-container-image"];

/// Settings by which a kubelet that starts again decides anew about pods that run: what does not fit or is laid out
/// otherwise is turned away or left behind
/// (<https://kubernetes.io/docs/tasks/administer-cluster/reconfigure-kubelet/>, cpu-management-policies).
const DECIDES: [&str; 14] = [
    "cgroupDriver",
    "cgroupRoot",
    "cgroupsPerQOS",
    "cpuManagerPolicy",
    "enforceNodeAllocatable",
    "evictionHard",
    "kubeReserved",
    "maxPods",
    "memoryManagerPolicy",
    "podPidsLimit",
    "podsPerCore",
    "reservedMemory",
    "reservedSystemCPUs",
    "systemReserved",
];
const DECIDES_TOO: [&str; 3] = ["topologyManagerPolicy", "topologyManagerScope", "memorySwap"];

/// What a kubelet refuses to start over when its policy is another.
const OF_POLICIES: [(&str, &str); 2] = [
    ("cpuManagerPolicy", "/var/lib/kubelet/cpu_manager_state"),
    ("memoryManagerPolicy", "/var/lib/kubelet/memory_manager_state"),
];

/// One that ends over its settings does so within a second or two, and is started again after ten.
const STEADY: Duration = Duration::from_secs(8);
const STEADY_WITHIN: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_secs(1);

/// What is otherwise than it should be.
struct Found {
    settings: Vec<Change>,
    flags: Vec<Change>,
    /// Kubeconfigs with where they lead.
    elsewhere: Vec<(String, String)>,
}

impl Found {
    fn changes(&self) -> Vec<String> {
        let settings = self.settings.iter().map(|change| format!("kubelet {change}"));
        let flags = self.flags.iter().map(|change| format!("kubelet {change}"));
        let elsewhere = self.elsewhere.iter().map(|(file, old)| format!("{file} server: {old} is another"));
        settings.chain(flags).chain(elsewhere).collect()
    }

    /// A setting that changes and by which running pods are decided about anew.
    fn decides(&self) -> Option<&Change> {
        self.settings.iter().find(|change| {
            let name = change.name.split('.').next().unwrap_or_default();
            DECIDES.contains(&name) || DECIDES_TOO.contains(&name)
        })
    }
}

impl Action for ConfigureKubelet {
    fn preflight(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        match judge(self, context)? {
            Check::Mismatch { expected, found } => Err(StepError::mismatch(&expected, &found)),
            Check::Done(_) | Check::Ready => Ok(()),
        }
    }

    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let judged = judge(self, context)?;
        if judged == Check::Ready {
            let documents = run::documents(self.config.as_str())?;
            for change in found(&documents, context)?.changes() {
                context.observe("change", change);
            }
        }
        Ok(judged)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        run::settle(context)?;
        let documents = run::documents(self.config.as_str())?;
        let found = found(&documents, context)?;
        if !found.elsewhere.is_empty() {
            is_named(&documents, context)?;
        }
        keep_aside(context)?;
        let changed = change(self.drained, &documents, &found, context);
        changed.map_err(|error| undone("the kubelet did not get its new settings", error, context))
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let ran = membership::await_running::<Kubeadm>(self.version, context).and_then(|_| await_steady(context));
        ran.map_err(|error| undone("the kubelet does not stay up with its new settings", error, context))?;
        let documents = run::documents(self.config.as_str())?;
        let left = found(&documents, context)?.changes();
        if !left.is_empty() {
            return Err(StepError::Failed(format!("kubeadm ended well, and still: {}", left.join("; "))));
        }
        forget(context)?;
        Ok("the kubelet runs by the fleet file's settings".to_owned())
    }
}

/// Changes what is otherwise: kubeconfigs and what reads them, then the kubelet.
fn change(drained: bool, documents: &Documents, found: &Found, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let endpoint = format!("https://{}", documents.endpoint().unwrap_or_default());
    let led: Vec<_> = found.elsewhere.iter().map(|(file, _)| (file.clone(), endpoint.clone())).collect();
    lead(&led, context)?;
    restart_led(&led, context)?;
    if drained {
        let changes = |name: &str| found.settings.iter().any(|change| change.name == name);
        for (_, file) in OF_POLICIES.iter().filter(|(name, _)| changes(name)) {
            context.host().remove(Path::new(file))?;
        }
    }
    let documents = documents.for_kubelet().map_err(StepError::Failed)?;
    // It stops the kubelet, writes its files and starts it.
    run::run(&["init", "phase", "kubelet-start", "--config", RUN_CONFIG], false, context, |_, context| {
        run::write(RUN_CONFIG, &documents.write(), 0o600, context)
    })
}

fn judge(step: &ConfigureKubelet, context: &StepContext<'_>) -> Result<Check, StepError> {
    let expected = format!("a node whose kubelet runs at {}", step.version);
    if state::role(context.host())?.is_none() {
        return Ok(Check::Mismatch { expected, found: "a machine that is no node; join it first".into() });
    }
    run::must_be(step.version, context)?;
    let documents = run::documents(step.config.as_str())?;
    let socket = wanted::kubelet_files(context.host(), FOLDER)?.socket;
    let wanted = documents.kind("InitConfiguration")["nodeRegistration"]["criSocket"].as_str().unwrap_or_default();
    if !socket.is_empty() && socket != wanted {
        let found = format!(
            "{socket}; another container runtime takes a machine that is removed, emptied and joined again (`hostler \
             node remove {}`)",
            context.subject()
        );
        return Ok(Check::Mismatch { expected: format!("the container runtime at {wanted}"), found });
    }
    let found = found(&documents, context)?;
    if let Some(change) = found.decides().filter(|_| !step.drained) {
        return Ok(Check::Mismatch {
            expected: "settings that leave running pods alone, or a drained node".into(),
            found: format!(
                "{change}: a kubelet that starts with it turns pods away that run; plan it with `hostler plan \
                 configure {} --drain`",
                context.subject()
            ),
        });
    }
    let is_cut_off = run::is_there(context)? || kept(context)?.is_some();
    if found.changes().is_empty() && !is_cut_off {
        return Ok(Check::Done("the kubelet runs by the fleet file's settings".into()));
    }
    Ok(Check::Ready)
}

fn found(documents: &Documents, context: &StepContext<'_>) -> Result<Found, StepError> {
    let host = context.host();
    let (lies, wanted) = (wanted::kubelet_files(host, FOLDER)?, wanted::kubelet(host, documents)?);
    let said = documents.kind("KubeletConfiguration");
    let (old, new) = (lies.flags.iter(), wanted.flags.iter());
    let mut flags = difference::arguments(old.map(String::as_str), new.map(String::as_str));
    flags.retain(|change| !READ_ONCE.contains(&change.name.as_str()));
    let mut settings = difference::between(&lies.config, &wanted.config, said);
    settings.retain(|change| change.name != "containerRuntimeEndpoint");
    Ok(Found { settings, flags, elsewhere: elsewhere(documents, context)? })
}

/// Kubeconfigs of this node that lead neither to the endpoint nor, where they may, to its own API server.
fn elsewhere(documents: &Documents, context: &StepContext<'_>) -> Result<Vec<(String, String)>, StepError> {
    let endpoint = format!("https://{}", documents.endpoint().unwrap_or_default());
    let own = state::own_server(&state::manifests(context.host())?);
    let mut found = Vec::new();
    for name in TO_ENDPOINT.into_iter().chain(TO_EITHER) {
        let file = path(name);
        let Some(text) = state::text(context.host(), &file)? else { continue };
        let Some((server, _)) = config::server_of(&text) else { continue };
        let may_be_own = TO_EITHER.contains(&name) && own.as_deref() == Some(server.as_str());
        if server != endpoint && !may_be_own {
            found.push((file, server));
        }
    }
    Ok(found)
}

/// Who is sent to an endpoint has to find a certificate with its name there.
fn is_named(documents: &Documents, context: &StepContext<'_>) -> Result<(), StepError> {
    let endpoint = format!("https://{}", documents.endpoint().unwrap_or_default());
    let host = documents.endpoint_host().unwrap_or_default();
    context.host().is_ready_at(Path::new(KUBELET_KUBECONFIG), &endpoint, &host).map_err(|error| {
        StepError::Failed(format!(
            "{endpoint} does not answer under its own name: {error}; every server has to be configured before a node \
             is sent there (`hostler plan configure --all`)"
        ))
    })
}

fn path(name: &str) -> String {
    format!("/etc/kubernetes/{name}.conf")
}

/// Lets each of these kubeconfigs lead there.
fn lead(led: &[(String, String)], context: &StepContext<'_>) -> Result<(), StepError> {
    for (file, server) in led {
        let Some(mut old) = context.host().read_file(Path::new(file))? else { continue };
        let text = String::from_utf8_lossy(&old.content).into_owned();
        let led = config::led_to(&text, server).map_err(|e| StepError::Failed(format!("{file}: {e}")))?;
        old.content = led.into_bytes();
        context.host().write_file(Path::new(file), &old)?;
    }
    Ok(())
}

/// What reads one of them once on a server runs anew.
fn restart_led(led: &[(String, String)], context: &mut StepContext<'_>) -> Result<(), StepError> {
    if state::role(context.host())? != Some(ClusterRole::Server) {
        return Ok(());
    }
    for name in TO_EITHER.into_iter().filter(|name| *name != "kubelet") {
        if !led.iter().any(|(file, _)| *file == path(name)) {
            continue;
        }
        let component = format!("kube-{name}");
        let manifests = state::manifests(context.host())?;
        let Some(manifest) = manifests.iter().find(|manifest| manifest.component == component) else { continue };
        let since = context.host().now().whole_seconds().to_string();
        restart::since(manifest, &since, context)?;
        run::await_whole((manifest.component, "server"), STEADY_WITHIN * 4, context, |context| {
            Ok(component::runs(manifest.component, context)?.err())
        })?;
    }
    upgrade::await_server(context)
}

/// Where a file lies aside; with no name the folder.
fn aside(file: &str) -> String {
    format!("{ASIDE}/kubelet/{file}").trim_end_matches('/').to_owned()
}

/// What a kubelet ran by before.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of [`FILES`] those that lie aside; the others were not there.
    files: Vec<String>,
    /// Kubeconfigs with where they led.
    led: Vec<(String, String)>,
}

/// None also where a run was cut off that was still putting it aside: the list is written last, and goes first.
fn kept(context: &StepContext<'_>) -> Result<Option<Kept>, StepError> {
    let Some(text) = state::text(context.host(), aside(LIST))? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| StepError::Failed(format!("{}: {e}", aside(LIST))))
}

/// Those by which it runs; not those that a run wrote which was cut off.
fn keep_aside(context: &StepContext<'_>) -> Result<(), StepError> {
    if kept(context)?.is_some() {
        return Ok(());
    }
    context.host().remove(Path::new(&aside("")))?;
    let mut kept = Kept { files: Vec::new(), led: Vec::new() };
    for file in FILES {
        if let Some(old) = context.host().read_file(Path::new(&format!("{FOLDER}/{file}")))? {
            context.host().write_file(Path::new(&aside(file)), &old)?;
            kept.files.push(file.to_owned());
        }
    }
    for file in TO_ENDPOINT.into_iter().chain(TO_EITHER).map(path) {
        let server = state::text(context.host(), &file)?.and_then(|text| config::server_of(&text));
        kept.led.extend(server.map(|(server, _)| (file, server)));
    }
    run::write(&aside(LIST), &serde_json::json!(kept).to_string(), 0o600, context)
}

/// Puts back what was there before, where a change did not come to its end, and says so.
fn undone(what: &str, error: StepError, context: &mut StepContext<'_>) -> StepError {
    let (StepError::Failed(why) | StepError::TimedOut(why) | StepError::Unreachable(why)) = error else { return error };
    match put_back(context) {
        Ok(back) => StepError::Failed(format!("{what}: {why}; {back}")),
        Err(StepError::Failed(again)) => {
            StepError::Failed(format!("{what}: {why}; its old ones cannot be put back: {again}"))
        }
        Err(other) => other,
    }
}

/// What becomes of the old settings, in words.
fn put_back(context: &mut StepContext<'_>) -> Result<String, StepError> {
    let Some(kept) = kept(context)? else { return Ok("nothing was changed".to_owned()) };
    let host = context.host();
    // What kubeadm wrote half nobody can read, and is another.
    let policies = |folder: &str| wanted::kubelet_files(host, folder).map(|files| files.config).unwrap_or_default();
    let (new, old) = (policies(FOLDER), policies(&aside("")));
    for (_, file) in OF_POLICIES.iter().filter(|(name, _)| new[*name] != old[*name]) {
        host.remove(Path::new(file))?;
    }
    for file in FILES {
        let path = format!("{FOLDER}/{file}");
        match host.read_file(Path::new(&aside(file)))? {
            Some(old) => host.write_file(Path::new(&path), &old)?,
            None if kept.files.iter().any(|kept| kept == file) => {}
            None => host.remove(Path::new(&path))?,
        }
    }
    let server = |file: &str| Ok::<_, StepError>(state::text(host, file)?.and_then(|text| config::server_of(&text)));
    let mut elsewhere = Vec::new();
    for (file, old) in kept.led {
        if server(&file)?.is_some_and(|(server, _)| server != old) {
            elsewhere.push((file, old));
        }
    }
    lead(&elsewhere, context)?;
    context.host().restart_unit(KUBELET_UNIT)?;
    let is_led = |context: &mut StepContext<'_>| match elsewhere.is_empty() {
        true => Ok(()),
        false => restart_led(&elsewhere, context),
    };
    Ok(match await_steady(context).and_then(|()| is_led(context)) {
        Ok(()) => {
            forget(context)?;
            "its old ones are back and it runs; correct [kubeadm.kubelet] of the fleet file".to_owned()
        }
        Err(StepError::Failed(why) | StepError::TimedOut(why) | StepError::Unreachable(why)) => {
            format!("its old ones are back, and with them neither: {why}")
        }
        Err(other) => return Err(other),
    })
}

fn forget(context: &StepContext<'_>) -> Result<(), StepError> {
    context.host().remove(Path::new(&aside(LIST)))?;
    Ok(context.host().remove(Path::new(&aside("")))?)
}

/// Waits until one process of the kubelet has run for a while.
fn await_steady(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let began = context.now();
    let mut same: Option<(Option<u32>, hostler_plan::timestamp::Timestamp)> = None;
    loop {
        let (now, pid) = (context.now(), context.host().unit(KUBELET_UNIT)?.main_pid);
        let runs = state::kubelet(context.host())?.is_some();
        let since = match same {
            Some((before, since)) if before == pid && runs => since,
            Some(_) | None => now,
        };
        same = Some((pid, since));
        if runs && now.since(since) >= STEADY {
            return Ok(());
        }
        if now.since(began) >= STEADY_WITHIN {
            return Err(StepError::Failed("it ends again and again; see `journalctl -u kubelet`".into()));
        }
        context.pause(LOOK)?;
    }
}
