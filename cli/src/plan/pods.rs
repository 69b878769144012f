//! What is on the nodes that a plan drains or gives up: asked of a server through the coordinator, believed as far as
//! it is signed, and shown before anybody signs.

use std::{collections::BTreeSet, time::Duration};

use hostler_plan::{
    document::{MAX_VIEW_NODES, NodeView, Plan, Signed, View},
    drain::{Allowed, CarriedOver, ConsentError, NotShown, PodsPreview},
    id::{Digest, NodeName, Nonce},
    step::NewOwners,
    timestamp::Timestamp,
    trust,
};
use hostler_proto::v1;
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};

use super::earlier::{show, unproved};
use crate::{Admin, error::Error, output::note};

/// How long all questions together may take. Nobody waits longer for the pods than this, at three in the morning least.
const LOOK_LIMIT: Duration = Duration::from_secs(8);

/// What was read longer ago than this is read again before somebody signs.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// The pods of the nodes that a plan drains or gives up.
#[derive(Debug, Clone)]
pub struct Pods {
    /// What they mean for the plan.
    pub preview: PodsPreview,
    /// When they were asked for, by this machine's clock.
    pub asked: Timestamp,
}

/// Reads what is on the nodes that the plan drains or gives up, and writes what a person allows into it: for the owners
/// that stand there, or in general where not all of them could be seen; and what the plan allowed that it continues.
/// None for a plan that does neither.
pub async fn consent(
    admin: &mut Admin,
    plan: &mut Plan,
    allowed: &Allowed,
    new: NewOwners,
    now: Timestamp,
) -> Result<Option<Pods>, Error> {
    let nodes = looked_at(plan);
    if nodes.is_empty() {
        return Ok(None);
    }
    let (views, not_shown) = look(admin, &|node| plan.name_in_cluster(node).clone(), &nodes).await?;
    let seen: Vec<&NodeView> = views.iter().flat_map(|view| &view.nodes).collect();
    let all = not_shown.is_empty() && seen.iter().all(|node| node.left_out.pods == 0);
    let before = match plan.continues {
        Some(before) => continued(admin, &before).await?,
        None => None,
    };
    let mut carried = before.as_ref().map(|before| CarriedOver { from: before.seq, what: BTreeSet::new() });
    for (node, drain) in plan.drains_mut() {
        let seen = all.then_some(seen.as_slice());
        let usage = |e: ConsentError| Error::Usage(e.to_string());
        allowed.write(drain, seen, new).map_err(usage)?;
        let same = before.iter().flat_map(Plan::drains).filter(|(of, _)| *of == node);
        for (carried, (_, before)) in carried.iter_mut().zip(same) {
            carried.what.extend(allowed.carry_over(drain, before).map_err(usage)?);
        }
    }
    let mut preview = PodsPreview::of(plan, views, not_shown);
    preview.carried = carried;
    Ok(Some(Pods { preview, asked: now }))
}

/// The plan that another one continues, from its signed bytes; who is not shown them allows nothing.
async fn continued(admin: &mut Admin, plan: &Digest) -> Result<Option<Plan>, Error> {
    match show(admin, plan).await {
        Ok((_, before)) => Ok(Some(before)),
        Err(error) => {
            let unproved = unproved(*plan, None, error)?;
            let why = unproved.why;
            note(&format!("what plan {plan} allowed is not carried over: {why}; allow it anew with the flags"));
            Ok(None)
        }
    }
}

/// Reads again what is on the nodes of a plan that stands.
pub async fn look_again(admin: &mut Admin, plan: &Plan, now: Timestamp) -> Result<Option<Pods>, Error> {
    let nodes = looked_at(plan);
    if nodes.is_empty() {
        return Ok(None);
    }
    let (views, not_shown) = look(admin, &|node| plan.name_in_cluster(node).clone(), &nodes).await?;
    Ok(Some(Pods { preview: PodsPreview::of(plan, views, not_shown), asked: now }))
}

impl Pods {
    /// Refuses the plan where something stands in its way.
    pub fn check(&self) -> Result<(), Error> {
        match self.preview.refusal() {
            None => Ok(()),
            Some(why) => Err(Error::Blocked(format!("{why}\nNothing was touched: the plan was not signed"))),
        }
    }

