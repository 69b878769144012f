//! `kubeadm.configure`: this server's static pods and what the cluster notes of itself are those of the fleet file.

use std::path::Path;

use hostler_plan::step::{ClusterRole, configure::Configure};
use serde_json::Value;

use super::{component, noted, run, snapshot, upgrade};
use crate::{
    distribution::difference::{self, Change},
    distribution::kubeadm::{
        CONFIGURING,
        config::Documents,
        state::{self, COMPONENTS},
        wanted,
    },
    steps::action::{Action, Check, StepContext, StepError},
};

/// Arguments that etcd reads at its very first start and never again: kubeadm writes them in another way each time.
const READ_ONCE: [&str; 2] = ["--initial-cluster", "--initial-cluster-state"];

impl Action for Configure {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let expected = format!("a server of a kubeadm cluster at {}", self.version);
        if state::role(context.host())? != Some(ClusterRole::Server) {
            return Ok(Check::Mismatch { expected, found: "none; join this node as a server first".into() });
        }
        run::must_be(self.version, context)?;
        let documents = run::documents(self.config.as_str())?;
        let is_begun = run::is_there(context)? || mark(context)?.is_some();
        let found = match noted::read(&documents, context) {
            // What was begun may keep the API server from its answer; apply asks it before anything else changes.
            Err(_) if is_begun => return Ok(Check::Ready),
            found => found?,
        };
        if let Some(refused) = refused(&documents, &found, context)? {
            return Ok(refused);
        }
        let mut said: Vec<String> = found.changes();
        for (component, changes) in pods(&documents, context)? {
            said.extend(changes.iter().map(|change| format!("{component} {change}")));
            if changes.is_empty()
                && let Err(missing) = component::runs(component, context)?
            {
                said.push(missing);
            }
        }
        if said.is_empty() && !is_begun {
            return Ok(Check::Done("the control plane is what the fleet file says".into()));
        }
        said.into_iter().for_each(|change| context.observe("change", change));
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        run::settle(context)?;
        let documents = run::documents(self.config.as_str())?;
        let plan = context.plan.digest().hex();
        let is_begun = mark(context)?.is_some_and(|begun| begun == plan);
        if !is_begun {
            // Another plan's guards speak for none of this one's changes, and what it left half done is no measure.
            COMPONENTS.iter().try_for_each(|component| component::put_back(component, context))?;
            upgrade::await_server(context)?;
            let found = noted::read(&documents, context)?;
            if let Some(Check::Mismatch { expected, found }) = refused(&documents, &found, context)? {
                return Err(StepError::Failed(format!("expected {expected}, found {found}")));
            }
        }
        let restarts = restarts(&documents, context)?;
        if !is_begun {
            if !restarts.is_empty() {
                upgrade::all_must_be_well(context)?;
                snapshot::before_a_change(context)?;
            }
            run::write(CONFIGURING, &plan, 0o600, context)?;
        }
        for (component, changes) in &restarts {
            let replaced = component::replace(component, changes, &documents, context);
            // With its old manifest back nothing is half done.
            if replaced.is_err() && !component::is_underway(component, context)? {
                context.host().remove(Path::new(CONFIGURING))?;
            }
            replaced?;
        }
        upgrade::await_server(context)?;
        noted::write(&documents, context)?;
        // One that did not have to change may still be on its way back, such as a scheduler that lost its API server.
        run::await_whole(("components", "server"), upgrade::PATIENCE, context, |context| {
            for manifest in state::manifests(context.host())? {
                if let Err(missing) = component::runs(manifest.component, context)? {
                    return Ok(Some(missing));
                }
            }
            Ok(None)
        })?;
        if !restarts.is_empty() {
            upgrade::all_must_be_well(context)?;
        }
        Ok(context.host().remove(Path::new(CONFIGURING))?)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        // What a check says of changes was said before.
        let said = context.observations.len();
        let checked = self.check(context)?;
        let left: Vec<String> = context.observations.split_off(said).into_iter().map(|o| o.value).collect();
        match checked {
            Check::Done(detail) => Ok(detail),
            Check::Ready => Err(StepError::Failed(format!("kubeadm ended well, and still: {}", left.join("; ")))),
            Check::Mismatch { expected, found } => Err(StepError::mismatch(&expected, &found)),
        }
    }
}

