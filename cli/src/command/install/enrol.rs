//! `hostler node install`: the package and a join string to each machine, and its own key into the roster.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use hostler_plan::{
    document::{Approval, RosterStatus},
    id::TokenId,
    step::ClusterRole,
    text::count,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    all, check_alone, distinct, limits,
    listed::{self, Ready},
    password,
    remove::probe,
    rights,
    screen::Screen,
    with_each,
};
use crate::{
    Admin,
    admin::now,
    args::{InstallArgs, Reach},
    ask::confirm,
    command::{Context, members},
    error::Error,
    install::{self, Delivery, Found, NodeId, Packages, Ssh, SshHost, Standing},
    output::{clean, note, print},
    roster,
    token::{self, TokenRequest},
};

/// How long a string admits its machine beyond what the machine may take: the card of a Pi is slow.
const TOKEN_MARGIN: Duration = Duration::from_secs(600);

/// Machines that enrol within this time of each other come into one roster: each roster is a signature.
const TOGETHER: Duration = Duration::from_secs(3);

/// What became of a machine.
#[derive(Debug)]
pub(super) enum End {
    /// The roster of that number lists it.
    Listed(NodeId, u64),
    /// It is a node of this fleet already.
    Already(NodeId),
    /// The roster waits for other signers.
    Waits(NodeId, String),
    Failed(String),
}

type Ends = BTreeMap<SshHost, End>;

/// Who enrolled on a machine, or why nobody did, with the token that was made for it.
type Enrolled = (Result<NodeId, String>, TokenId);

/// What all of the work on the machines shares.
struct Work<'a> {
    context: &'a Context,
    args: &'a InstallArgs,
    packages: &'a Packages,
    ssh: Ssh,
    password: Option<Arc<String>>,
    /// Tokens that may have to be ended.
    open: &'a RefCell<Vec<TokenId>>,
}

/// `hostler node install USER@HOST…`
pub(in crate::command) async fn install(context: &Context, admin: &mut Admin, args: InstallArgs) -> Result<(), Error> {
    let packages = Packages::read(&args.package)?;
    distinct(&args.reach)?;
    check_alone(admin)?;
    let open = RefCell::new(Vec::new());
    let done = tokio::select! {
        done = run(context, admin, &args, &packages, &open) => done,
        Ok(()) = tokio::signal::ctrl_c() => Err(Error::Failed(
            "stopped before its end; each machine takes back by itself what it has of it, and a second run goes on"
                .into(),
        )),
    };
    // Whatever happened, a string that did not bring its machine in ends here.
    end_tokens(context, admin, &open.into_inner()).await;
    report(context, &done?)
}

async fn run(
    context: &Context,
    admin: &mut Admin,
    args: &InstallArgs,
    packages: &Packages,
    open: &RefCell<Vec<TokenId>>,
) -> Result<Ends, Error> {
    let (reach, ssh) = (&args.reach, Ssh::new(&args.reach.ssh));
    let mut ends = Ends::new();
    let mut found = Vec::new();
    for (host, one) in probe(context, reach, &ssh).await? {
        match one.and_then(|one| fits(one, packages)) {
            Ok(one) => found.push(one),
            Err(why) => drop(ends.insert(host, End::Failed(why))),
        }
    }
    let doubles = install::doubles(&found.iter().collect::<Vec<_>>());
    found.retain(|one| !doubles.contains_key(&one.host));
    ends.extend(doubles.into_iter().map(|(host, why)| (host, End::Failed(why))));
    let password = password(reach, &rights(found.iter()))?;
    let work = Work { context, args, packages, ssh, password, open };
    let (found, ready) = work.standing(admin, found, &mut ends).await?;
    if found.is_empty() && ready.is_empty() {
        return Ok(ends);
    }
    work.ask(&found, &ready)?;
    let deliveries = work.deliveries(admin, &found, &mut ends).await?;
    work.bring_in(admin, deliveries, ready, &mut ends).await?;
    Ok(ends)
}

