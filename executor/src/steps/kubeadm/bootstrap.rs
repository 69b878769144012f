//! `kubeadm.bootstrap`: the first server of a new cluster.

use std::time::Duration;

use hostler_plan::step::kubeadm::Bootstrap;
use serde_json::Value;

use super::{
    complete::{self, Asked},
    run,
};
use crate::{
    distribution::kubeadm::{RUN_CONFIG, config::Documents, state, token},
    steps::action::{Action, Check, StepContext, StepError},
};

/// After kubeadm has ended only its add-ons and the mirrors of static pods are still on their way.
const PATIENCE: Duration = Duration::from_secs(300);

impl Action for Bootstrap {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let documents = run::documents(self.config.as_str())?;
        let found = run::found(context)?;
        if found.is_empty() {
            return Ok(Check::Ready);
        }
        let is_whole = missing(self, &documents, context)?.is_none() && tokens(context)?.is_empty();
        if is_whole && !run::is_there(context)? {
            context.observe("version", self.version.to_string());
            return Ok(Check::Done(format!(
                "{} is the first server of a cluster at {}",
                context.subject(),
                self.version
            )));
        }
        if run::is_marked(self.config.as_str(), context)? {
            return Ok(Check::Ready);
        }
        Ok(run::leftovers("plan", &found.join(", ")))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let documents = run::documents(self.config.as_str())?;
        if run::is_there(context)? || missing(self, &documents, context)?.is_some() {
            run::must_be(self.version, context)?;
            let again = run::begin(self.config.as_str(), context)?;
            run::run(&["init", "--config", RUN_CONFIG], again, context, |again, context| {
                let mut documents = documents.clone();
                documents.describe_token(token::OF_INIT).map_err(run::unfit)?;
                if again {
                    documents.go_on("InitConfiguration").map_err(run::unfit)?;
                }
                run::write(RUN_CONFIG, &documents.write(), 0o600, context)
            })?;
        }
        let tokens = tokens(context)?;
        Ok(token::remove(context.administrator()?, &tokens)?)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let documents = run::documents(self.config.as_str())?;
        let missing = |context: &StepContext<'_>| missing(self, &documents, context);
        let after = run::await_whole(("cluster", "cluster"), PATIENCE, context, missing)?;
        context.observe("version", self.version.to_string());
        Ok(format!("the cluster runs at {} on {}, {after} after kubeadm", self.version, context.subject()))
    }
}

/// What the cluster misses of being whole.
fn missing(step: &Bootstrap, documents: &Documents, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    if let Some(missing) = complete::missing_of_server(step.version, context)? {
        return Ok(Some(missing));
    }
    let manifests = state::manifests(context.host())?;
    let Some(server) = state::own_server(&manifests) else { return Ok(None) };
    let asked = Asked { administrator: context.administrator()?, server: &server };
    if let Err(missing) = of_cluster(documents, &asked) {
        return Ok(Some(missing));
    }
    complete::missing_of_node(step.version, context)
}

/// What kubeadm writes into the cluster at the end: its configuration, and the add-ons that the plan wants.
fn of_cluster(documents: &Documents, asked: &Asked<'_>) -> Result<(), String> {
    const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
    let written = asked.object(&format!("{CONFIG_MAPS}/kubeadm-config"))?;
    asked.object(&format!("{CONFIG_MAPS}/kubelet-config"))?;
    asked.object("/api/v1/namespaces/kube-public/configmaps/cluster-info")?;
    is_the_same(documents, written["data"]["ClusterConfiguration"].as_str().unwrap_or_default())?;
    if documents.has_addon("kube-proxy", "proxy") {
        asked.object("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy")?;
    }
    if documents.has_addon("coredns", "dns") {
        asked.object("/apis/apps/v1/namespaces/kube-system/deployments/coredns")?;
    }
    Ok(())
}

/// A cluster that is there already is this one where its endpoint and its networks are those of the plan.
fn is_the_same(documents: &Documents, written: &str) -> Result<(), String> {
    let written: Value = serde_saphyr::from_str(written).map_err(|e| format!("kubeadm-config cannot be read: {e}"))?;
    let wanted = documents.kind("ClusterConfiguration");
    for path in ["/controlPlaneEndpoint", "/networking/podSubnet", "/networking/serviceSubnet"] {
        let (wanted, found) = (wanted.pointer(path), written.pointer(path));
        if wanted.is_some() && wanted != found {
            let text = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), Value::to_string);
            let name = path.rsplit('/').next().unwrap_or_default();
            return Err(format!("another cluster is here: {name} expected {}, found {}", text(wanted), text(found)));
        }
    }
    Ok(())
}

/// The tokens that kubeadm made unasked; none where nobody can tell.
fn tokens(context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let Ok(administrator) = context.administrator() else { return Ok(Vec::new()) };
    Ok(token::of_init(administrator)?)
}