/// Which plan began to change something here and did not come to its end.
fn mark(context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    Ok(state::text(context.host(), CONFIGURING)?)
}

/// What gets another manifest, and in what that differs; also what has one that has not proved itself.
fn restarts(documents: &Documents, context: &StepContext<'_>) -> Result<Vec<(&'static str, Vec<Change>)>, StepError> {
    let mut restarts = Vec::new();
    for (component, changes) in pods(documents, context)? {
        if !changes.is_empty() || component::is_underway(component, context)? {
            restarts.push((component, changes));
        }
    }
    Ok(restarts)
}

/// In what each static pod's manifest differs from what kubeadm would write.
fn pods(documents: &Documents, context: &StepContext<'_>) -> Result<Vec<(&'static str, Vec<Change>)>, StepError> {
    let has_etcd = state::has_etcd(&state::manifests(context.host())?);
    let wanted = wanted::pods(context.host(), documents, has_etcd)?;
    let mut all = Vec::new();
    for component in COMPONENTS {
        let Some(wanted) = wanted.get(component) else { continue };
        let found = component::manifest_of(component, context)?;
        all.push((component, changes(&found, wanted)));
    }
    Ok(all)
}

/// By what each pod says; of all but arguments only that it is another, because an environment may hold a secret.
fn changes(found: &Value, wanted: &Value) -> Vec<Change> {
    let (old, new) = (component::command_of(found), component::command_of(wanted));
    let mut changes = difference::arguments(old.into_iter(), new.into_iter());
    changes.retain(|change| !READ_ONCE.contains(&change.name.as_str()));
    let rest = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        if let Some(container) = spec.pointer_mut("/containers/0").and_then(Value::as_object_mut) {
            container.remove("command");
            container.remove("args");
        }
        spec
    };
    let others = difference::between(&rest(found), &rest(wanted), &Value::Null);
    changes.extend(others.into_iter().map(|change| Change {
        old: change.old.map(|_| "what it was".into()),
        new: change.new.map(|_| "another".into()),
        ..change
    }));
    changes
}

/// What no plan changes in a cluster that runs, and what it would take.
const FOR_EVER: [(&str, &str); 6] = [
    ("networking.podSubnet", "nodes and pods have addresses of it"),
    ("networking.serviceSubnet", "Services and the API server's certificate have addresses of it"),
    ("networking.dnsDomain", "every pod was started with it"),
    ("clusterName", "write it as clusterName in [kubeadm.cluster]"),
    ("certificatesDir", "certificates lie there"),
    ("etcd.local.dataDir", "etcd's data lie there"),
];

fn refused(documents: &Documents, found: &noted::Noted, context: &StepContext<'_>) -> Result<Option<Check>, StepError> {
    if let Some((change, why)) = found.cluster.iter().find_map(|change| {
        let (_, why) = FOR_EVER.iter().find(|(name, _)| *name == change.name)?;
        Some((change, why))
    }) {
        let text = |value: &Option<Value>| {
            value.as_ref().map_or("none".into(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
        };
        return Ok(Some(Check::Mismatch {
            expected: format!("{} as the cluster was made with, {}", change.name, text(&change.old)),
            found: format!(
                "{} in the fleet file; it stays for ever ({why}): write the old value, or make a new cluster",
                text(&change.new)
            ),
        }));
    }
    let endpoint = &documents.kind("InitConfiguration")["localAPIEndpoint"];
    let manifests = state::manifests(context.host())?;
    let own = state::own_server(&manifests).unwrap_or_default();
    let port = endpoint["bindPort"].as_i64().unwrap_or(6443);
    let wanted = endpoint["advertiseAddress"].as_str().map(|address| match address.contains(':') {
        true => format!("https://[{address}]:{port}"),
        false => format!("https://{address}:{port}"),
    });
    Ok(wanted.filter(|wanted| *wanted != own).map(|wanted| Check::Mismatch {
        expected: format!("this server's own API server at {own}, by which etcd and the other servers know it"),
        found: format!(
            "{wanted} in the fleet file; it stays for ever: remove the server and let it join with the new address"
        ),
    }))
}
