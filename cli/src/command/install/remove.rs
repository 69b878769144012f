//! `hostler node remove-agent`: the agent goes, the cluster stays.

use std::collections::BTreeMap;

use hostler_plan::{document::RosterStatus, text::count};
use serde_json::{Value, json};

use super::{Each, all, distinct, limits, password, rights, screen::Screen, with_each};
use crate::{
    args::{Reach, RemoveAgentArgs},
    ask::confirm,
    command::Context,
    error::Error,
    install::{self, Found, NodeId, Removed, Ssh},
    output::{clean, print},
    trust_store::TrustStore,
};

/// `hostler node remove-agent USER@HOST…`
pub(in crate::command) async fn remove_agent(context: &Context, args: RemoveAgentArgs) -> Result<(), Error> {
    let reach = args.reach;
    let hosts = distinct(&reach)?;
    let (ssh, limits) = (Ssh::new(&reach.ssh), limits(&reach));
    let found = probe(context, &reach, &ssh).await?;
    let mut ends: Each<Removed> = BTreeMap::new();
    let mut there = Vec::new();
    for (host, found) in found {
        match found {
            Ok(found) => there.push(found),
            Err(why) => drop(ends.insert(host, Err(why))),
        }
    }
    if !there.is_empty() {
        let names: Vec<String> = there.iter().map(|f| format!("{} ({})", f.name, f.host)).collect();
        confirm(&format!("take the agent off {}? Kubernetes stays as it is", names.join(", ")), reach.yes)?;
        let password = password(&reach, &rights(there.iter()))?;
        let screen = Screen::new(context.output, &hosts);
        let set = with_each(there.into_iter().map(|f| (f.host, ())), reach.at_once, |host, ()| {
            let (ssh, password, line) = (ssh.clone(), password.clone(), screen.line(&host));
            async move {
                if let Some(line) = line {
                    line.say("takes the agent away");
                }
                install::remove(&ssh, &host, password.as_ref().map(|p| p.as_str()), limits).await
            }
        });
        ends.extend(all(set).await?);
        screen.end();
    }
    report(context, &ends)
}

/// What each machine is; nothing of it is changed.
pub(super) async fn probe(context: &Context, reach: &Reach, ssh: &Ssh) -> Result<Each<Found>, Error> {
    let hosts = distinct(reach)?;
    let (screen, limits) = (Screen::new(context.output, &hosts), limits(reach));
    hosts.iter().for_each(|host| screen.say(host, "asks what it is"));
    let set = with_each(hosts.iter().map(|h| (h.clone(), ())), reach.at_once, |host, ()| {
        let (ssh, line) = (ssh.clone(), screen.line(&host));
        async move {
            let mut heard = |word: &str, rest: &str| {
                if let Some(line) = &line {
                    line.heard(word, rest);
                }
            };
            install::probe(&ssh, &host, limits, &mut heard).await
        }
    });
    let found: Each<Found> = all(set).await?;
    for (host, found) in &found {
        match found {
            Ok(found) => screen.say(host, &format!("{}, {}, {}", found.name, found.os, found.arch)),
            Err(why) => screen.say(host, why),
        }
    }
    screen.end();
    Ok(found)
}

fn report(context: &Context, ends: &Each<Removed>) -> Result<(), Error> {
    // The roster that this profile holds; without one there is nothing to say of it.
    let store = TrustStore::require(&context.profile.home).ok();
    let listed = |id: &NodeId| {
        let roster = store.as_ref()?.roster()?.document();
        roster.with_key(&id.key).filter(|n| n.status == RosterStatus::Active).map(|n| n.name.to_string())
    };
    let said = |end: &Result<Removed, String>| match end {
        Err(why) => format!("FAILED: {why}"),
        Ok(Removed { nothing: true, .. }) => "there was no agent".to_owned(),
        Ok(Removed { id, left, .. }) => {
            let mut text = "its agent is gone".to_owned();
            if !left.is_empty() {
                text.push_str(&format!("; left, because others use it: {}", left.join(", ")));
            }
            if let Some(name) = id.as_ref().and_then(listed) {
                text.push_str(&format!("; the roster lists {name} still: hostler node retire {name}"));
            }
            text
        }
    };
    let as_json = |end: &Result<Removed, String>| -> Value {
        match end {
            Err(why) => json!({ "removed": false, "why": why }),
            Ok(removed) => json!({ "removed": !removed.nothing, "left": removed.left,
                "name": removed.id.as_ref().map(|id| &id.name), "key": removed.id.as_ref().map(|id| &id.key),
                "listed_as": removed.id.as_ref().and_then(listed) }),
        }
    };
    print(
        context.output,
        || {
            let machines: serde_json::Map<String, Value> =
                ends.iter().map(|(host, end)| (host.to_string(), as_json(end))).collect();
            json!({ "machines": machines })
        },
        || ends.iter().map(|(host, end)| clean(&format!("{host}: {}", said(end))).into_owned() + "\n").collect(),
    )?;
    match ends.values().filter(|end| end.is_err()).count() {
        0 => Ok(()),
        failed => Err(Error::Failed(format!(
            "{} of {} failed; see above, then run it again for those",
            failed,
            count(ends.len(), "machine")
        ))),
    }
}
