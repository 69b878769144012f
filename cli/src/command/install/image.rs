//! `hostler node image`: cards and seeds for machines with nobody at their keyboard.

use std::collections::BTreeMap;

use hostler_plan::{document::Approval, text::count};
use serde_json::json;

use super::check_alone;
use crate::{
    Admin,
    admin::now,
    args::{ImageArgs, duration_text},
    command::Context,
    error::Error,
    install::{
        Packages,
        image::{Card, UserData, make_folder, write},
    },
    output::{note, print},
    token::{self, TokenRequest},
};

/// `hostler node image --for NAME…`
pub(in crate::command) async fn image(context: &Context, admin: &mut Admin, args: &ImageArgs) -> Result<(), Error> {
    let packages = Packages::read(&args.package)?;
    let own = args.user_data.as_deref().map(UserData::read).transpose()?;
    let mut nodes = args.nodes.clone();
    nodes.sort();
    nodes.dedup();
    if nodes.len() != args.nodes.len() {
        return Err(Error::Usage("--for: expected each name once, found one twice; name it once".to_owned()));
    }
    for node in &nodes {
        own.as_ref().map_or(Ok(()), |own| own.check(node))?;
        if admin.trust_store().roster().is_some_and(|r| r.document().active(node).is_some()) {
            return Err(Error::Usage(format!(
                "the name {node} belongs to a node of this fleet; choose another, or retire that one first with \
                 `hostler node retire {node}`"
            )));
        }
    }
    check_alone(admin)?;
    packages.all().for_each(|p| note(&format!("{} is {}", p.name, p.digest())));
    make_folder(&args.out)?;
    let request = TokenRequest { uses: 1, lifetime: args.ttl, role: args.role.into(), approval: Approval::Manual };
    let mut tokens = BTreeMap::new();
    for node in &nodes {
        let join = token::create(admin, &request, now()).await?;
        write(&args.out, &Card { node, token: &join.token, join: &join.encode() }, &packages, own.as_ref())?;
        tokens.insert(node.to_string(), join.token);
    }
    let out = args.out.display();
    print(
        context.output,
        || json!({ "folder": out.to_string(), "tokens": tokens }),
        || {
            format!(
                "wrote {out}/, one folder for each of {}; each says in README.txt what goes where\n\
                 it holds secrets for {}: `hostler token revoke` ends one that got lost ({})",
                count(nodes.len(), "node"),
                duration_text(args.ttl),
                tokens.iter().map(|(node, token)| format!("{node}: {token}")).collect::<Vec<_>>().join(", ")
            )
        },
    )
}
