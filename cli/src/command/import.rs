//! `hostler fleet import`: a fleet file of a cluster that is there.

use std::path::{Path, PathBuf};

use hostler_plan::{
    document::Receipt,
    fleet::Fleet,
    id::NodeName,
    import::{FileDraft, fleet_file, inventory},
    text::count,
};
use hostler_seal::Identity;
use serde_json::json;

use super::{Context, plan as plans};
use crate::{
    args::{ImportArgs, Interactive, PlanOptions, ReadArgs},
    error::Error,
    file::write_whole,
    import, output, plan, rollout,
};

/// Where it goes where nobody says it.
const FILE: &str = "fleet.toml";

pub(super) async fn run(context: &Context, args: ImportArgs) -> Result<(), Error> {
    let path = place(args.out)?;
    match (args.inventory, args.node) {
        (Some(inventory), _) => of_inventory(context, &inventory, &path),
        (None, Some(node)) => of_cluster(context, &node, args.yes, &path).await,
        (None, None) => {
            Err(Error::Usage("expected a server (--node) or an inventory (--inventory), found neither".into()))
        }
    }
}

/// Reads files, and asks nobody.
fn of_inventory(context: &Context, inventory: &Path, path: &Path) -> Result<(), Error> {
    let (read, encrypted) = import::read_inventory(inventory)?;
    let folder = inventory.canonicalize().ok().and_then(|file| {
        let folder = if file.is_dir() { Some(file.as_path()) } else { file.parent() };
        Some(folder?.file_name()?.to_string_lossy().into_owned())
    });
    let name = folder.filter(|name| is_fleet_name(name)).unwrap_or_else(|| "imported".to_owned());
    let mut draft = inventory::fleet_file(&read, &name).map_err(|e| Error::Failed(e.to_string()))?;
    let not_read = encrypted.iter().map(|file| format!("{} is encrypted and was not read", file.display()));
    draft.unsaid.extend(not_read);
    let head = format!("Written by `hostler fleet import` from the inventory {}.", inventory.display());
    finish(context, &draft, &head, path)
}

fn is_fleet_name(name: &str) -> bool {
    let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    is_plain && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}

/// Asks a server by a plan that changes nothing, and writes down what it answers.
async fn of_cluster(context: &Context, node: &NodeName, yes: bool, path: &Path) -> Result<(), Error> {
    let identity = Identity::generate();
    let read = Interactive {
        request: ReadArgs { server: node.clone(), to: identity.recipient() },
        options: PlanOptions { lifetime: None },
        out: None,
        yes,
        no_watch: false,
        artifacts: None,
    };
    let digest = plans::interactive(context, read).await?;
    let mut admin = context.admin().await?;
    let detail = rollout::get(&mut admin, &digest.to_string()).await?;
    let evidence = rollout::verify(admin.trust_store(), &detail);
    let is_answer = |receipt: &&Receipt| receipt.plan == digest && receipt.node == *node;
    let receipt = evidence.receipts.iter().find(is_answer);
    let receipt = receipt.ok_or_else(|| Error::Failed(format!("no receipt of {node} is there; ask again")))?;
    let answer = import::answer(receipt, &identity, &admin.trust_store().root().fleet_id)?;
    let inventory = plan::inventory(&mut admin).await?;
    let enrolled = import::enrolled(&admin, &inventory)?;
    let draft = fleet_file(&answer, &enrolled, "imported");
    let head = format!(
        "Written by `hostler fleet import` from what {} read and signed on {} (plan {digest}).",
        answer.node,
        answer.read.whole_seconds()
    );
    finish(context, &draft, &head, path)
}

/// A file that is there is somebody's.
fn place(out: Option<PathBuf>) -> Result<PathBuf, Error> {
    let path = out.unwrap_or_else(|| PathBuf::from(FILE));
    if path.exists() {
        let name = path.display();
        return Err(Error::Usage(format!("{name} is there already; name another file with --out, or move it away")));
    }
    Ok(path)
}

/// Writes the file, reads it as every command does, and says what it does not say.
fn finish(context: &Context, draft: &FileDraft, head: &str, path: &Path) -> Result<(), Error> {
    let text = import::write(draft, head);
    let file = path.display().to_string();
    write_whole(path, text.as_bytes(), false)?;
    let read = Fleet::from_toml(&[(&file, &text)]);
    let warnings: Vec<String> = match &read {
        Ok((_, unwise)) => unwise.iter().map(ToString::to_string).collect(),
        Err(_) => Vec::new(),
    };
    output::print(
        context.output,
        || {
            json!({ "event": "imported", "file": file, "nodes": draft.nodes.len(), "unsaid": draft.unsaid,
                "warnings": warnings, "error": read.as_ref().err().map(ToString::to_string) })
        },
        || {
            let mut text = format!("wrote {file}: {}", count(draft.nodes.len(), "node"));
            if !draft.unsaid.is_empty() {
                text.push_str("\nwhat it does not say, or what to know of it:");
            }
            let said = draft.unsaid.iter().chain(&warnings);
            said.for_each(|sentence| text.push_str(&format!("\n  {}", output::clean(sentence))));
            text.push_str(&format!("\nnext: read it, then hostler fleet check {file} and hostler fleet diff"));
            text
        },
    )?;
    // Written all the same: a person mends a file sooner than nothing.
    read.map(drop).map_err(|e| Error::Failed(format!("{file} is written, and it cannot work as it is: {e}")))
}
