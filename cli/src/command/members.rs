//! Who belongs to the fleet: machines that wait, shown before anything is signed, and the rosters that list them.

use std::path::{Path, PathBuf};

use hostler_plan::{
    document::{DocumentKind, Roster, RosterStatus, Signed, SignerRole},
    id::{Fingerprint, NodeName},
    show,
    step::ClusterRole,
    text::count,
    trust::{Draft, Duty, Verified},
};
use serde_json::{Value, json};

use super::Context;
use crate::{
    Admin,
    admin::now,
    args::{Listing, NamedKey, NodeArgument},
    ask::confirm,
    error::Error,
    file::write_document,
    membership::Membership,
    output::{clean, note, print},
    roster::{self, Double, Eligibility, Next, Pending},
};

/// Whether somebody has to be asked, and where a roster goes that others are to sign too.
pub(super) struct Consent {
    pub yes: bool,
    pub out: Option<PathBuf>,
}

/// What became of a roster that was made here.
#[derive(Debug, Clone)]
pub(super) enum Handed {
    /// It is in the ledger, and in force.
    InForce(u64),
    /// It is signed once and waits for others.
    Waits(PathBuf),
}

impl Handed {
    fn as_json(&self) -> (Value, Value) {
        match self {
            Handed::InForce(version) => (json!(version), Value::Null),
            Handed::Waits(path) => (Value::Null, json!(path.display().to_string())),
        }
    }

    /// What it brought about, or what others have to do before it does.
    fn sentence(&self, done: &str) -> String {
        match self {
            Handed::InForce(version) => format!("roster {version}: {done}"),
            Handed::Waits(path) => next_signers(path),
        }
    }
}

/// What others do with a file that is signed once.
pub(super) fn next_signers(path: &Path) -> String {
    let file = path.display();
    format!(
        "wrote {file}, signed once; nothing has changed yet\n\
         next: hostler sign {file}, by others; then hostler submit {file}"
    )
}

/// How often a roster is made anew because others handed in theirs meanwhile. Each time a person is asked.
const OVERTAKEN_TRIES: usize = 3;

/// Makes a roster, and makes it anew from the newest one when another took its place first: what came in between is
/// shown, and whoever was asked is asked again.
pub(super) async fn anew<T>(
    admin: &mut Admin,
    mut make: impl AsyncFnMut(&mut Admin) -> Result<T, Error>,
) -> Result<T, Error> {
    for _ in 1..OVERTAKEN_TRIES {
        match make(admin).await {
            Err(Error::Overtaken { winner, .. }) => {
                note(&format!(
                    "the roster was overtaken by {}, which was taken first; it is made anew",
                    winner.digest()
                ));
                roster::follow_winner(admin).await?;
            }
            other => return other,
        }
    }
    make(admin).await
}

/// Signs a roster and hands it in, or writes it to a file with one signature where the root demands more.
pub(super) async fn hand_on(admin: &mut Admin, next: &Next, out: Option<PathBuf>) -> Result<Handed, Error> {
    let store = admin.trust_store();
    if Duty::Roster.needed(store.root()) == 1 {
        return roster::submit(admin, next, now()).await.map(Handed::InForce);
    }
    let unsigned = Signed { bytes: next.bytes.clone(), signatures: Vec::new() };
    let mut membership = Membership::Roster(Draft::roster(unsigned)?);
    membership.sign(store, admin.signer(), now())?;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("roster-{}.json", next.roster.version)));
    write_document(&path, membership.signed())?;
    Ok(Handed::Waits(path))
}

