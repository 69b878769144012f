//! `hostler plan …`, the commands that plan, sign and submit in one go, and `sign` and `submit` of a plan.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use hostler_plan::{
    document::{DocumentKind, Plan, PlanKind, Signed, Signer},
    fleet::Fleet,
    id::{Digest, Seq},
    planner::{self, Fate, Note},
    refusal::{Refusal, Refused},
    show,
    text::count,
    timestamp::Timestamp,
    trust::{Draft, Duty, Verified, check_signer},
};
use hostler_proto::v1::RolloutDetail;
use serde_json::{Value, json};

use super::{Context, amend, forks, inspect, members, membership, pods, progress::Progress, windows};
use crate::{
    Admin,
    admin::{Reached, now},
    args::{Compile, Interactive, Output, PlanCommand, PlanOptions, PlanRequest, SignArgs, SubmitArgs},
    ask::confirm,
    credentials::Sealed,
    delivery::{self, Wanted},
    error::Error,
    file::{add_signature, kind_of, read_document, read_limited, remove_document, write_document},
    key,
    output::{clean, event, note, print},
    plan::{self, ArtifactFiles, CompiledPlan, PlanSigning, SignedPlan},
    rollout,
    roster::{self, Next},
    trust_store::TrustStore,
};

pub(super) async fn run(context: &Context, command: PlanCommand) -> Result<(), Error> {
    match command {
        PlanCommand::Check(args) => compile_to_file(context, args).await,
        PlanCommand::Bootstrap(args) => compile_to_file(context, args).await,
        PlanCommand::Join(args) => compile_to_file(context, args).await,
        PlanCommand::Upgrade(args) => compile_to_file(context, args).await,
        PlanCommand::Baseline(args) => compile_to_file(context, args).await,
        PlanCommand::Inspect(args) => compile_to_file(context, args).await,
        PlanCommand::Drain(args) => compile_to_file(context, args).await,
        PlanCommand::Uncordon(args) => compile_to_file(context, args).await,
        PlanCommand::Reboot(args) => compile_to_file(context, args).await,
        PlanCommand::Remove(args) => compile_to_file(context, args).await,
        PlanCommand::Replace(args) => compile_to_file(context, args).await,
        PlanCommand::RenewCertificates(args) => compile_to_file(context, args).await,
        PlanCommand::Configure(args) => compile_to_file(context, args).await,
        PlanCommand::GiveUp { seq } => give_up(context, Seq(seq)).await,
    }
}

async fn compile_to_file<T: Args + Into<PlanRequest>>(context: &Context, args: Compile<T>) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let request: PlanRequest = args.request.into();
    let explain = request.consent.explain;
    // The plan is made anew with the roster that it was made for.
    let made = members::anew(&mut admin, async |admin| {
        let listed = match &request.listing {
            Some(listing) => {
                let chosen = members::choose(admin, request.intent.named(), listing).await?;
                if chosen.is_empty() { None } else { Some(roster::listing(admin, &chosen, now()).await?) }
            }
            None => None,
        };
        let (_, compiled) = compile(context, admin, request.clone(), &args.options, listed.as_ref()).await?;
        let path = args.out.clone().unwrap_or_else(|| PathBuf::from(file_name(&compiled.plan)));
        // Only now that the plan stands, and lies where it was to lie, is the roster signed that it was made for.
        write_document(&path, &Signed { bytes: compiled.bytes.clone(), signatures: Vec::new() })?;
        if let Some(next) = &listed
            && let Err(error) = members::hand_on_for_plan(admin, next, &path).await
        {
            let _ = remove_document(&path);
            return Err(error);
        }
        Ok((compiled, path))
    });
    let (compiled, path) = made.await?;
    let (root, own) = (admin.trust_store().root(), admin.signer().public_key().fingerprint());
    if let Err(refused) = check_signer(root, Duty::Plan(compiled.plan.kind), &own) {
        note(&format!("others have to sign it, because {own} does not count for it: {}", refused.reason));
    }
    let file = path.display().to_string();
    print(
        context.output,
        || {
            let mut value = preview_json(&compiled);
            value["file"] = json!(file);
            value
        },
        || format!("{}\nwrote {file}\nnext: hostler sign {file}", preview_text(&compiled, explain).trim_end()),
    )
}

