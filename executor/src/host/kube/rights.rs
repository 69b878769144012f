//! What the account of these credentials may do of what it needs, and beyond that.

use std::collections::BTreeSet;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
    SelfSubjectRulesReviewSpec,
};
use kube::{Api, api::PostParams};

use super::{ClusterError, KubeCluster, account, error};

/// One thing to do to one kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Right {
    verb: String,
    group: String,
    /// With its subresource, such as `pods/eviction`.
    resource: String,
}

impl Right {
    fn new(verb: &str, group: &str, resource: &str) -> Self {
        Self { verb: verb.into(), group: group.into(), resource: resource.into() }
    }

    fn is_in(&self, rule: &ResourceRule) -> bool {
        let has = |list: &Option<Vec<String>>, item: &str| {
            list.as_ref().is_some_and(|list| list.iter().any(|found| found == item || found == "*"))
        };
        has(&Some(rule.verbs.clone()), &self.verb)
            && has(&rule.api_groups, &self.group)
            && has(&rule.resources, &self.resource)
            && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// The same in the API's words.
fn attributes(right: &Right) -> ResourceAttributes {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    ResourceAttributes {
        verb: Some(right.verb.clone()),
        group: Some(right.group.clone()),
        resource: Some(resource.into()),
        subresource: Some(subresource.into()),
        ..ResourceAttributes::default()
    }
}

/// All that the file gives.
fn needed() -> Vec<Right> {
    let mut needed = Vec::new();
    for rule in account::rules() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                needed.extend(rule.verbs.iter().map(|verb| Right::new(verb, group, resource)));
            }
        }
    }
    needed
}

/// What is allowed and not needed, each once. Every account may ask what it is and may do itself.
pub(super) fn beyond(cluster: &KubeCluster) -> Result<Vec<String>, ClusterError> {
    const OF_ITSELF: [&str; 2] = ["authorization.k8s.io", "authentication.k8s.io"];
    let (needed, mut beyond) = (needed(), BTreeSet::new());
    for rule in listed(cluster)? {
        for group in rule.api_groups.iter().flatten() {
            let asks_itself =
                |resource: &str| OF_ITSELF.contains(&group.as_str()) && resource.starts_with("selfsubject");
            for resource in rule.resources.iter().flatten().filter(|resource| !asks_itself(resource)) {
                let rights = rule.verbs.iter().map(|verb| Right::new(verb, group, resource));
                beyond.extend(rights.filter(|right| !needed.contains(right)).map(|right| right.to_string()));
            }
        }
    }
    Ok(beyond.into_iter().collect())
}

/// What the API server lists of the account's rights in a namespace that has nothing of Hostler's.
fn listed(cluster: &KubeCluster) -> Result<Vec<ResourceRule>, ClusterError> {
    let listing: Api<SelfSubjectRulesReview> = Api::all(cluster.client()?);
    let spec = SelfSubjectRulesReviewSpec { namespace: Some("default".into()) };
    let asked = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let listed = cluster.asked(|| async { listing.create(&PostParams::default(), &asked).await });
    let listed = listed.map_err(|e| error(e, "create selfsubjectrulesreviews"))?;
    Ok(listed.status.map(|status| status.resource_rules).unwrap_or_default())
}

/// What is needed and not allowed. One question lists what is allowed; what does not stand there is asked for itself,
/// because not every authorizer can list.
pub(super) fn missing(cluster: &KubeCluster) -> Result<Vec<String>, ClusterError> {
    let allowed = listed(cluster)?;
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client()?);
    let mut missing = Vec::new();
    for right in needed().into_iter().filter(|right| !allowed.iter().any(|rule| right.is_in(rule))) {
        let resource_attributes = Some(attributes(&right));
        let spec = SelfSubjectAccessReviewSpec { resource_attributes, ..SelfSubjectAccessReviewSpec::default() };
        let asked = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = cluster.asked(|| async { api.create(&PostParams::default(), &asked).await });
        let answer = answer.map_err(|e| error(e, "create selfsubjectaccessreviews"))?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(right.to_string());
        }
    }
    Ok(missing)
}
