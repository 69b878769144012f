//! The Eviction API's answers, told apart by code and cause; by text only where the server gives nothing else.

use std::time::Duration;

use k8s_openapi::{
    api::{core::v1 as core, policy::v1 as policy},
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    core::Status,
};

use super::innermost;
use crate::host::{Eviction, PodKey};

/// Creates the eviction of a pod, with its UID as precondition.
pub(super) async fn ask(client: Client, pod: &PodKey) -> kube::Result<()> {
    let api: Api<core::Pod> = Api::namespaced(client, &pod.namespace);
    let body = policy::Eviction {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions { uid: Some(pod.uid.clone()), resource_version: None }),
            ..DeleteOptions::default()
        }),
    };
    api.create_subresource::<_, Status>("eviction", &pod.name, &PostParams::default(), &body).await.map(drop)
}

/// What an eviction that was not accepted means.
#[expect(clippy::wildcard_enum_match_arm, reason = "kube::Error is foreign; what is not an answer is silence")]
pub(super) fn failed(error: kube::Error) -> Eviction {
    match error {
        kube::Error::Api(status) => answer(&status),
        // 201 with a body that is not understood is still 201.
        kube::Error::SerdeError(_) => Eviction::Accepted,
        other => Eviction::Silent(innermost(&other)),
    }
}

fn answer(status: &Status) -> Eviction {
    let details = status.details.as_ref();
    let cause = |reason: &str| details.and_then(|d| d.causes.iter().find(|c| c.reason == reason));
    let retry_after = details.map(|d| d.retry_after_seconds).filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()));
    let message = status.message.clone();
    match status.code {
        429 => match (cause("DisruptionBudget"), retry_after) {
            (Some(cause), None) => Eviction::Budget(text(&cause.message, &message)),
            (Some(cause), Some(_)) => Eviction::BudgetBehind(text(&cause.message, &message)),
            (None, retry_after) => Eviction::Busy { retry_after },
        },
        500 if message.contains("more than one PodDisruptionBudget") => Eviction::SeveralBudgets(message),
        500 if message.contains("failed calling webhook") => Eviction::Webhook(message),
        504 => Eviction::Conflicts { retry_after },
        403 if cause("NamespaceTerminating").is_some() => Eviction::NamespaceTerminating,
        403 if message.contains("denied the request") => Eviction::Denied(message),
        403 if message.contains("cannot create resource") => Eviction::Forbidden(message),
        403 => Eviction::Denied(message),
        404 | 409 => Eviction::Gone,
        code => Eviction::Other { code, reason: message },
    }
}

fn text(cause: &str, message: &str) -> String {
    if cause.is_empty() { message.to_owned() } else { cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> Status {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_answers_are_told_apart() {
        let budget = r#"{"kind":"Status","status":"Failure","code":429,"reason":"TooManyRequests",
            "message":"Cannot evict pod as it would violate the pod's disruption budget.","details":{"causes":[
            {"reason":"DisruptionBudget","message":"The disruption budget web needs 2 healthy pods and has 2 currently"}]}}"#;
        let sentence = "The disruption budget web needs 2 healthy pods and has 2 currently".to_owned();
        assert_eq!(answer(&status(budget)), Eviction::Budget(sentence));
        let behind = r#"{"code":429,"message":"Cannot evict pod","details":{"retryAfterSeconds":10,"causes":[
            {"reason":"DisruptionBudget","message":"The disruption budget web is still being processed by the server."}]}}"#;
        assert!(matches!(answer(&status(behind)), Eviction::BudgetBehind(_)));
        let busy = r#"{"code":429,"message":"Too many requests, please try again later."}"#;
        assert_eq!(answer(&status(busy)), Eviction::Busy { retry_after: None });
        let two = r#"{"code":500,"message":"This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}"#;
        assert!(matches!(answer(&status(two)), Eviction::SeveralBudgets(_)));
        let webhook = r#"{"code":500,"message":"Internal error occurred: failed calling webhook \"x\": refused"}"#;
        assert!(matches!(answer(&status(webhook)), Eviction::Webhook(_)));
        let namespace =
            r#"{"code":403,"message":"forbidden","details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#;
        assert_eq!(answer(&status(namespace)), Eviction::NamespaceTerminating);
        let denied = r#"{"code":403,"message":"admission webhook \"v\" denied the request: migrating"}"#;
        assert!(matches!(answer(&status(denied)), Eviction::Denied(_)));
        let rbac =
            r#"{"code":403,"message":"pods \"a\" is forbidden: User \"x\" cannot create resource \"pods/eviction\""}"#;
        assert!(matches!(answer(&status(rbac)), Eviction::Forbidden(_)));
        for code in [404, 409] {
            assert_eq!(answer(&status(&format!(r#"{{"code":{code}}}"#))), Eviction::Gone);
        }
        let slow = r#"{"code":504,"message":"timeout","details":{"retryAfterSeconds":10}}"#;
        let ten = Some(Duration::from_secs(10));
        assert_eq!(answer(&status(slow)), Eviction::Conflicts { retry_after: ten });
        assert!(matches!(answer(&status(r#"{"code":418}"#)), Eviction::Other { code: 418, .. }));
    }
}