async fn give_up(context: &Context, seq: Seq) -> Result<(), Error> {
    let store = TrustStore::require(&context.profile.home)?;
    let (was_kept, plan) = plan::reserved::give_up(&store, seq)?;
    if !was_kept {
        return Err(Error::Usage(format!(
            "expected the number of a plan that some signed and that waits for others, found {seq}"
        )));
    }
    let told = async {
        let mut admin = context.admin().await?;
        match plan {
            Some(plan) => plan::reserved::tell_given_up(&mut admin, plan).await,
            None => Ok(()),
        }
    };
    if let Err(error) = told.await {
        note(&format!("the coordinator was not told, and other machines may keep plan {seq}: {error}"));
    }
    print(
        context.output,
        || json!({ "seq": seq, "given_up": true }),
        || format!("plan {seq} is given up: the next plan does not keep it"),
    )
}

fn file_name(plan: &Plan) -> String {
    format!("{}-{}.plan.json", plan.seq, plan.kind)
}

/// Compiles under the roster that is held, or under the next one.
async fn compile(
    context: &Context,
    admin: &mut Admin,
    request: PlanRequest,
    options: &PlanOptions,
    next: Option<&Next>,
) -> Result<(Fleet, CompiledPlan), Error> {
    let (mut fleet, unwise) = match request.needs_file {
        true => plan::read_fleet(context.profile.fleet()?)?,
        false => {
            admin.refresh().await?;
            (planner::listed(admin.trust_store().require_roster()?.document()), Vec::new())
        }
    };
    unwise.iter().for_each(|n| note(&clean(&n.to_string())));
    if let Some(timeout) = request.drain_timeout {
        fleet.policy.drain_timeout_seconds = timeout.as_secs();
    }
    let (explain, allowed) = (request.consent.explain, request.consent.into());
    let file = request.intent.readies_machines().then(|| context.profile.fleet()).transpose()?;
    let sealed = Sealed::of(&mut fleet, file, admin, next.map(|next| &next.roster)).await?;
    let times = plan::Times { lifetime: options.lifetime, at_once: request.at_once };
    let compiled = plan::compile_under(admin, &fleet, &request.intent, &allowed, times, next, now()).await?;
    sealed.hand_in(admin, &compiled.plan, &context.profile.kept_artifacts()).await?;
    if let Some(pods) = &compiled.pods {
        if explain && pods.check().is_err() {
            note(&pods.preview.text(true));
        }
        pods.check()?;
    }
    Ok((fleet, compiled))
}

/// How often a plan is made anew because others handed in theirs meanwhile. Each time a person is asked.
const OVERTAKEN_TRIES: usize = 3;

/// How a plan is made, shown and kept in one go.
#[derive(Debug)]
pub(super) struct Run {
    pub options: PlanOptions,
    pub out: Option<PathBuf>,
    pub yes: bool,
    pub no_watch: bool,
    /// Where its artifacts lie beside the places that are known.
    pub artifacts: Option<PathBuf>,
}

/// Plan, preview, confirm, sign, submit and watch.
pub(super) async fn run_interactive<T: Args + Into<PlanRequest>>(
    context: &Context,
    args: Interactive<T>,
) -> Result<(), Error> {
    interactive(context, args).await.map(drop)
}

/// The same, for who goes on with the plan that was submitted.
pub(super) async fn interactive<T: Args + Into<PlanRequest>>(
    context: &Context,
    args: Interactive<T>,
) -> Result<Digest, Error> {
    let Interactive { request, options, out, yes, no_watch, artifacts } = args;
    run_request(context, request.into(), Run { options, out, yes, no_watch, artifacts }).await
}