/// The machines that a plan would bring in, of those that wait: each is shown with its key, origin, hardware and token,
/// and then a person is asked. `names` is empty for all. Nothing is signed here.
pub(super) async fn choose(admin: &mut Admin, names: &[NodeName], listing: &Listing) -> Result<Vec<Pending>, Error> {
    let (pending, refused) = roster::pending(admin).await?;
    refused.iter().for_each(|r| note(&clean(&format!("an enrolment does not count: {}", r.reason))));
    let wanted = |p: &&Pending| names.is_empty() || names.contains(&p.enrolment.document().node);
    let (mut servers, mut workers, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for waiting in pending.iter().filter(wanted) {
        match (&waiting.eligibility, waiting.admission.document().role) {
            (Eligibility::Automatic, ClusterRole::Server) => servers.push(waiting.clone()),
            (Eligibility::Automatic, ClusterRole::Worker | ClusterRole::Host) => workers.push(waiting.clone()),
            (Eligibility::Manual(_) | Eligibility::Replaces(_) | Eligibility::Never(_), _) => left.push(waiting),
        }
    }
    left.into_iter().for_each(|p| note(&line(p)));
    if servers.is_empty() && workers.is_empty() {
        return Ok(Vec::new());
    }
    // An operator plans with the roster that is there.
    if admin.session().role != SignerRole::Admin {
        note("machines wait to be listed, which an admin does: hostler node list --pending");
        return Ok(Vec::new());
    }
    servers.iter().chain(&workers).for_each(|p| note(&describe(p)));
    let mut chosen = Vec::new();
    for server in servers {
        let (name, key) = (&server.enrolment.document().node, server.enrolment.document().key.fingerprint());
        let accepted = listing.accept_server.iter().any(|NamedKey { name: n, key: k }| n == name && *k == key);
        if !accepted && listing.yes {
            note(&format!(
                "{name} is left out: it would be a server, and those ask; name it with --accept-server {name}={key}"
            ));
            continue;
        }
        confirm(&format!("list {name} with key {key} as a SERVER, which holds the keys of the cluster?"), accepted)?;
        chosen.push(server);
    }
    if !workers.is_empty() {
        let names: Vec<&str> = workers.iter().map(|p| p.enrolment.document().node.as_str()).collect();
        confirm(&format!("list {} in the roster?", names.join(", ")), listing.yes)?;
        chosen.extend(workers);
    }
    Ok(chosen)
}

/// Signs the roster that a plan was compiled under.
pub(super) async fn hand_on_for_plan(admin: &mut Admin, next: &Next, plan: &Path) -> Result<(), Error> {
    let beside = plan.with_file_name(format!("roster-{}.json", next.roster.version));
    match hand_on(admin, next, Some(beside)).await? {
        Handed::InForce(version) => note(&format!("signed roster {version}; its new nodes belong to the fleet")),
        waits @ Handed::Waits(_) => note(&format!("{}, before the plan", waits.sentence(""))),
    }
    Ok(())
}

/// `hostler node list --pending`
pub(super) async fn list_pending(context: &Context, admin: &mut Admin) -> Result<(), Error> {
    let (pending, refused) = roster::pending(admin).await?;
    let doubles = roster::doubles(admin).await?;
    let refusals = || refused.iter().map(|r| json!({ "refusal": r.refusal, "reason": r.reason })).collect::<Vec<_>>();
    print(
        context.output,
        || {
            json!({
                "pending": pending.iter().map(as_json).collect::<Vec<_>>(),
                "doubles": doubles.iter().map(double_json).collect::<Vec<_>>(),
                "refused": refusals(),
            })
        },
        || {
            let mut parts: Vec<String> = pending.iter().map(describe).collect();
            parts.extend(doubles.iter().map(describe_double));
            parts.extend(
                refused.iter().map(|r| clean(&format!("an enrolment does not count: {}", r.reason)).into_owned()),
            );
            if parts.is_empty() { "no machine waits".to_owned() } else { parts.join("\n") }
        },
    )
}

/// The hints below `hostler nodes`.
pub(super) async fn hint(admin: &mut Admin) -> Result<(), Error> {
    let (pending, refused) = roster::pending(admin).await?;
    pending.iter().for_each(|p| note(&line(p)));
    roster::doubles(admin).await?.iter().for_each(|d| note(&double_line(d)));
    refused.iter().for_each(|r| note(&clean(&format!("an enrolment does not count: {}", r.reason))));
    Ok(())
}

/// `hostler node approve`: one roster with all of them, one question.
pub(super) async fn approve(
    context: &Context,
    admin: &mut Admin,
    nodes: &[NodeArgument],
    consent: Consent,
) -> Result<(), Error> {
    let (handed, names) = anew(admin, async |admin| approve_once(admin, nodes, &consent).await).await?;
    print_handed(context, &handed, json!({ "nodes": names }), &format!("lists {}", names.join(", ")))
}

async fn approve_once(
    admin: &mut Admin,
    nodes: &[NodeArgument],
    consent: &Consent,
) -> Result<(Handed, Vec<String>), Error> {
    let (pending, _) = roster::pending(admin).await?;
    let mut wanted = Vec::new();
    for node in nodes {
        wanted.push(find(&pending, node)?);
    }
    wanted.iter().for_each(|p| note(&describe(p)));
    check_unasked(&wanted, nodes, consent.yes)?;
    let names: Vec<String> = wanted.iter().map(|p| p.enrolment.document().node.to_string()).collect();
    confirm(&format!("sign a roster with {}?", names.join(", ")), consent.yes)?;
    let next = roster::listing(admin, &wanted, now()).await?;
    Ok((hand_on(admin, &next, consent.out.clone()).await?, names))
}

/// What nobody was asked about is a worker whose token is proved good, or was named with its key.
fn check_unasked(wanted: &[Pending], nodes: &[NodeArgument], yes: bool) -> Result<(), Error> {
    for (pending, node) in wanted.iter().zip(nodes) {
        let key = pending.enrolment.document().key.fingerprint();
        if let (true, None, Some(why)) = (yes, &node.key, pending.needs_a_person()) {
            let name = &node.name;
            return Err(Error::Usage(format!(
                "--yes lists {name} only by its key, because {why}: compare the key on the machine with \
                 `hostler-executor id`, then name it {name}={key}"
            )));
        }
    }
    Ok(())
}

/// The one machine that waits under that name, with that key where one is named.
fn find(pending: &[Pending], wanted: &NodeArgument) -> Result<Pending, Error> {
    let name = &wanted.name;
    let fits = |p: &&Pending| {
        let enrolment = p.enrolment.document();
        enrolment.node == *name && wanted.key.as_ref().is_none_or(|key| *key == enrolment.key.fingerprint())
    };
    let found: Vec<&Pending> = pending.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Error::Usage(format!(
            "expected a machine that waits as {name}{}, found none; see `hostler node list --pending`",
            wanted.key.as_ref().map_or_else(String::new, |key| format!(" with key {key}"))
        ))),
        several => {
            let keys: Vec<String> = several
                .iter()
                .map(|p| format!("{name}={} from {}", p.enrolment.document().key.fingerprint(), clean(&p.peer_address)))
                .collect();
            Err(Error::Usage(format!(
                "{} machines wait as {name}; name one by its key: {}",
                several.len(),
                keys.join(", ")
            )))
        }
    }
}

