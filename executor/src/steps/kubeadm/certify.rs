//! `kubeadm.certify`: the API server of this machine is known under every name that the cluster is called by.

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use hostler_plan::step::configure::Certify;
use serde_json::Value;

use super::run;
use crate::{
    distribution::kubeadm::{ADMIN_KUBECONFIG, ASIDE, PKI, config::Documents, state},
    host::HostFile,
    steps::action::{Action, Check, StepContext, StepError},
};

/// The API server looks for a new certificate of its own accord within a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Certificate and key, of which none is made while one is there.
const FILES: [&str; 2] = ["apiserver.crt", "apiserver.key"];

impl Action for Certify {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let documents = run::documents(self.config.as_str())?;
        run::must_be(self.version, context)?;
        let Some(found) = names(PKI, context)? else {
            let expected = format!("the API server's certificate, {PKI}/{}", FILES[0]);
            return Ok(match names(ASIDE, context)? {
                // A run was cut off between the old one and the new one.
                Some(_) => Check::Ready,
                None => Check::Mismatch { expected, found: "none; this machine is no server".into() },
            });
        };
        let missing: Vec<String> = wanted(&documents).difference(&found).cloned().collect();
        if missing.is_empty() && !run::is_there(context)? {
            let missing = unserved(&documents, context);
            return Ok(match missing {
                None => Check::Done(format!("the API server's certificate has {} names", found.len())),
                Some(_) => Check::Ready,
            });
        }
        for name in missing {
            context.observe("change", format!("certificate of the API server: {name} is added"));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        run::settle(context)?;
        let mut documents = run::documents(self.config.as_str())?;
        let wanted = wanted(&documents);
        let found = names(PKI, context)?;
        if found.as_ref().is_some_and(|found| wanted.is_subset(found)) {
            return Ok(());
        }
        // Under the old endpoint it is known until every node has moved.
        let kept = found.or(names(ASIDE, context)?).unwrap_or_default();
        documents.certify(wanted.union(&kept).cloned()).map_err(run::unfit)?;
        keep_aside(context)?;
        for file in FILES {
            context.host().remove(Path::new(&format!("{PKI}/{file}")))?;
        }
        let made = run::phase(["certs", "apiserver"], &documents, context);
        // Where this process ends kubeadm goes on without it.
        if let Err(StepError::Failed(why) | StepError::TimedOut(why)) = made {
            put_back(context)?;
            return Err(StepError::Failed(format!("{why}; the API server's certificate is the one of before")));
        }
        made
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let documents = run::documents(self.config.as_str())?;
        let found = names(PKI, context)?.unwrap_or_default();
        if let Some(missing) = wanted(&documents).difference(&found).next() {
            return Err(StepError::Failed(format!("kubeadm ended well, and the certificate has no {missing}")));
        }
        let served = |context: &StepContext<'_>| Ok(unserved(&documents, context));
        let after = run::await_whole(("API server's new certificate", "server"), PATIENCE, context, served)?;
        Ok(format!("the API server serves a certificate with {} names, {after} after kubeadm", found.len()))
    }
}

/// Copies certificate and key; a half that a run left which was cut off is no pair.
fn keep_aside(context: &StepContext<'_>) -> Result<(), StepError> {
    let host = context.host();
    let mut pair = Vec::new();
    for file in FILES {
        pair.extend(host.read_file(Path::new(&format!("{PKI}/{file}")))?.map(|found| (file, found)));
    }
    if pair.len() == FILES.len() {
        for (file, old) in pair {
            let private = HostFile { mode: 0o600, uid: 0, gid: 0, ..old };
            host.write_file(Path::new(&format!("{ASIDE}/{file}")), &private)?;
        }
    }
    Ok(())
}

/// The key first, so that a certificate never lies there without its own.
fn put_back(context: &StepContext<'_>) -> Result<(), StepError> {
    for file in FILES.into_iter().rev() {
        if let Some(old) = context.host().read_file(Path::new(&format!("{ASIDE}/{file}")))? {
            context.host().write_file(Path::new(&format!("{PKI}/{file}")), &old)?;
        }
    }
    Ok(())
}

/// The names of the certificate that lies in that folder, each as it is compared.
fn names(folder: &str, context: &StepContext<'_>) -> Result<Option<BTreeSet<String>>, StepError> {
    let found = context.host().certificate_names(Path::new(&format!("{folder}/{}", FILES[0])))?;
    Ok(found.map(|names| names.iter().map(|name| compared(name)).collect()))
}

/// Names have no case, and an address has many forms.
fn compared(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

/// What the configuration says of names; kubeadm adds those within the cluster by itself.
fn wanted(documents: &Documents) -> BTreeSet<String> {
    let cluster = documents.kind("ClusterConfiguration");
    let listed = cluster["apiServer"]["certSANs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let endpoint = documents.endpoint_host();
    let own = documents.kind("InitConfiguration")["localAPIEndpoint"]["advertiseAddress"].as_str();
    listed.chain(endpoint.as_deref()).chain(own).map(compared).collect()
}

/// Why the API server on this machine does not yet serve what lies there, asked by the endpoint's name.
fn unserved(documents: &Documents, context: &StepContext<'_>) -> Option<String> {
    let endpoint = documents.endpoint_host()?;
    let manifests = state::manifests(context.host()).ok()?;
    let server = state::own_server(&manifests)?;
    let asked = context.host().is_ready_at(Path::new(ADMIN_KUBECONFIG), &server, &endpoint);
    asked.err().map(|error| format!("{server}, asked as {endpoint}: {error}"))
}
