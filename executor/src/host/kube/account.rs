//! Hostler's own account in the cluster, made of [`ACCESS`] with an administrator's credentials, and its tokens. They
//! count for an hour and are kept in memory alone. An administrator's credentials serve nothing else.

use std::time::Duration;

use hostler_plan::cluster::{ACCESS, ACCESS_FILE};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, Node, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{GetParams, ListParams, Patch, PatchParams, PostParams},
    core::Request,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ClusterError, error};
use crate::host::FIELD_MANAGER;

const NAMESPACE: &str = "hostler-system";
const NAME: &str = "hostler";
/// The API server gives no shorter ones than ten minutes; an hour is what it gives to pods.
const TOKEN_SECONDS: i64 = 3600;
/// Which rules a role has; those of a higher number replace others.
const REVISION: &str = "hostler.dev/revision";
/// Kubernetes' own word for roles that nobody may update; `"false"` keeps what an admin wrote.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Until every part of the API server knows of a role that was just made.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A token of the account, and how long it counts.
pub(super) struct Token {
    pub text: String,
    pub life: Duration,
}

/// Makes what is missing of the account. True when something of it was.
pub(super) async fn make(admin: &Client) -> Result<bool, ClusterError> {
    let mut made = false;
    for object in objects() {
        made |= match object["kind"].as_str() {
            Some("Namespace") => exists(Api::<Namespace>::all(admin.clone()), object, admin).await?,
            Some("ServiceAccount") => {
                exists(Api::<ServiceAccount>::namespaced(admin.clone(), NAMESPACE), object, admin).await?
            }
            Some("ClusterRole") => role(object, admin).await?,
            Some("ClusterRoleBinding") => exists(Api::<ClusterRoleBinding>::all(admin.clone()), object, admin).await?,
            other => unreachable!("{other:?} does not belong to the account"),
        };
    }
    Ok(made)
}

/// Asks for a token.
pub(super) async fn token(admin: &Client) -> Result<Token, ClusterError> {
    let api = Api::<ServiceAccount>::namespaced(admin.clone(), NAMESPACE);
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
    let asked = TokenRequest { spec, ..TokenRequest::default() };
    let answer = api.create_token_request(NAME, &PostParams::default(), &asked).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return Err(refused(e, "create serviceaccounts/token", admin).await),
    };
    // The server may give another life than was asked for.
    let life = u64::try_from(answer.spec.expiration_seconds.unwrap_or(TOKEN_SECONDS)).unwrap_or(0);
    let text = answer.status.map(|status| status.token).unwrap_or_default();
    Ok(Token { text, life: Duration::from_secs(life) })
}

/// Waits until the account may do what it was just given.
pub(super) async fn settle(account: &Client) {
    let (api, one) = (Api::<Node>::all(account.clone()), ListParams::default().limit(1));
    let known = async {
        while api.list_metadata(&one).await.is_err() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // What it then may not do is named by whoever asks.
    let _ = tokio::time::timeout(KNOWN_WITHIN, known).await;
}

/// The objects of the account.
fn objects() -> Vec<Value> {
    serde_saphyr::from_multiple(ACCESS).expect("a test reads the file")
}

/// The rules of its roles.
pub(super) fn rules() -> Vec<PolicyRule> {
    let roles = objects().into_iter().filter(|object| object["kind"] == "ClusterRole");
    roles.flat_map(|role| typed::<ClusterRole>(role).rules.unwrap_or_default()).collect()
}

fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("a test reads the file")
}

/// Makes an object that does not exist. True when it did not.
async fn exists<K>(api: Api<K>, object: Value, admin: &Client) -> Result<bool, ClusterError>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let what = K::plural(&()).into_owned();
    let object: K = typed(object);
    match api.get_metadata_opt(&object.name_any()).await {
        Ok(Some(_)) => return Ok(false),
        Ok(None) => {}
        Err(e) => return Err(refused(e, &format!("get {what}"), admin).await),
    }
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&parameters, &object).await {
        Ok(_) => Ok(true),
        // Another server made it at the same time.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(e) => Err(refused(e, &format!("create {what}"), admin).await),
    }
}

/// A role that is older than ours gets our rules; what an admin took from one of ours stays away.
async fn role(object: Value, admin: &Client) -> Result<bool, ClusterError> {
    let api = Api::<ClusterRole>::all(admin.clone());
    let ours: ClusterRole = typed(object.clone());
    let found = match api.get_opt(&ours.name_any()).await {
        Ok(found) => found,
        Err(e) => return Err(refused(e, "get clusterroles", admin).await),
    };
    let Some(found) = found else { return exists(api, object, admin).await };
    let revision = |role: &ClusterRole| role.annotations().get(REVISION).and_then(|text| text.parse::<u32>().ok());
    let is_kept = found.annotations().get(AUTOUPDATE).is_some_and(|text| text == "false");
    if is_kept || revision(&found).is_none() || revision(&found) >= revision(&ours) {
        return Ok(false);
    }
    let patch = json!({ "metadata": { "annotations": ours.annotations() }, "rules": ours.rules });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    match api.patch(&ours.name_any(), &parameters, &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(e) => Err(refused(e, "patch clusterroles", admin).await),
    }
}

/// What these credentials may not do. An API server that has just started forbids everything to everybody.
async fn refused(e: kube::Error, action: &str, admin: &Client) -> ClusterError {
    match error(e, action) {
        ClusterError::Forbidden { action, reason } => {
            let ready = Request::new("").get("readyz", &GetParams::default());
            let is_ready = match ready {
                Ok(request) => admin.request_text(request).await.is_ok_and(|text| text.trim() == "ok"),
                Err(_) => false,
            };
            if !is_ready {
                return ClusterError::Silent(format!("it is still starting, and says: {reason}"));
            }
            ClusterError::NoAccount { action, reason, file: ACCESS_FILE }
        }
        other @ (ClusterError::Silent(_) | ClusterError::Refused { .. } | ClusterError::NoAccount { .. }) => other,
    }
}