/// The roster of `hostler node replace` and `hostler node rename`: one machine that waits, or that was turned away as a
/// double, under `name`.
pub(super) async fn settle(
    context: &Context,
    admin: &mut Admin,
    node: &NodeArgument,
    name: &NodeName,
    consent: Consent,
) -> Result<Handed, Error> {
    let (handed, key) = anew(admin, async |admin| settle_once(admin, node, name, &consent).await).await?;
    print_handed(context, &handed, json!({ "nodes": [name], "key": key }), &format!("{name} is key {key}"))?;
    Ok(handed)
}

async fn settle_once(
    admin: &mut Admin,
    node: &NodeArgument,
    name: &NodeName,
    consent: &Consent,
) -> Result<(Handed, Fingerprint), Error> {
    let renames = node.name != *name;
    let mut waiting: Vec<Pending> = roster::doubles(admin).await?.into_iter().map(|d| d.pending).collect();
    // One that came in has its certificate under its name.
    if !renames {
        waiting.extend(roster::pending(admin).await?.0);
    }
    let active = admin.trust_store().roster().and_then(|r| r.document().active(name).cloned());
    if let (true, Some(active)) = (renames, &active) {
        return Err(Error::Usage(format!(
            "the name {name} belongs to key {}; choose another, or retire that node first",
            active.key.fingerprint()
        )));
    }
    // A key that is listed has its name by that.
    let listed = |key: &Fingerprint| admin.trust_store().roster().is_some_and(|r| is_active(r.document(), key));
    waiting.retain(|p| !listed(&p.enrolment.document().key.fingerprint()));
    let pending = find(&waiting, node).map_err(|error| enrolled(admin, node, name).unwrap_or(error))?;
    note(&describe(&pending));
    if let Some(active) = &active {
        note(&format!("  {name} is key {} now; it is retired and counts never again", active.key.fingerprint()));
    }
    check_settled_unasked(&pending, node, consent.yes)?;
    let key = pending.enrolment.document().key.fingerprint();
    confirm(&format!("sign a roster with key {key} as {name}?"), consent.yes)?;
    let next = roster::replacing(admin, &pending, name, now()).await?;
    Ok((hand_on(admin, &next, consent.out.clone()).await?, key))
}

