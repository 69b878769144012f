//! `hostler cluster access --check`

use hostler_plan::{
    document::{RosterStatus, View},
    id::NodeName,
    step::ClusterRole,
    text::count,
};
use serde_json::json;

use super::Context;
use crate::{
    error::Error,
    output::{clean, print},
    plan::pods,
};

/// Asks a server what Hostler's account may do in the cluster, now and signed.
pub(super) async fn check_access(context: &Context) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let roster = admin.trust_store().require_roster()?.document();
    let is_server = |node: &&hostler_plan::document::RosterNode| {
        node.status == RosterStatus::Active && node.role == ClusterRole::Server
    };
    let servers: Vec<NodeName> = roster.nodes.iter().filter(is_server).map(|node| node.name.clone()).collect();
    // A view is about nodes; whichever server answers tells of the account.
    let Some(server) = servers.first() else {
        return Err(Error::Failed(
            "expected a server in the roster to ask, found none; see `hostler nodes`".to_owned(),
        ));
    };
    let (views, not_shown) = pods::look(&mut admin, &NodeName::clone, std::slice::from_ref(server)).await?;
    let Some(view) = views.first() else {
        let why = not_shown.first().map(|not_shown| clean(&not_shown.why).into_owned()).unwrap_or_default();
        return Err(Error::Failed(format!(
            "expected a server's signed answer, found none: {why}; see `hostler nodes`"
        )));
    };
    print(
        context.output,
        || {
            json!({ "server": view.server, "at": view.at, "missing_rights": view.missing_rights,
                "rights_beyond": view.rights_beyond })
        },
        || text(view),
    )?;
    verdict(view)
}

/// A right that is missing weighs more than one too many.
fn verdict(view: &View) -> Result<(), Error> {
    match (view.missing_rights.len(), view.rights_beyond.len()) {
        (0, 0) => Ok(()),
        (0, beyond) => Err(Error::Failed(format!(
            "the account may do {} that nothing of Hostler needs; take them from it: see which roles are bound to \
             system:serviceaccount:hostler-system:hostler, and compare with `hostler cluster access`",
            count(beyond, "thing")
        ))),
        (missing, _) => Err(Error::Blocked(format!(
            "the account lacks {}, and no drain begins without; as somebody who may: `hostler cluster access | kubectl \
             apply -f -`",
            count(missing, "right")
        ))),
    }
}

fn text(view: &View) -> String {
    let mut text =
        format!("Hostler's account, as the server {} asked the cluster and signed at {}:\n", view.server, view.at);
    for right in &view.missing_rights {
        text.push_str(&format!("  lacks     {right}\n"));
    }
    for right in &view.rights_beyond {
        text.push_str(&format!("  may also  {right}\n"));
    }
    if view.missing_rights.is_empty() && view.rights_beyond.is_empty() {
        text.push_str("  may do what it needs, and no more\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use hostler_fixtures as made;
    use hostler_plan::{id::Nonce, timestamp::Timestamp};

    use super::*;

    #[test]
    fn what_an_account_lacks_and_has_beyond_is_said_and_is_the_exit_code() {
        let root = made::root(Timestamp::from_unix_seconds(1_795_000_000), Vec::new());
        let s1 = made::node("s1", made::public(&made::key(1)), ClusterRole::Server);
        let roster = made::roster(&root, root.created, vec![s1]);
        let mut view = made::view(&roster, "s1", &Nonce::from_bytes([7; 32]));
        assert!(verdict(&view).is_ok() && text(&view).contains("may do what it needs, and no more"));
        view.rights_beyond = vec!["get secrets".parse().expect("a name")];
        assert!(text(&view).contains("may also  get secrets"), "{}", text(&view));
        assert_eq!(verdict(&view).expect_err("too much").exit_code(), 1);
        view.missing_rights = vec!["create pods/eviction".parse().expect("a name")];
        assert!(text(&view).contains("lacks     create pods/eviction"), "{}", text(&view));
        let lacks = verdict(&view).expect_err("too little");
        assert_eq!(lacks.exit_code(), 5);
        assert!(lacks.to_string().contains("hostler cluster access | kubectl apply"), "{lacks}");
    }
}
