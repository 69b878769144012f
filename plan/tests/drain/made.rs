//! A cluster of a few nodes, and how to say what is different about it.

use std::time::Duration;

use hostler_plan::{
    cluster::{Budget, BudgetLimit, Controller, Node, Operator, Pod, Requirement, Scale},
    document::{Leaving, NodeView, Place, PodView, Prospect},
    drain::{Look, Options, Past, blockers, view_of},
    step::EmptyDirs,
    timestamp::Timestamp,
};

/// Some moment.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_milliseconds(1_800_000_000_000)
}

pub(crate) use hostler_fixtures::cluster::node;

/// A plan that lets nothing be lost.
pub(crate) const STRICT: Options<'_> =
    Options { delete_empty_dir_data: EmptyDirs::None, force_unmanaged: false, evict_anyway: &[], consents: &[] };

/// A Ready pod of the ReplicaSet `app`, labelled `app=APP`, in the namespace `shop`, with the usual grace.
pub(crate) fn pod(name: &str, app: &str, node: &str) -> Pod {
    Pod { grace: Duration::from_secs(30), ..hostler_fixtures::cluster::pod(name, app, node) }
}

pub(crate) fn is_in(key: &str, values: &[&str]) -> Requirement {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Requirement { key: key.into(), operator: Operator::In, values }
}

/// Nodes of these names, without pods.
pub(crate) fn cluster(nodes: &[&str]) -> Look {
    Look { nodes: nodes.iter().map(|name| node(name).into()).collect(), ..Look::default() }
}

/// A cluster, and what is put into it.
pub(crate) trait Made {
    /// Pods of a Deployment, one on each of these nodes.
    fn deploy(&mut self, app: &str, nodes: &[&str]);
    /// What a controller asks for.
    fn scale(&mut self, app: &str, change: impl FnOnce(&mut Scale));
    /// A budget over the pods of an application, with the status that its controller would write.
    fn protect(&mut self, app: &str, limit: BudgetLimit) -> &mut Budget;
    fn pod(&mut self, name: &str) -> &mut Pod;
    fn node(&mut self, name: &str) -> &mut Node;
    fn view(&self) -> NodeView;
    fn view_after(&self, past: &Past) -> NodeView;
    /// The pods that block, each with its reason.
    fn blocked(&self) -> Vec<(String, String)>;
    fn leaving(&self, name: &str) -> Leaving;
}

impl Made for Look {
    fn deploy(&mut self, app: &str, nodes: &[&str]) {
        for (at, node) in nodes.iter().enumerate() {
            self.pods.push(pod(&format!("{app}-{at}"), app, node).into());
        }
        let replicas = u32::try_from(nodes.len()).unwrap();
        let scale = Some(Scale::of(replicas, (replicas / 4).max(1)));
        let owner = pod(app, app, "").owner.unwrap().into_inner();
        let controller = Controller { kind: "Deployment".into(), name: app.into(), scale };
        self.controllers.insert(("shop".into(), owner), controller);
    }

    fn scale(&mut self, app: &str, change: impl FnOnce(&mut Scale)) {
        let owner = pod(app, app, "").owner.unwrap().into_inner();
        let controller = self.controllers.get_mut(&("shop".into(), owner)).unwrap();
        let scale = controller.scale.as_mut().unwrap();
        let whole = scale.whole;
        change(scale);
        if scale.whole == whole {
            scale.whole = scale.replicas;
        }
    }

    fn protect(&mut self, app: &str, limit: BudgetLimit) -> &mut Budget {
        let counted = self.pods.iter().filter(|pod| pod.labels.get("app").is_some_and(|of| of == app));
        let pods = u32::try_from(counted.clone().count()).unwrap();
        let healthy = u32::try_from(counted.filter(|pod| pod.ready).count()).unwrap();
        let desired = limit.desired(pods);
        let budget = Budget {
            desired_healthy: desired,
            current_healthy: healthy,
            disruptions_allowed: healthy.saturating_sub(desired),
            expected_pods: pods,
            ..hostler_fixtures::cluster::budget(app, limit)
        };
        self.budgets.push(budget.into());
        self.budgets.last_mut().unwrap()
    }

    fn pod(&mut self, name: &str) -> &mut Pod {
        self.pods.iter_mut().find(|pod| pod.key.name == name).unwrap()
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap()
    }

    fn view(&self) -> NodeView {
        self.view_after(&Past::default())
    }

    fn view_after(&self, past: &Past) -> NodeView {
        view_of(&"s1".parse().unwrap(), self, now(), past)
    }

    fn blocked(&self) -> Vec<(String, String)> {
        blockers(&self.view(), &STRICT).into_iter().map(|blocker| (blocker.pod, blocker.reason)).collect()
    }

    fn leaving(&self, name: &str) -> Leaving {
        leaving(&self.view(), name).clone()
    }
}

pub(crate) fn seen<'v>(view: &'v NodeView, name: &str) -> &'v PodView {
    let found = view.pods.iter().find(|pod| pod.pod.as_str() == format!("shop/{name}"));
    found.unwrap_or_else(|| panic!("no {name} among {:?}", view.pods))
}

pub(crate) fn leaving<'v>(view: &'v NodeView, name: &str) -> &'v Leaving {
    match &seen(view, name).prospect {
        Prospect::Leaves(leaving) => leaving,
        other @ (Prospect::Stays(_) | Prospect::Going { .. }) => panic!("{name} does not leave: {other:?}"),
    }
}

/// The grade of a place and its reason.
pub(crate) fn said(place: &Place) -> (&'static str, String) {
    match place {
        Place::Elsewhere { such_as, .. } => {
            ("elsewhere", such_as.iter().map(|node| node.as_str()).collect::<Vec<_>>().join(" "))
        }
        Place::Nowhere(why) => ("nowhere", why.to_string()),
        Place::NoRoom(why) => ("no room", why.to_string()),
        Place::Unknown(why) => ("unknown", why.to_string()),
        Place::NotNeeded => ("not needed", String::new()),
    }
}