/// There is a package for it.
fn fits(found: Found, packages: &Packages) -> Result<Found, String> {
    match packages.of(found.arch) {
        Some(_) => Ok(found),
        None => Err(format!(
            "expected a package for {} with --package, found none; packaging/build {} makes it",
            found.arch, found.arch
        )),
    }
}

impl Work<'_> {
    /// Sorts out those that have an agent already. Gives those where one is to be installed, and those that enrolled
    /// and wait to be listed.
    async fn standing(
        &self,
        admin: &mut Admin,
        found: Vec<Found>,
        ends: &mut Ends,
    ) -> Result<(Vec<Found>, Vec<Ready>), Error> {
        let (have, mut free): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|f| f.has_state);
        let limits = limits(&self.args.reach);
        let set = with_each(have.into_iter().map(|f| (f.host.clone(), f)), self.args.reach.at_once, |host, found| {
            let (ssh, password) = (self.ssh.clone(), self.password.clone());
            async move { (install::look(&ssh, &host, password.as_ref().map(|p| p.as_str()), limits).await, found) }
        });
        let (pending, _) = roster::pending(admin).await?;
        let mut ready = Vec::new();
        for (host, (standing, found)) in all(set).await? {
            match standing.and_then(|standing| judge(admin, standing)) {
                Ok(Judged::Free) => free.push(found),
                Ok(Judged::Already(id)) => drop(ends.insert(host, End::Already(id))),
                // One that waits is listed; one whose string ended before it was is made anew.
                Ok(Judged::Unlisted(id)) => match pending.iter().any(|p| listed::is_of(p, &id)) {
                    true => ready.push(Ready { host, id, token: None }),
                    false => match self.take_back(&host).await {
                        Ok(()) => free.push(found),
                        Err(why) => drop(ends.insert(host, End::Failed(why))),
                    },
                },
                Err(why) => drop(ends.insert(host, End::Failed(why))),
            }
        }
        free.retain(|found| match taken(admin, found) {
            None => true,
            Some(why) => {
                ends.insert(found.host.clone(), End::Failed(why));
                false
            }
        });
        Ok((free, ready))
    }

    async fn take_back(&self, host: &SshHost) -> Result<(), String> {
        let password = self.password.as_ref().map(|p| p.as_str());
        install::remove(&self.ssh, host, password, limits(&self.args.reach)).await.map(drop)
    }

    /// Shows what goes where, and asks once for everything that follows.
    fn ask(&self, found: &[Found], ready: &[Ready]) -> Result<(), Error> {
        for package in self.packages.all().filter(|p| found.iter().any(|f| f.arch == p.arch)) {
            note(&format!("{} is {}", package.name, package.digest()));
        }
        for one in found {
            let before = one.installed.as_ref().map_or_else(String::new, |v| format!(", has agent {v}"));
            note(&clean(&format!("{} is {}: {}, {}{before}", one.host, one.name, one.os, one.arch)));
        }
        let mut names: Vec<String> = found.iter().map(|f| f.name.to_string()).collect();
        names.extend(ready.iter().map(|r| r.id.name.to_string()));
        let role = match ClusterRole::from(self.args.role) {
            ClusterRole::Server => "SERVER, which holds the keys of the cluster",
            ClusterRole::Worker => "worker",
            ClusterRole::Host => "host, outside the cluster",
        };
        let names = names.join(", ");
        let question =
            format!("install the agent on {names}, and list each as a {role}, with the key that it shows over ssh?");
        confirm(&question, self.args.reach.yes)
    }

    /// A string for each machine, for this one use.
    async fn deliveries(
        &self,
        admin: &mut Admin,
        found: &[Found],
        ends: &mut Ends,
    ) -> Result<Vec<(SshHost, (Delivery, TokenId))>, Error> {
        let request = TokenRequest {
            uses: 1,
            lifetime: self.args.reach.timeout + TOKEN_MARGIN,
            role: self.args.role.into(),
            // Nobody else lists it without a question either.
            approval: Approval::Manual,
        };
        let mut deliveries = Vec::new();
        for one in found {
            let Some(package) = self.packages.of(one.arch) else { continue };
            match token::create(admin, &request, now()).await {
                Ok(join) => {
                    self.open.borrow_mut().push(join.token.clone());
                    let (package, password) = (package.clone(), self.password.clone());
                    let delivery = Delivery { package, join: join.encode(), password };
                    deliveries.push((one.host.clone(), (delivery, join.token)));
                }
                // What stops one stops all: the key, or the coordinator.
                Err(e) if deliveries.is_empty() => return Err(e),
                Err(e) => drop(ends.insert(one.host.clone(), End::Failed(e.to_string()))),
            }
        }
        Ok(deliveries)
    }

    /// Installs everywhere at once, and lists who has enrolled while others are still at it.
    async fn bring_in(
        &self,
        admin: &mut Admin,
        deliveries: Vec<(SshHost, (Delivery, TokenId))>,
        mut ready: Vec<Ready>,
        ends: &mut Ends,
    ) -> Result<(), Error> {
        let hosts: Vec<SshHost> = deliveries.iter().map(|(host, _)| host.clone()).collect();
        let (screen, reach) = (Screen::new(self.context.output, &hosts), &self.args.reach);
        let mut set = self.start(&screen, deliveries, reach);
        loop {
            // The first one is waited for, what comes right behind it comes along.
            let more = match ready.is_empty() {
                true => set.join_next().await,
                false => tokio::time::timeout(TOGETHER, set.join_next()).await.unwrap_or_default(),
            };
            match more {
                Some(done) => {
                    let (host, (result, token)) =
                        done.map_err(|e| Error::Failed(format!("a part of this command failed: {e}; run it again")))?;
                    match result {
                        Ok(id) => {
                            screen.say(&host, &format!("{} enrolled with key {}", id.name, id.key));
                            ready.push(Ready { host, id, token: Some(token) });
                        }
                        Err(why) => {
                            screen.say(&host, &format!("FAILED: {why}"));
                            ends.insert(host, End::Failed(why));
                        }
                    }
                }
                None if ready.is_empty() => break,
                None => self.list(admin, std::mem::take(&mut ready), &screen, ends).await,
            }
        }
        screen.end();
        Ok(())
    }

    fn start(
        &self,
        screen: &Screen,
        deliveries: Vec<(SshHost, (Delivery, TokenId))>,
        reach: &Reach,
    ) -> JoinSet<(SshHost, Enrolled)> {
        let limits = limits(reach);
        with_each(deliveries, reach.at_once, |host, (delivery, token)| {
            let (ssh, line) = (self.ssh.clone(), screen.line(&host));
            async move {
                let mut heard = |word: &str, rest: &str| {
                    if let Some(line) = &line {
                        line.heard(word, rest);
                    }
                };
                (install::install(&ssh, &host, &delivery, limits, &mut heard).await, token)
            }
        })
    }

    /// One roster for those that enrolled. Who cannot be listed is taken back.
    async fn list(&self, admin: &mut Admin, ready: Vec<Ready>, screen: &Screen, ends: &mut Ends) {
        for (one, result) in listed::list(admin, ready, self.args.out.clone()).await {
            let Ready { host, id, token } = one;
            match result {
                Ok(handed) => {
                    // Its string has served: it is no token to end.
                    self.open.borrow_mut().retain(|open| Some(open) != token.as_ref());
                    let end = match handed {
                        members::Handed::InForce(version) => End::Listed(id, version),
                        members::Handed::Waits(path) => End::Waits(id, path.display().to_string()),
                    };
                    screen.say(&host, &sentence(&end));
                    ends.insert(host, end);
                }
                Err(why) => {
                    let back = match token {
                        Some(_) => self.take_back(&host).await.err(),
                        None => None,
                    };
                    let back = back.map_or_else(String::new, |e| format!("; and it could not be taken back: {e}"));
                    ends.insert(host, End::Failed(format!("{why}{back}")));
                }
            }
        }
    }
}

