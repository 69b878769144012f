//! `kubeadm.upgrade`: this node's components, without its kubelet. How far they are is read from the machine each time;
//! a tool that was cut off is run again.

use std::time::Duration;

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{
    step::{ClusterRole, kubeadm::Upgrade},
    text,
    version::Version,
};
use serde_json::Value;

use super::{backups, complete::Asked, run, snapshot};
use crate::{
    control::POLL,
    distribution::kubeadm::{
        KUBELET_CONFIG, QUICK, RUN_CONFIG, etcd, health, settings,
        state::{self, API_SERVER, ETCD, Manifest},
    },
    steps::action::{Action, Check, StepContext, StepError},
};

/// An API server of its own that is restarting, or an etcd that elects.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

impl Action for Upgrade {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let expected = format!("a node of a kubeadm cluster at {} or older", self.version);
        let Some(role) = state::role(context.host())? else {
            return Ok(Check::Mismatch { expected, found: "none; join this node first".into() });
        };
        let manifests = state::manifests(context.host())?;
        if let Some(newer) = manifests.iter().find(|manifest| manifest.version() > Some(self.version)) {
            let found = format!("{} at {}; it cannot go back", newer.component, newer.tag());
            return Ok(Check::Mismatch { expected, found });
        }
        if run::is_there(context)? {
            return Ok(Check::Ready);
        }
        match role {
            // Nothing of a worker tells its configuration's age; kubeadm writes the same again within a second.
            ClusterRole::Worker | ClusterRole::Host if state::kubelet(context.host())? == Some(self.version) => {
                Ok(Check::Done(format!("the kubelet runs at {}", self.version)))
            }
            ClusterRole::Worker | ClusterRole::Host => Ok(Check::Ready),
            ClusterRole::Server => Ok(match missing(self.version, &manifests, context)? {
                None => Check::Done(format!("every component runs at {}", self.version)),
                Some(_) => Check::Ready,
            }),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        run::must_be(self.version, context)?;
        let documents = run::documents(self.config.as_str())?;
        let version = self.version.to_string();
        let before = state::manifests(context.host())?;
        let arguments = match state::role(context.host())? {
            Some(ClusterRole::Server) => {
                await_server(context)?;
                // A run that an earlier process of ours began was prepared, and works in the folder that is pruned.
                if !run::is_there(context)? {
                    backups::prune(context)?;
                    backups::must_fit(context)?;
                    must_be_well(context)?;
                    snapshot::before_a_change(context)?;
                }
                match cluster_version(context)? {
                    Some(found) if found >= self.version => vec!["upgrade", "node", "--config", RUN_CONFIG],
                    Some(_) | None => vec!["upgrade", "apply", &version, "--yes", "--config", RUN_CONFIG],
                }
            }
            Some(ClusterRole::Worker | ClusterRole::Host) | None => vec!["upgrade", "node", "--config", RUN_CONFIG],
        };
        let ran = run::run(&arguments, false, context, |again, context| {
            if again {
                await_server(context)?;
            }
            run::write(RUN_CONFIG, &documents.write(), 0o600, context)
        });
        match ran {
            Err(StepError::Failed(reason)) => Err(StepError::Failed(match mixture(&before, context)? {
                Some(mixture) => format!("{reason}; {mixture}"),
                None => reason,
            })),
            other => other,
        }
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        if state::role(context.host())? == Some(ClusterRole::Worker) {
            if state::text(context.host(), KUBELET_CONFIG)?.is_none() {
                return Err(StepError::Failed(format!("kubeadm ended well, and {KUBELET_CONFIG} is not there")));
            }
            backups::prune(context)?;
            let note = old_sandbox(self.version, context)?;
            return Ok(format!("the kubelet's configuration is that of {}{note}", self.version));
        }
        let after = run::await_whole(("components", "server"), PATIENCE, context, |context| {
            missing(self.version, &state::manifests(context.host())?, context)
        })?;
        backups::prune(context)?;
        let note = old_sandbox(self.version, context)?;
        Ok(format!("every component runs at {}, {after} after kubeadm{note}", self.version))
    }
}

/// Says where containerd begins pods with another pause image than this version's: kubeadm does not change that, and
/// what nobody pulls any more is missing on the next machine.
fn old_sandbox(version: Version, context: &mut StepContext<'_>) -> Result<String, StepError> {
    let found = settings::sandbox_image(context.host())?;
    let version = version.to_string();
    let listed = context.host().run(&["kubeadm", "config", "images", "list", "--kubernetes-version", &version], QUICK);
    // It is no part of the upgrade: a kubeadm that cannot tell has told enough by now.
    let listed = listed.unwrap_or_default();
    let Some(expected) = listed.lines().map(str::trim).find(|image| image.contains("/pause:")) else {
        return Ok(String::new());
    };
    let tag = |image: &str| image.rsplit_once(':').map(|(_, tag)| tag.to_owned());
    if found.is_empty() || tag(&found) == tag(expected) {
        return Ok(String::new());
    }
    let said = format!(
        "containerd's sandbox_image is {found}, and {version} expects {expected}: change it in \
         [machine.container_runtime] of the fleet file, then `hostler plan baseline`"
    );
    context.observe("warning", said.clone());
    Ok(format!("; WARNING: {}", text::clean_to(&said, 500)))
}