/// The same for a request that was made otherwise than from arguments alone.
pub(super) async fn run_request(context: &Context, request: PlanRequest, args: Run) -> Result<Digest, Error> {
    let mut admin = context.admin().await?;
    let explain = request.consent.explain;
    for _ in 0..OVERTAKEN_TRIES {
        let (fleet, compiled) = compile(context, &mut admin, request.clone(), &args.options, None).await?;
        match context.output {
            Output::Text => note(preview_text(&compiled, explain).trim_end()),
            Output::Json => {
                let mut value = preview_json(&compiled);
                value["event"] = json!("preview");
                value["damage"] = context.rescue.as_json();
                event(&value)?;
            }
        }
        confirm(&format!("sign and submit plan {}?", compiled.plan.seq), args.yes)?;
        let files = artifact_files(context, args.artifacts.clone());
        if let Some(pods) = &compiled.pods {
            pods.refresh(&mut admin, &compiled.plan, now()).await?;
        }
        // What nobody would take is not signed.
        offer(&mut admin, &compiled.plan, Some(&fleet), &files).await?;
        let kept = context.profile.home.join("plans").join(file_name(&compiled.plan));
        let path = args.out.clone().unwrap_or(kept);
        let mut draft = Draft::plan(Signed { bytes: compiled.bytes, signatures: Vec::new() })?;
        let signed = plan::sign(admin.trust_store(), admin.signer(), &mut draft, now())?;
        let written = write_document(&path, draft.signed());
        let Some(verified) = signed.plan else {
            written?;
            plan::reserved::reserve(admin.trust_store(), draft.signed())?;
            plan::reserved::offer(&mut admin, draft.signed()).await?;
            return Err(more_signers(&signed.signing, &compiled.plan, &path).into());
        };
        context.rescue.pass_over(written)?;
        let show = Show { watch: !args.no_watch, wait: None };
        match submit_verified(context, &mut admin, &verified, show).await {
            Err(Error::Overtaken { winner, .. }) => {
                let (seq, winner) = (compiled.plan.seq, winner.digest());
                note(&format!("plan {seq} was overtaken by {winner}, which was taken first; it is made anew"));
            }
            // Another terminal of this profile was faster.
            Err(Error::Refused(refused)) if refused.refusal == Refusal::Overtaken => note(&refused.reason),
            other => return other.map(|()| verified.digest()),
        }
    }
    Err(Error::Failed(format!(
        "the plan was overtaken {OVERTAKEN_TRIES} times by others' plans; try again in a moment"
    )))
}

fn more_signers(signing: &PlanSigning, plan: &Plan, path: &Path) -> Refused {
    let file = path.display();
    Refused::new(
        Refusal::Threshold,
        format!(
            "plan {} needs {} different keys, found {} ({}); give {file} to another signer for `hostler sign {file}`, \
             then `hostler submit {file}`",
            plan.seq,
            signing.needed,
            signing.by.len(),
            names(&signing.by)
        ),
    )
}