/// Whose an agent is that is there already.
enum Judged {
    Free,
    Already(NodeId),
    /// Of this fleet, and in no roster.
    Unlisted(NodeId),
}

fn judge(admin: &Admin, standing: Standing) -> Result<Judged, String> {
    let store = admin.trust_store();
    let Standing::Member { fleet, id } = standing else { return Ok(Judged::Free) };
    let own = store.root().fleet_id.to_string();
    if fleet != own {
        return Err(format!(
            "it belongs to fleet {}, and this is {own}; if it is to come here, `hostler node remove-agent` takes its \
             agent away first",
            clean(&fleet)
        ));
    }
    let id = id.ok_or("it is enrolled and does not say its key; run `hostler-executor id` there and see why")?;
    match store.roster().and_then(|r| r.document().with_key(&id.key)).map(|node| node.status) {
        Some(RosterStatus::Active) => Ok(Judged::Already(id)),
        Some(RosterStatus::Retired) => Err(format!(
            "its key {} is retired and counts never again; take its agent away with `hostler node remove-agent`, then \
             install it anew",
            id.key
        )),
        None => Ok(Judged::Unlisted(id)),
    }
}

/// Why a machine cannot have its name, if another node has it.
fn taken(admin: &Admin, found: &Found) -> Option<String> {
    let holder = admin.trust_store().roster()?.document().active(&found.name)?.key.fingerprint();
    let name = &found.name;
    Some(format!(
        "the name {name} belongs to the node with key {holder}. If this machine takes its place, retire that one first \
         (`hostler node retire {name}`); if not, give it another name with `hostnamectl set-hostname NAME`"
    ))
}

