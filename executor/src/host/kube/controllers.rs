//! What stands above a pod, and how strong it wants to be.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::cluster::{Controller, Owner, Scale};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec},
    batch::v1::Job,
    core::v1::ReplicationController,
};
use kube::{Api, api::ObjectMeta};

use super::{ClusterError, KubeCluster, read};

/// The controllers, by their namespace; those that are gone are left out.
pub(super) fn read_all(
    cluster: &KubeCluster,
    owners: &BTreeSet<(String, Owner)>,
) -> Result<BTreeMap<(String, Owner), Controller>, ClusterError> {
    let mut scalers: BTreeMap<&str, Vec<HorizontalPodAutoscalerSpec>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (namespace, owner) in owners {
        let Some(mut controller) = read_one(cluster, namespace, owner)? else { continue };
        if let Some(scale) = &mut controller.scale {
            if !scalers.contains_key(namespace.as_str()) {
                let api = Api::<HorizontalPodAutoscaler>::namespaced(cluster.client()?, namespace);
                let listed = cluster.list(&api, "", "list horizontalpodautoscalers", |scaler| scaler.spec)?;
                scalers.insert(namespace, listed.into_iter().flatten().collect());
            }
            let of_it = |scaler: &&HorizontalPodAutoscalerSpec| {
                let target = &scaler.scale_target_ref;
                (&target.kind, &target.name) == (&controller.kind, &controller.name)
            };
            let scaler = scalers.get(namespace.as_str()).into_iter().flatten().find(of_it);
            scale.max_replicas = scaler.map(|scaler| number(scaler.max_replicas));
        }
        found.insert((namespace.clone(), owner.clone()), controller);
    }
    Ok(found)
}

fn read_one(cluster: &KubeCluster, namespace: &str, owner: &Owner) -> Result<Option<Controller>, ClusterError> {
    let client = cluster.client()?;
    let itself = |scale| Controller { kind: owner.kind.clone(), name: owner.name.clone(), scale };
    let above = |metadata: &ObjectMeta, kind: &str| read::controller(metadata).filter(|above| above.kind == kind);
    let scale = |replicas: Option<i32>, at_once| {
        Some(Scale { replicas: number(replicas.unwrap_or(1)), at_once, max_replicas: None })
    };
    Ok(match owner.kind.as_str() {
        "ReplicaSet" => {
            let api = Api::<ReplicaSet>::namespaced(client.clone(), namespace);
            let Some(set) = cluster.get(api, &owner.name, "get replicasets")? else { return Ok(None) };
            let replicas = set.spec.and_then(|spec| spec.replicas);
            let Some(deployment) = above(&set.metadata, "Deployment") else {
                return Ok(Some(itself(scale(replicas, 1))));
            };
            let api = Api::<Deployment>::namespaced(client, namespace);
            let found = cluster.get(api, &deployment.name, "get deployments")?;
            let at_once = found.and_then(|deployment| deployment.spec).map_or(1, |spec| read::at_once(&spec));
            Some(Controller { kind: deployment.kind, name: deployment.name, scale: scale(replicas, at_once) })
        }
        "StatefulSet" => {
            let api = Api::<StatefulSet>::namespaced(client, namespace);
            let found = cluster.get(api, &owner.name, "get statefulsets")?;
            found.map(|set| itself(scale(set.spec.and_then(|spec| spec.replicas), 1)))
        }
        "ReplicationController" => {
            let api = Api::<ReplicationController>::namespaced(client, namespace);
            let found = cluster.get(api, &owner.name, "get replicationcontrollers")?;
            found.map(|controller| itself(scale(controller.spec.and_then(|spec| spec.replicas), 1)))
        }
        "Job" => match cluster.get(Api::<Job>::namespaced(client, namespace), &owner.name, "get jobs") {
            Ok(found) => found.map(|job| match above(&job.metadata, "CronJob") {
                Some(cron) => Controller { kind: cron.kind, name: cron.name, scale: None },
                None => itself(None),
            }),
            // Nothing but a name rests on it.
            Err(ClusterError::Forbidden { .. }) => Some(itself(None)),
            Err(error) => return Err(error),
        },
        _ => Some(itself(None)),
    })
}

fn number(count: i32) -> u32 {
    u32::try_from(count).unwrap_or(0)
}