    /// Reads them again where somebody thought about it for longer than a minute, and refuses the plan if something
    /// stands in its way since.
    pub async fn refresh(&self, admin: &mut Admin, plan: &Plan, now: Timestamp) -> Result<(), Error> {
        let age = now.since(self.asked);
        if age <= FRESH_FOR {
            return Ok(());
        }
        let Some(again) = look_again(admin, plan, now).await? else { return Ok(()) };
        again.check()?;
        for NotShown { why, .. } in &again.preview.not_shown {
            note(&format!("the pods were read {} s ago, and now they are not shown: {why}", age.as_secs()));
        }
        Ok(())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let PodsPreview { views, not_shown, blockers, carried, .. } = &self.preview;
        json!({
            "carried_over": carried.as_ref().map(|carried| json!({ "plan": carried.from, "what": carried.what })),
            "views": views.iter().map(|view| json!({ "server": view.server, "at": view.at,
                "missing_rights": view.missing_rights, "nodes": view.nodes })).collect::<Vec<_>>(),
            "not_shown": not_shown.iter().map(|n| json!({ "nodes": n.nodes, "why": n.why })).collect::<Vec<_>>(),
            "blockers": blockers.iter().map(|(node, blocker)| json!({ "node": node, "pod": blocker.pod,
                "budget": blocker.budget, "reason": blocker.reason })).collect::<Vec<_>>(),
        })
    }
}

fn looked_at(plan: &Plan) -> Vec<NodeName> {
    let mut nodes: Vec<NodeName> = Vec::new();
    for node in plan.drains().map(|(node, _)| node).chain(plan.given_up()) {
        if !nodes.contains(node) {
            nodes.push(node.clone());
        }
    }
    nodes
}

/// The name of a node in its cluster.
pub(crate) type InCluster<'a> = &'a dyn Fn(&NodeName) -> NodeName;

/// What servers sign about these nodes. Who gets no view is told why, and goes on without.
pub(crate) async fn look(
    admin: &mut Admin,
    in_cluster: InCluster<'_>,
    nodes: &[NodeName],
) -> Result<(Vec<View>, Vec<NotShown>), Error> {
    let end = tokio::time::Instant::now() + LOOK_LIMIT;
    let (mut views, mut not_shown) = (Vec::new(), Vec::new());
    for some in nodes.chunks(MAX_VIEW_NODES) {
        let view = match tokio::time::timeout_at(end, view(admin, in_cluster, some)).await {
            Ok(view) => view?,
            Err(_) => Err(format!("the coordinator has not answered in {} s", LOOK_LIMIT.as_secs())),
        };
        let left_out = match view {
            Ok(view) => {
                let missing = some.iter().filter(|node| !view.nodes.iter().any(|seen| seen.node == **node));
                let missing: Vec<NodeName> = missing.cloned().collect();
                let why = format!("the server {} says nothing of them", view.server);
                views.push(view);
                NotShown { nodes: missing, why }
            }
            Err(why) => NotShown { nodes: some.to_vec(), why },
        };
        not_shown.extend((!left_out.nodes.is_empty()).then_some(left_out));
    }
    Ok((views, not_shown))
}

/// One view of these nodes and no others, or why there is none. A server is asked by the cluster's names, and what it
/// says is shown by the fleet's.
async fn view(admin: &mut Admin, in_cluster: InCluster<'_>, nodes: &[NodeName]) -> Result<Result<View, String>, Error> {
    let mut random = [0; 32];
    OsRng.fill_bytes(&mut random);
    let nonce = Nonce::from_bytes(random);
    let question = v1::GetViewRequest {
        nodes: nodes.iter().map(|node| in_cluster(node).to_string()).collect(),
        nonce: nonce.to_string(),
    };
    let request = admin.with_session(question);
    let reply = match admin.client().get_view(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => return Ok(Err(Error::from(status).to_string())),
    };
    let Some(signed) = reply.view.map(Signed::from) else { return Ok(Err(reply.not_shown)) };
    let roster = admin.trust_store().require_roster()?;
    Ok(match trust::view(roster, &nonce, &signed) {
        Ok(verified) => {
            let mut view = verified.document().clone();
            let mut asked: Vec<&NodeName> = nodes.iter().collect();
            view.nodes.retain_mut(|seen| {
                let at = asked.iter().position(|node| in_cluster(node) == seen.node);
                at.map(|at| seen.node = asked.swap_remove(at).clone()).is_some()
            });
            Ok(view)
        }
        Err(refused) => Err(format!("what the coordinator hands on as a view counts for nothing: {}", refused.reason)),
    })
}