/// Ends what did not serve: at once at the coordinator, and by a roster, which makes it true whoever holds it.
async fn end_tokens(context: &Context, admin: &mut Admin, tokens: &[TokenId]) {
    if tokens.is_empty() {
        return;
    }
    for token in tokens {
        if let Err(e) = token::revoke(admin, token).await {
            note(&format!("token {token} was not ended at the coordinator: {e}"));
        }
    }
    let ended = members::anew(admin, async |admin| match roster::revoking(admin, tokens, now()).await? {
        None => Ok(()),
        Some(next) => roster::submit(admin, &next, now()).await.map(drop),
    });
    let what = count(tokens.len(), "token");
    match ended.await {
        Ok(()) if context.output == crate::args::Output::Text => note(&format!("{what} ended, by a signed roster")),
        Ok(()) => {}
        Err(e) => note(&format!("{what} ended at the coordinator, and no roster says so: {e}")),
    }
}

fn sentence(end: &End) -> String {
    match end {
        End::Listed(id, version) => format!("{} is a node: roster {version} lists its key {}", id.name, id.key),
        End::Already(id) => format!("{} is a node of this fleet already; nothing to do", id.name),
        End::Waits(id, file) => {
            format!("{} enrolled with key {}; {file} waits for others: hostler sign {file}", id.name, id.key)
        }
        End::Failed(why) => format!("FAILED: {why}"),
    }
}

fn report(context: &Context, ends: &Ends) -> Result<(), Error> {
    let as_json = |end: &End| -> Value {
        match end {
            End::Listed(id, version) => json!({ "state": "listed", "name": id.name, "key": id.key, "roster": version }),
            End::Already(id) => json!({ "state": "already", "name": id.name, "key": id.key }),
            End::Waits(id, file) => json!({ "state": "waits", "name": id.name, "key": id.key, "file": file }),
            End::Failed(why) => json!({ "state": "failed", "why": why }),
        }
    };
    print(
        context.output,
        || {
            let machines: serde_json::Map<String, Value> =
                ends.iter().map(|(host, end)| (host.to_string(), as_json(end))).collect();
            json!({ "machines": machines })
        },
        || ends.iter().map(|(host, end)| clean(&format!("{host}: {}", sentence(end))).into_owned() + "\n").collect(),
    )?;
    match ends.values().filter(|end| matches!(end, End::Failed(_))).count() {
        0 => Ok(()),
        failed => Err(Error::Failed(format!(
            "{failed} of {} failed; see above, then run it again for those",
            count(ends.len(), "machine")
        ))),
    }
}