fn names(signers: &[Signer]) -> String {
    if signers.is_empty() {
        return "nobody yet".to_owned();
    }
    clean(&signers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")).into_owned()
}

/// `hostler sign`
pub(super) async fn sign(context: &Context, args: SignArgs) -> Result<(), Error> {
    let kind = kind_of(&args.document);
    if kind == Some(DocumentKind::Root) {
        return amend::sign(context, args).await;
    }
    if let Some(kind) = members::is_membership(kind) {
        return membership::sign(context, kind, args).await;
    }
    let mut draft = Draft::plan(read_document(DocumentKind::Plan, &args.document)?)?;
    let plan = draft.document();
    let store = context.store()?;
    let signer = key::SigningKey::find(&context.profile.key, &store.counting_keys())?;
    // A plan made with a newer root or roster than is held here cannot be judged, and what it does to earlier plans
    // stands in those: ask for them, with proof.
    let outdated = store.roster().map(|r| r.digest()) != Some(plan.roster) || store.root().version < plan.root_version;
    let mut reached = match Admin::reach(&context.profile, store, signer).await? {
        // Whatever goes on has to be shown.
        Reached::Away { error, .. } if outdated || !plan.keeps_valid.is_empty() => return Err(error),
        reached @ (Reached::There(_) | Reached::Away { .. }) => reached,
    };
    let fates = match &mut reached {
        Reached::There(admin) => plan::fates(admin, plan).await?,
        Reached::Away { error, store, .. } => {
            store.require_all()?;
            let words = "the plans that this one ends are not named here: every earlier one that still runs ends";
            note(&format!("{words} (the coordinator was not asked: {error})"));
            Vec::new()
        }
    };
    plan::check_number(&reached, plan)?;
    show_pods(&mut reached, plan).await?;
    let (store, signer) = match &reached {
        Reached::There(admin) => (admin.trust_store(), admin.signer()),
        Reached::Away { store, signer, .. } => (store, signer),
    };
    note(&summary(plan, draft.signed(), &plan::signing(store, &draft)));
    fates.iter().for_each(|fate| note(&format!("  {}", fate.said(now()))));
    confirm(&format!("sign it with {}?", signer.public_key().fingerprint()), args.yes)?;
    let SignedPlan { armour, signing, .. } = plan::sign(store, signer, &mut draft, now())?;
    let path = add_signature(&args.document, &armour)?;
    if (signing.by.len() as u64) < u64::from(signing.needed) {
        plan::reserved::reserve(store, draft.signed())?;
        if let Reached::There(admin) = &mut reached {
            plan::reserved::offer(admin, draft.signed()).await?;
        }
    }
    print(
        context.output,
        || {
            json!({ "plan": draft.signed().digest(), "seq": draft.document().seq, "document": draft.document(),
                "beside": fates_json(&fates, true), "ends": fates_json(&fates, false),
                "signature": path.display().to_string(), "needed": signing.needed,
                "signed_by": signing.by.iter().map(|s| &s.name).collect::<Vec<_>>() })
        },
        || {
            let missing = u64::from(signing.needed).saturating_sub(signing.by.len() as u64);
            let file = args.document.display();
            let next = match missing {
                0 => format!("next: hostler submit {file}"),
                n => format!("next: hostler sign {file}, by {} more", count(n, "signer")),
            };
            format!("wrote {} (signed by {})\n{next}", path.display(), names(&signing.by))
        },
    )
}

/// Shows what is on the nodes of a plan that somebody is about to sign; refuses it where something is in its way.
async fn show_pods(reached: &mut Reached, plan: &Plan) -> Result<(), Error> {
    let Reached::There(admin) = reached else { return Ok(()) };
    let Some(pods) = plan::pods::look_again(admin, plan, now()).await? else { return Ok(()) };
    note(pods.preview.text(false).trim_end());
    pods.check()
}

/// `hostler submit`
pub(super) async fn submit(context: &Context, args: SubmitArgs) -> Result<(), Error> {
    let kind = kind_of(&args.document);
    if kind == Some(DocumentKind::Root) {
        return amend::submit(context, args).await;
    }
    if let Some(kind) = members::is_membership(kind) {
        return membership::submit(context, kind, args).await;
    }
    let signed = read_document(DocumentKind::Plan, &args.document)?;
    let mut admin = context.admin().await?;
    // Before a single byte is sent.
    let verified = plan::verify(admin.trust_store(), &signed, now())?;
    let fleet = match &context.profile.fleet {
        Some(path) => Some(plan::read_fleet(path)?.0),
        None => None,
    };
    let files = artifact_files(context, args.artifacts);
    let show = Show { watch: args.watch, wait: args.wait };
    offer(&mut admin, verified.document(), fleet.as_ref(), &files).await?;
    submit_verified(context, &mut admin, &verified, show).await
}

/// Where files for a plan may lie.
fn artifact_files(context: &Context, directory: Option<PathBuf>) -> ArtifactFiles {
    let kept = Some(context.profile.kept_artifacts());
    ArtifactFiles { directory, kept, fleet_file: context.profile.fleet.clone() }
}

/// The kind of the plan in that file, if it is one; whoever reads it next says why not.
pub(super) fn kind_of_plan(path: &Path) -> Option<PlanKind> {
    let bytes = read_limited(path, DocumentKind::Plan.max_bytes()).ok()?;
    hostler_plan::json::parse::<Plan>(&bytes).ok().map(|plan| plan.kind)
}

/// What is shown once the coordinator has a plan.
#[derive(Debug, Clone, Copy)]
struct Show {
    watch: bool,
    /// How long to wait for the nodes' signatures.
    wait: Option<Duration>,
}

/// Gives the coordinator the files that a plan needs.
async fn offer(admin: &mut Admin, plan: &Plan, fleet: Option<&Fleet>, files: &ArtifactFiles) -> Result<(), Error> {
    let offered = plan::upload_missing(admin, plan, fleet, files).await?;
    if !offered.is_empty() {
        note(&format!("the coordinator has artifacts {}", offered.join(", ")));
    }
    Ok(())
}

async fn submit_verified(context: &Context, admin: &mut Admin, plan: &Verified<Plan>, show: Show) -> Result<(), Error> {
    let submitted = plan::submit(admin, plan).await?;
    let again = if submitted.is_new { "" } else { " (it had it already)" };
    let delivered = delivery::wait(admin, Wanted::plan(plan), show.wait.unwrap_or_default()).await?;
    print(
        context.output,
        || {
            json!({ "event": "submitted", "plan": submitted.plan, "seq": submitted.seq, "is_new": submitted.is_new,
                "delivery": delivered.json(), "damage": context.rescue.as_json() })
        },
        || format!("plan {} is in the coordinator's ledger{again}\n{}", submitted.seq, delivered.text()),
    )?;
    if show.watch {
        return follow(context, admin, &submitted.plan.to_string()).await;
    }
    note(&format!("watch it with `hostler rollout watch {}`", submitted.seq));
    forks::fail(admin)
}

/// Shows a rollout until it ends, then verifies its receipts.
pub(super) async fn follow(context: &Context, admin: &mut Admin, rollout: &str) -> Result<(), Error> {
    let mut progress = Progress::new(context.output);
    let mut show = |detail: &RolloutDetail| progress.show(detail);
    let watched = tokio::select! {
        watched = rollout::watch(admin, rollout, &mut show) => watched,
        Ok(()) = tokio::signal::ctrl_c() => Err(Error::Interrupted(rollout.to_owned())),
    };
    progress.end();
    let detail = watched?;
    let evidence = rollout::verify(admin.trust_store(), &detail);
    if evidence.pods().next().is_some() {
        print(context.output, || pods::json(&evidence), || pods::text(&evidence))?;
    }
    if let Some(inspected) = inspect::of(&evidence) {
        print(context.output, || inspected.json(), || inspected.text())?;
    }
    let drains = pods::drains(&evidence);
    if !drains.is_empty() {
        print(context.output, || json!({ "event": "summary", "drains": drains }), || pods::drains_text(&drains))?;
    }
    if let Some(left) = windows::of(&evidence) {
        print(context.output, || left.json(), || left.text())?;
    }
    let proved = rollout::finished(admin.trust_store(), rollout, &detail)?;
    print(
        context.output,
        || json!({ "event": "finished", "plan": rollout, "tasks_proved": proved }),
        || format!("finished: {}, each proved by its node's receipt", count(proved, "task")),
    )
}

/// What a person reads before signing: everything that the plan says, and whose signatures it has.
fn summary(plan: &Plan, signed: &Signed, signing: &PlanSigning) -> String {
    let text = show::plan(plan, &signed.digest());
    format!("{text}  signed     by {}; needs {}", names(&signing.by), signing.needed)
}

/// Why the plan is as it is, and then all of it.
fn preview_text(compiled: &CompiledPlan, explain: bool) -> String {
    let all = show::plan(&compiled.plan, &Digest::of(&compiled.bytes));
    let pods = compiled.pods.as_ref().map_or_else(String::new, |pods| pods.preview.text(explain));
    format!("{}{pods}what is to be signed:\n{all}", compiled.preview)
}

fn preview_json(compiled: &CompiledPlan) -> Value {
    let preview = &compiled.preview;
    json!({
        "document": compiled.plan,
        "digest": Digest::of(&compiled.bytes),
        "seq": preview.seq,
        "kind": preview.kind,
        "title": preview.title,
        "phases": preview.phases.iter().map(|p| json!({
            "name": p.name.to_string(), "nodes": p.nodes, "at_once": p.at_once })).collect::<Vec<_>>(),
        "skipped": preview.skipped.iter().map(|(node, why)| json!({ "node": node, "why": why })).collect::<Vec<_>>(),
        "notes": preview.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "health": preview.notes.iter().filter_map(health_json).collect::<Vec<_>>(),
        "coordinator_says": preview.claims,
        "beside": fates_json(&preview.fates, true),
        "ends": fates_json(&preview.fates, false),
        "pods": compiled.pods.as_ref().map(plan::pods::Pods::json),
        "tasks": preview.tasks,
        "soak_seconds": preview.soak_seconds,
    })
}

/// The earlier plans that go on, or those that end.
fn fates_json(fates: &[Fate], go_on: bool) -> Vec<Value> {
    let fates = fates.iter().filter(|fate| fate.goes_on() == go_on);
    let json =
        |fate: &Fate| json!({ "seq": fate.seq(), "digest": fate.digest(), "proved": fate.proved(), "why": fate.why() });
    fates.map(json).collect()
}

/// A node that is not well, and what that does to the plan.
fn health_json(note: &Note) -> Option<Value> {
    match note {
        Note::Info(_) | Note::Warning(_) => None,
        Note::Verdict { node, verdict, effect } => Some(json!({
            "node": node, "effect": effect, "level": verdict.level, "rule": verdict.rule, "subject": verdict.subject,
            "fact": verdict.fact, "value": verdict.value, "threshold": verdict.threshold,
            "since": Timestamp::from_unix_milliseconds(verdict.since_ms), "sentence": verdict.sentence(),
            "advice": verdict.advice,
        })),
    }
}