fn is_active(roster: &Roster, key: &Fingerprint) -> bool {
    roster.with_key(key).is_some_and(|node| node.status == RosterStatus::Active)
}

/// Why a node that belongs to the fleet is neither renamed nor put in its own place, and what to do instead.
fn enrolled(admin: &Admin, node: &NodeArgument, name: &NodeName) -> Option<Error> {
    let own = admin.trust_store().roster()?.document().active(&node.name)?.key.fingerprint();
    if node.key.as_ref().is_some_and(|key| *key != own) {
        return None;
    }
    let NodeArgument { name: old, .. } = node;
    let anew = format!(
        "`hostler drain {old}`, `hostler node retire {old}`, `kubectl delete node {old}`, remove \
         /var/lib/hostler/executor and /var/lib/hostler/agent on the machine"
    );
    Some(Error::Usage(if old == name {
        format!(
            "{old} is a node under key {own}, and no other machine came as {old}; one that is made anew enrols first \
             with a new join string. Where two machines hold that key, {anew} on both, and enrol each"
        )
    } else {
        format!(
            "{old} is a node under key {own} and keeps its name: its certificate, its receipts and its kubelet carry \
             it. To have the machine as {name} enrol it anew: {anew}, give it the host name {name} and a new join \
             string (docs/enrolment.md)"
        )
    }))
}

/// Without a question the key has to be named: what is settled here is which of two machines is meant.
fn check_settled_unasked(pending: &Pending, node: &NodeArgument, yes: bool) -> Result<(), Error> {
    if !yes || node.key.is_some() {
        return Ok(());
    }
    let (name, key) = (&node.name, pending.enrolment.document().key.fingerprint());
    Err(Error::Usage(format!(
        "--yes needs the key of the machine that is meant: compare it on the machine with `hostler-executor id`, \
         then name it {name}={key}"
    )))
}

/// `hostler node retire`
pub(super) async fn retire(
    context: &Context,
    admin: &mut Admin,
    name: &NodeName,
    consent: Consent,
) -> Result<(), Error> {
    let handed = anew(admin, async |admin| {
        let next = roster::retirement(admin, name, now()).await?;
        let question = format!("retire {name}? Its key counts no more, and it gets no further certificate");
        confirm(&question, consent.yes)?;
        hand_on(admin, &next, consent.out.clone()).await
    });
    let handed = handed.await?;
    print_handed(context, &handed, json!({ "retired": name }), &format!("{name} is retired"))
}

/// `hostler node renew`: the same nodes once more, which closes a fork of rosters.
pub(super) async fn renew(context: &Context, admin: &mut Admin, consent: Consent) -> Result<(), Error> {
    let handed = anew(admin, async |admin| {
        let next = roster::same(admin, now()).await?;
        let held = admin.trust_store().roster().map(Verified::document);
        note(show::roster(held, &next.roster, &next.digest()).trim_end());
        confirm(&format!("sign roster {} with the same nodes?", next.roster.version), consent.yes)?;
        hand_on(admin, &next, consent.out.clone()).await
    });
    let handed = handed.await?;
    print_handed(context, &handed, json!({ "renewed": true }), "has the same nodes as the one before")
}

/// Prints what became of a roster, with these further keys for programs.
pub(super) fn print_handed(context: &Context, handed: &Handed, more: Value, done: &str) -> Result<(), Error> {
    let mut value = more;
    (value["roster"], value["file"]) = handed.as_json();
    print(context.output, || value, || handed.sentence(done))
}

