//! What the cluster notes of itself: kubeadm-config, kubelet-config, kube-proxy's settings and cluster-info.

use serde_json::{Value, json};

use super::{complete::with_server, run};
use crate::{
    distribution::difference::{self, Change},
    distribution::kubeadm::{
        config::{self, Documents},
        wanted,
    },
    steps::action::{StepContext, StepError},
};

const KUBEADM_CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
const KUBELET_CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/kubelet-config";
const PROXY_CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/kube-proxy";
const PROXY: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// By which settings kube-proxy's pods were started.
const STARTED_BY: &str = "hostler.dev/configured";

/// What a kubelet adds of its own machine to what the cluster says.
const OF_THE_MACHINE: [&str; 2] = ["containerRuntimeEndpoint", "resolvConf"];

/// What kubeadm puts into kube-proxy's settings by itself.
const OF_KUBEADM: [&str; 3] = ["bindAddress", "clusterCIDR", "clientConnection.kubeconfig"];

/// In what that differs from the configuration.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub cluster: Vec<Change>,
    kubelet: Vec<Change>,
    proxy: Vec<Change>,
    /// Where cluster-info and kube-proxy lead, where that is elsewhere.
    info: Option<String>,
    proxy_leads: Option<String>,
}

impl Noted {
    /// Each in a few words.
    pub(super) fn changes(&self) -> Vec<String> {
        let of = |what: &'static str, changes: &[Change]| {
            changes.iter().map(|change| format!("{what} {change}")).collect::<Vec<_>>()
        };
        let mut all = of("kubeadm-config", &self.cluster);
        all.extend(of("kubelet-config", &self.kubelet));
        all.extend(of("kube-proxy", &self.proxy));
        all.extend(self.info.iter().map(|old| format!("cluster-info server: {old} is another")));
        all.extend(self.proxy_leads.iter().map(|old| format!("kube-proxy server: {old} is another")));
        all
    }
}

/// Reads it of the cluster.
pub(super) fn read(documents: &Documents, context: &StepContext<'_>) -> Result<Noted, StepError> {
    let cluster = wanted::cluster(context.host(), documents)?;
    let kubelet = wanted::kubelet(context.host(), &documents.unpatched())?.config;
    let endpoint = format!("https://{}", documents.endpoint().unwrap_or_default());
    let mut noted = with_server(context, |asked| {
        let written = asked.object(KUBEADM_CONFIG)?;
        let found = yaml(&written["data"]["ClusterConfiguration"])?;
        let said = documents.kind("ClusterConfiguration");
        let written = asked.object(KUBELET_CONFIG)?;
        let of_kubelets = yaml(&written["data"]["kubelet"])?;
        let info = asked.object(CLUSTER_INFO)?;
        let mut of_kubelet = difference::between(&of_kubelets, &kubelet, documents.kind("KubeletConfiguration"));
        of_kubelet.retain(|change| !OF_THE_MACHINE.contains(&change.name.as_str()));
        Ok(Noted {
            cluster: difference::between(&found, &cluster, said),
            kubelet: of_kubelet,
            info: leads_elsewhere(&info["data"]["kubeconfig"], &endpoint),
            ..Noted::default()
        })
    })?;
    if has_proxy(documents) {
        let settings = documents.kind("KubeProxyConfiguration");
        let mut wanted = wanted::proxy_defaults(context.host())?;
        wanted::put_over(&mut wanted, settings);
        let (proxy, elsewhere) = with_server(context, |asked| {
            let written = asked.object(PROXY_CONFIG)?;
            let found = yaml(&written["data"]["config.conf"])?;
            let mut changes = difference::between(&found, &wanted, settings);
            let said = difference::between(&Value::Null, settings, settings);
            let is_said = |name: &str| said.iter().any(|change| change.name == name);
            changes.retain(|change| !OF_KUBEADM.contains(&change.name.as_str()) || is_said(&change.name));
            // Of what nobody says in the fleet file a person may have settled something by hand.
            let changes = if settings.is_null() { Vec::new() } else { changes };
            Ok((changes, leads_elsewhere(&written["data"]["kubeconfig.conf"], &endpoint)))
        })?;
        noted.proxy = proxy;
        noted.proxy_leads = elsewhere;
    }
    Ok(noted)
}

fn has_proxy(documents: &Documents) -> bool {
    documents.has_addon("kube-proxy", "proxy")
}

/// Writes what differs, by kubeadm's own phases where it has one: the cluster's configuration first, then where it is
/// found.
pub(super) fn write(documents: &Documents, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let found = read(documents, context)?;
    let endpoint = format!("https://{}", documents.endpoint().unwrap_or_default());
    if !found.cluster.is_empty() || !found.kubelet.is_empty() {
        run::phase(["upload-config", "all"], documents, context)?;
    }
    if found.info.is_some() {
        lead(CLUSTER_INFO, "kubeconfig", &endpoint, context)?;
    }
    if !found.proxy.is_empty() {
        run::phase(["addon", "kube-proxy"], documents, context)?;
    }
    if found.proxy_leads.is_some() {
        lead(PROXY_CONFIG, "kubeconfig.conf", &endpoint, context)?;
    }
    if has_proxy(documents) && (!found.proxy.is_empty() || found.proxy_leads.is_some() || is_behind(context)?) {
        restart_proxy(context)?;
    }
    Ok(())
}

/// Lets a ConfigMap's kubeconfig lead to the endpoint.
fn lead(path: &str, key: &str, endpoint: &str, context: &StepContext<'_>) -> Result<(), StepError> {
    let map = with_server(context, |asked| asked.object(path))?;
    let text = map["data"][key].as_str().unwrap_or_default();
    let moved = config::led_to(text, endpoint).map_err(|e| StepError::Failed(format!("{path}: {e}")))?;
    let version = &map["metadata"]["resourceVersion"];
    let patch = json!({ "metadata": { "resourceVersion": version }, "data": { key: moved } });
    Ok(context.administrator()?.patch(path, &patch)?)
}

/// The digest of kube-proxy's settings.
fn settings(context: &StepContext<'_>) -> Result<String, StepError> {
    let map = with_server(context, |asked| asked.object(PROXY_CONFIG))?;
    Ok(hostler_plan::id::Digest::of(map["data"].to_string().as_bytes()).hex()[..16].to_owned())
}

/// Whether kube-proxy's pods were last started by other settings, as a run that was cut off leaves them.
fn is_behind(context: &StepContext<'_>) -> Result<bool, StepError> {
    let proxy = with_server(context, |asked| asked.object(PROXY))?;
    let noted = proxy["spec"]["template"]["metadata"]["annotations"][STARTED_BY].as_str();
    Ok(noted.is_some_and(|noted| Ok(noted) != settings(context).as_deref()))
}

/// It reads its settings once; a note in its pods' template starts them anew, node after node.
fn restart_proxy(context: &mut StepContext<'_>) -> Result<(), StepError> {
    context.say("restarts kube-proxy with its new settings");
    let annotations = json!({ STARTED_BY: settings(context)? });
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    Ok(context.administrator()?.patch(PROXY, &patch)?)
}

/// Where a kubeconfig leads, where that is not the endpoint.
fn leads_elsewhere(kubeconfig: &Value, endpoint: &str) -> Option<String> {
    let text = kubeconfig.as_str()?;
    let (server, _) = config::server_of(text)?;
    (server != endpoint).then_some(server)
}

fn yaml(text: &Value) -> Result<Value, String> {
    let text = text.as_str().unwrap_or_default();
    if text.is_empty() {
        return Ok(json!({}));
    }
    serde_saphyr::from_str(text).map_err(|e| e.to_string())
}