/// What a server misses of that version: manifests, what runs by them, its own API server's word, its vote in etcd, and
/// what the cluster notes of itself.
fn missing(version: Version, manifests: &[Manifest], context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let of_kubernetes = manifests.iter().filter(|manifest| manifest.component != ETCD);
    for manifest in of_kubernetes {
        if manifest.version() != Some(version) {
            return Ok(Some(format!("the manifest of {} says {}", manifest.component, manifest.tag())));
        }
    }
    let Some(server) = state::own_server(manifests) else {
        return Ok(Some(format!("there is no {API_SERVER} among the static pods")));
    };
    let asked = Asked { administrator: context.administrator()?, server: &server };
    if let Err(missing) = runs(version, manifests, &asked, context) {
        return Ok(Some(missing));
    }
    let has_etcd = state::has_etcd(manifests);
    Ok(match etcd::members(context.host())? {
        Some(members) if has_etcd => etcd::not_voting(&members, context.subject()),
        Some(_) | None => None,
    })
}

fn runs(version: Version, manifests: &[Manifest], asked: &Asked<'_>, context: &StepContext<'_>) -> Result<(), String> {
    asked.is_ready()?;
    let found = asked.version()?;
    if found != version.to_string() {
        // kubeadm compares files alone, and so may others have done.
        return Err(format!("the manifest of {API_SERVER} is new, and its process is still at {found}"));
    }
    manifests.iter().try_for_each(|manifest| asked.pod_of(manifest, context.subject().as_str()))?;
    match noted(asked)? {
        Some(found) if found >= version => Ok(()),
        found => Err(format!(
            "kubeadm-config names {}, expected {version}",
            found.map_or_else(|| "no version".to_owned(), |found| found.to_string())
        )),
    }
}

/// The version that kubeadm notes of the whole cluster.
fn noted(asked: &Asked<'_>) -> Result<Option<Version>, String> {
    let written = asked.object("/api/v1/namespaces/kube-system/configmaps/kubeadm-config")?;
    let text = written["data"]["ClusterConfiguration"].as_str().unwrap_or_default();
    let read: Value = serde_saphyr::from_str(text).map_err(|e| format!("kubeadm-config cannot be read: {e}"))?;
    Ok(read["kubernetesVersion"].as_str().and_then(|version| version.parse().ok()))
}

fn cluster_version(context: &StepContext<'_>) -> Result<Option<Version>, StepError> {
    let manifests = state::manifests(context.host())?;
    let server = state::own_server(&manifests).unwrap_or_default();
    let asked = Asked { administrator: context.administrator()?, server: &server };
    noted(&asked).map_err(StepError::Failed)
}

/// Nothing of a server is changed while its etcd has a trouble that the change would make worse.
pub(super) fn must_be_well(context: &StepContext<'_>) -> Result<(), StepError> {
    let has_etcd = state::has_etcd(&state::manifests(context.host())?);
    if !has_etcd {
        return Ok(());
    }
    let found = health::state(context.host())?;
    match found.and_then(|state| state.hinders(context.subject().as_str())) {
        Some(sentence) => Err(StepError::Failed(sentence)),
        None => Ok(()),
    }
}

/// The same, and this server's API server is ready and every member of etcd answers: one server restarts at a time.
pub(super) fn all_must_be_well(context: &mut StepContext<'_>) -> Result<(), StepError> {
    await_server(context)?;
    must_be_well(context)?;
    if !state::has_etcd(&state::manifests(context.host())?) {
        return Ok(());
    }
    for member in etcd::members(context.host())?.into_iter().flatten() {
        if !member.answers(context.host())? {
            return Err(StepError::Failed(format!(
                "etcd's member {} does not answer: bring it back, or remove it (`hostler node remove`), before another \
                 server restarts its own",
                member.said()
            )));
        }
    }
    Ok(())
}

/// kubeadm gives up at once where the API server is away, which it is for a minute after a run that was cut off.
pub(super) fn await_server(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let (began, mut said) = (context.now(), SayOnce::default());
    loop {
        let manifests = state::manifests(context.host())?;
        let Some(server) = state::own_server(&manifests) else { return Ok(()) };
        let asked = Asked { administrator: context.administrator()?, server: &server };
        let Err(reason) = asked.is_ready() else { return Ok(()) };
        if context.now().since(began) >= PATIENCE {
            let text = format!("after {} min {reason}; look at its container (crictl ps -a)", PATIENCE.as_secs() / 60);
            return Err(StepError::Unreachable(text));
        }
        if said.is_news(&reason) {
            context.say(format!("waits for this server's own API server: {reason}"));
        }
        context.pause(POLL / 4)?;
    }
}

/// What is new and what is old, where an upgrade ended half way: kubeadm puts back the component that did not start,
/// and leaves those before it new.
fn mixture(before: &[Manifest], context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let manifests = state::manifests(context.host())?;
    if manifests == before {
        return Ok(None);
    }
    let said: Vec<String> = manifests.iter().map(|m| format!("{} {}", m.component, m.tag())).collect();
    Ok(Some(format!("by its manifests this server now has {}", said.join(", "))))
}
