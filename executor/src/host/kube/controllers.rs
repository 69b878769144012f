//! What stands above a pod, and how strong it wants to be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use hostler_plan::cluster::{Controller, Owner, Scale};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec},
        batch::v1::Job,
        core::v1::ReplicationController,
    },
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, ObjectMeta},
};
use serde::de::DeserializeOwned;

use super::{ClusterError, KubeCluster, error, read};

/// Up to so many of a kind are asked for one by one.
const FEW: usize = 2;
/// Of more than that so many in one answer, which is fewer requests than one each.
const PAGE: u32 = 250;

/// The controllers, by their namespace; those that are gone are left out.
pub(super) fn read_all(
    cluster: &KubeCluster,
    owners: &BTreeSet<(String, Owner)>,
) -> Result<BTreeMap<(String, Owner), Controller>, ClusterError> {
    let mut kinds: BTreeMap<(&str, &str), Vec<&Owner>> = BTreeMap::new();
    for (namespace, owner) in owners {
        kinds.entry((namespace, &owner.kind)).or_default().push(owner);
    }
    let mut found = BTreeMap::new();
    for ((namespace, kind), owners) in kinds {
        let place = Place { cluster, namespace };
        let names: BTreeSet<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
        let read = place.controllers(kind, &names)?;
        let of = |owner: &Owner| Some(((namespace.to_owned(), owner.clone()), read.get(&owner.name)?.clone()));
        found.extend(owners.into_iter().filter_map(of));
    }
    add_scalers(cluster, &mut found)?;
    Ok(found)
}

/// What autoscalers may raise them to.
fn add_scalers(cluster: &KubeCluster, found: &mut BTreeMap<(String, Owner), Controller>) -> Result<(), ClusterError> {
    let scaled: Vec<(&str, &mut Controller)> = found
        .iter_mut()
        .filter(|(_, controller)| controller.scale.is_some())
        .map(|((namespace, _), controller)| (namespace.as_str(), controller))
        .collect();
    let namespaces: BTreeSet<&str> = scaled.iter().map(|(namespace, _)| *namespace).collect();
    let api: Api<HorizontalPodAutoscaler> = match namespaces.first() {
        None => return Ok(()),
        Some(only) if namespaces.len() == 1 => Api::namespaced(cluster.client()?, only),
        Some(_) => Api::all(cluster.client()?),
    };
    let read = |scaler: HorizontalPodAutoscaler| Some((scaler.namespace()?, scaler.spec?));
    let scalers: Vec<(String, HorizontalPodAutoscalerSpec)> =
        cluster.list(&api, "", "list horizontalpodautoscalers", read)?.into_iter().flatten().collect();
    for (namespace, controller) in scaled {
        let of_it = |(place, scaler): &&(String, HorizontalPodAutoscalerSpec)| {
            let target = &scaler.scale_target_ref;
            place == namespace && (&target.kind, &target.name) == (&controller.kind, &controller.name)
        };
        let most = scalers.iter().find(of_it).map(|(_, scaler)| number(scaler.max_replicas));
        if let Some(scale) = &mut controller.scale {
            scale.max_replicas = most;
        }
    }
    Ok(())
}

/// A namespace of a cluster.
struct Place<'c> {
    cluster: &'c KubeCluster,
    namespace: &'c str,
}

impl Place<'_> {
    /// Those of a kind, by their names.
    fn controllers(&self, kind: &str, names: &BTreeSet<&str>) -> Result<BTreeMap<String, Controller>, ClusterError> {
        let itself = |name: &str, scale| Controller { kind: kind.to_owned(), name: name.to_owned(), scale };
        let above = |metadata: &ObjectMeta, kind: &str| read::controller(metadata).filter(|above| above.kind == kind);
        let scale = |replicas: Option<i32>| Some(Scale::of(number(replicas.unwrap_or(1)), 1));
        match kind {
            "ReplicaSet" => {
                let mut found = self.read(names, "replicasets", |name, set: ReplicaSet| {
                    let scale = scale(set.spec.and_then(|spec| spec.replicas));
                    match above(&set.metadata, "Deployment") {
                        Some(deployment) => Controller { kind: deployment.kind, name: deployment.name, scale },
                        None => itself(name, scale),
                    }
                })?;
                let is_deployed = |controller: &&mut Controller| controller.kind == "Deployment";
                let names: BTreeSet<String> =
                    found.values_mut().filter(is_deployed).map(|deployment| deployment.name.clone()).collect();
                let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
                let deployed = self.read(&names, "deployments", |_, deployment: Deployment| {
                    let spec = deployment.spec.unwrap_or_default();
                    (number(spec.replicas.unwrap_or(1)), read::at_once(&spec))
                })?;
                for deployment in found.values_mut().filter(is_deployed) {
                    if let (Some(scale), Some(of_it)) = (&mut deployment.scale, deployed.get(&deployment.name)) {
                        (scale.whole, scale.at_once) = *of_it;
                    }
                }
                Ok(found)
            }
            "StatefulSet" => self.read(names, "statefulsets", |name, set: StatefulSet| {
                itself(name, scale(set.spec.and_then(|spec| spec.replicas)))
            }),
            "ReplicationController" => {
                self.read(names, "replicationcontrollers", |name, controller: ReplicationController| {
                    itself(name, scale(controller.spec.and_then(|spec| spec.replicas)))
                })
            }
            "Job" => {
                let found = self.read(names, "jobs", |name, job: Job| match above(&job.metadata, "CronJob") {
                    Some(cron) => Controller { kind: cron.kind, name: cron.name, scale: None },
                    None => itself(name, None),
                });
                match found {
                    // Nothing but a name rests on it.
                    Err(ClusterError::Forbidden { .. }) => {
                        Ok(names.iter().map(|name| ((*name).to_owned(), itself(name, None))).collect())
                    }
                    found => found,
                }
            }
            _ => Ok(names.iter().map(|name| ((*name).to_owned(), itself(name, None))).collect()),
        }
    }

    /// Objects by their names: of many one page of all that are there, and one by one who is not on it.
    fn read<K, T>(
        &self,
        names: &BTreeSet<&str>,
        what: &str,
        read: impl Fn(&str, K) -> T,
    ) -> Result<BTreeMap<String, T>, ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.cluster.client()?, self.namespace);
        let mut found = BTreeMap::new();
        if names.len() > FEW {
            let parameters = ListParams::default().limit(PAGE);
            let page = self.cluster.asked(|| api.list(&parameters)).map_err(|e| error(e, &format!("list {what}")))?;
            let is_all = page.metadata.continue_.is_none_or(|more| more.is_empty());
            for object in page.items {
                let name = object.name_any();
                if names.contains(name.as_str()) {
                    found.insert(name.clone(), read(&name, object));
                }
            }
            if is_all {
                return Ok(found);
            }
        }
        for name in names {
            if !found.contains_key(*name)
                && let Some(object) = self.cluster.get(api.clone(), name, &format!("get {what}"))?
            {
                found.insert((*name).to_owned(), read(name, object));
            }
        }
        Ok(found)
    }
}

fn number(count: i32) -> u32 {
    u32::try_from(count).unwrap_or(0)
}