/// One line about a machine that waits.
fn line(p: &Pending) -> String {
    let name = &p.enrolment.document().node;
    let text = match &p.eligibility {
        Eligibility::Automatic => {
            format!("{name} is admitted by its token; `hostler plan join` or `node approve` lists it")
        }
        Eligibility::Manual(why) => format!("{name} waits for `hostler node approve {name}`: {why}"),
        Eligibility::Replaces(old) => format!(
            "{name} is listed under key {old} and enrolled again with another; if the machine was made anew, run \
             `hostler node replace {name}`"
        ),
        Eligibility::Never(why) => format!("{name} cannot be listed: {why}"),
    };
    clean(&text).into_owned()
}

/// Everything that is known of a machine before it is listed.
fn describe(p: &Pending) -> String {
    let (e, a) = (p.enrolment.document(), p.admission.document());
    let gib = e.hardware.memory_bytes as f64 / f64::from(1 << 30);
    let role = match a.role {
        ClusterRole::Server => "becomes a SERVER",
        ClusterRole::Worker => "becomes a worker",
        ClusterRole::Host => "becomes a host, outside the cluster",
    };
    let mut lines = vec![
        format!("{} {role}; enrolled at {} from {}", e.node, p.at, p.peer_address),
        format!("  key       {}", e.key.fingerprint()),
        format!("  token     {} (expires {}, {})", a.token, a.expires, count(a.uses, "use")),
        format!("  hardware  {}, {}, serial {}, {gib:.1} GiB", e.hardware.model, e.arch, e.hardware.serial),
        format!("  machine   {}", e.hardware.machine_id),
        format!("  {}", line(p)),
    ];
    // The first one is what it waits for.
    lines.extend(p.doubts.iter().skip(1).map(|doubt| format!("  also      {doubt}")));
    lines.iter().map(|l| clean(l)).collect::<Vec<_>>().join("\n")
}

fn double_line(double: &Double) -> String {
    let name = &double.pending.enrolment.document().node;
    clean(&format!("{name} was turned away: {}; see `hostler node list --pending`", double.reason)).into_owned()
}

fn describe_double(double: &Double) -> String {
    let e = double.pending.enrolment.document();
    let gib = e.hardware.memory_bytes as f64 / f64::from(1 << 30);
    let lines = [
        format!("{} was turned away at {} from {}", e.node, double.pending.at, double.pending.peer_address),
        format!("  key       {}", e.key.fingerprint()),
        format!("  hardware  {}, {}, serial {}, {gib:.1} GiB", e.hardware.model, e.arch, e.hardware.serial),
        format!("  machine   {}", e.hardware.machine_id),
        format!("  because   {}", double.reason),
        format!("  beside    {}", double.beside),
    ];
    lines.map(|l| clean(&l).into_owned()).join("\n")
}

fn as_json(p: &Pending) -> Value {
    let (e, a) = (p.enrolment.document(), p.admission.document());
    let (state, why) = match &p.eligibility {
        Eligibility::Automatic => ("automatic", None),
        Eligibility::Manual(why) => ("manual", Some(why.clone())),
        Eligibility::Replaces(old) => ("replaces", Some(old.to_string())),
        Eligibility::Never(why) => ("never", Some(why.clone())),
    };
    json!({ "name": e.node, "key": e.key.fingerprint(), "role": a.role.word(), "arch": e.arch,
        "address": p.peer_address, "at": p.at, "token": a.token, "state": state, "why": why, "doubts": p.doubts,
        "model": e.hardware.model, "serial": e.hardware.serial, "machine_id": e.hardware.machine_id,
        "memory_bytes": e.hardware.memory_bytes })
}

fn double_json(double: &Double) -> Value {
    let mut value = as_json(&double.pending);
    value["why"] = json!(double.reason);
    value["beside"] = json!(double.beside);
    value["state"] = json!("double");
    value
}

/// The kinds of documents that are signed here.
pub(super) fn is_membership(kind: Option<DocumentKind>) -> Option<DocumentKind> {
    kind.filter(|k| matches!(k, DocumentKind::Roster | DocumentKind::Admission))
}
