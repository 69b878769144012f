//! `hostler trust …`: the first root, taking one over, and showing what is held.

use std::time::Duration;

use hostler_plan::{
    document::{PlanKind, Root, Signer},
    signature::{node_lines, signer_lines},
    text::count,
    trust::{Duty, counted},
};
use hostler_proto::join::SetupCode;
use serde_json::{Value, json};

use super::{Context, amend};
use crate::{
    admin::now,
    args::{InitArgs, TrustCommand, duration_text},
    error::Error,
    file::read_text,
    key::{self, read_public_key},
    output::{clean, file, note, print, table},
    trust::{self, DEFAULT_POLICY, FirstRoot},
    trust_store::TrustStore,
};

pub(super) async fn run(context: &Context, command: TrustCommand) -> Result<(), Error> {
    match command {
        TrustCommand::Init(args) => init(context, args).await,
        TrustCommand::Amend(args) => amend::amend(context, args).await,
        TrustCommand::Import { file, digest } => {
            let store = trust::import(&context.profile, &file, &digest)?;
            remember(context)?;
            show(context, &store)
        }
        TrustCommand::Show { allowed_signers } => {
            let store = TrustStore::require(&context.profile.home)?;
            if allowed_signers {
                let nodes = store.roster().map(|r| node_lines(r.document())).unwrap_or_default();
                return file(format!("{}{nodes}", signer_lines(store.root())).as_bytes());
            }
            show(context, &store)
        }
    }
}

async fn init(context: &Context, args: InitArgs) -> Result<(), Error> {
    let setup = setup_code(&args.setup_code)?;
    let mut profile = context.profile.clone();
    profile.coordinator.get_or_insert_with(|| setup.admin_address.clone());
    let mut signers = Vec::new();
    for signer in args.signers {
        let key = read_public_key(&signer.key_file)?;
        signers.push(Signer { name: signer.name, key, role: signer.role, plan_kinds: signer.plan_kinds });
    }
    let user = || std::env::var("USER").ok().filter(|u| !u.is_empty()).unwrap_or_else(|| "admin".to_owned());
    let first = FirstRoot {
        name: args.name.unwrap_or_else(user),
        signers,
        threshold_plan: args.threshold_plan,
        lifetime: args.lifetime,
        policy: DEFAULT_POLICY,
    };
    let signer = key::SigningKey::find(&profile.key, &[])?;
    let kinds = args.threshold_kind.iter().map(|t| (t.kind, t.keys)).collect();
    let store = trust::init_with(&profile, &signer, &setup, (&first, &kinds), now()).await?;
    let context = Context { profile, output: context.output, rescue: context.rescue.clone() };
    remember(&context)?;
    show(&context, &store)
}

/// The longest set-up code that is read from a file; real ones have about 250 characters.
const MAX_SETUP_CODE_BYTES: usize = 4096;

/// A set-up code, or a file with one.
fn setup_code(text: &str) -> Result<SetupCode, Error> {
    let path = std::path::Path::new(text);
    let written = match text == "-" || path.is_file() {
        true => read_text(path, MAX_SETUP_CODE_BYTES)?,
        false => text.to_owned(),
    };
    SetupCode::parse(&written).map_err(|e| match written == text {
        true => Error::Usage(format!("{e}, or name a file with it; there is none of this name")),
        false => Error::Usage(e.to_string()),
    })
}

fn remember(context: &Context) -> Result<(), Error> {
    let path = context.profile.config();
    if context.profile.remember()? {
        note(&format!("wrote {} (coordinator, key, fleet file)", path.display()));
    }
    Ok(())
}

fn show(context: &Context, store: &TrustStore) -> Result<(), Error> {
    let root = store.root();
    if let Some(sentence) = store.trusted().expiry_notice(now()) {
        note(&sentence);
    }
    print(
        context.output,
        || as_json(store),
        || {
            let left = root.expires.since(now());
            let thresholds = &root.thresholds;
            let life = |seconds| duration_text(Duration::from_secs(seconds));
            let rows: Vec<[String; 4]> = root.signers.iter().map(|s| signer_row(root, s)).collect();
            let roster = store.roster().map_or("none yet".to_owned(), |r| {
                format!("version {}, {}, {}", r.document().version, count(r.document().nodes.len(), "node"), r.digest())
            });
            format!(
                "fleet       {}\n\
                 root        version {}, epoch {}, expires {} (in {})\n\
                 digest      {}\n\
                 first root  {}\n\
                 roster      {roster}\n\
                 CA pins     {}\n\
                 signed by   {}\n\
                 needs       root {}, admission {}, roster {}, plan {} (different keys); {}\n\
                 policy      plans live {} at most, tokens {}; nodes that are critical {}\n\n\
                 {}{}",
                root.fleet_id,
                root.version,
                root.epoch,
                root.expires,
                duration_text(left),
                store.trusted().digest(),
                store.first_root(),
                root.coordinator_ca.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                signed_by(store),
                thresholds.root,
                thresholds.admission,
                thresholds.roster,
                thresholds.plan,
                kinds(root),
                life(root.policy.max_plan_lifetime_seconds),
                life(root.policy.max_admission_lifetime_seconds),
                if root.policy.cordon_when_critical { "cordon themselves" } else { "are not cordoned" },
                table(["SIGNER", "ROLE", "KEY", "TYPE"], &rows),
                recovery(root)
            )
        },
    )
}

/// What snapshots are sealed to.
fn recovery(root: &Root) -> String {
    let rows: Vec<[String; 2]> =
        root.recovery.iter().map(|k| [clean(&k.name).into_owned(), k.key.to_string()]).collect();
    match rows.is_empty() {
        true => {
            "\n\nno recovery key: snapshots of etcd stay on their server; see `hostler recovery key new`".to_owned()
        }
        false => format!("\n\n{}", table(["RECOVERY KEY OF", "KEY"], &rows)),
    }
}

/// The kinds of plans that need another number of keys than plans in general.
fn kinds(root: &Root) -> String {
    let needed = |kind: PlanKind| (kind, Duty::Plan(kind).needed(root));
    let of_kinds = PlanKind::ALL.into_iter().map(needed).map(|(kind, needed)| format!("{kind} {needed}"));
    format!("by kind: {}", of_kinds.collect::<Vec<_>>().join(", "))
}

fn signed_by(store: &TrustStore) -> String {
    let signers = counted(store.root(), Duty::Root, store.trusted().signed_by());
    signers.iter().map(|s| clean(&s.name).into_owned()).collect::<Vec<_>>().join(", ")
}

fn signer_row(root: &Root, signer: &Signer) -> [String; 4] {
    let key = signer.key.fingerprint();
    let role = if root.revoked.contains(&key) { format!("{}, revoked", signer.role) } else { signer.role.to_string() };
    [clean(&signer.name).into_owned(), role, key.to_string(), signer.key.key_type()]
}

fn as_json(store: &TrustStore) -> Value {
    let root = store.root();
    json!({
        "fleet_id": root.fleet_id,
        "root": { "version": root.version, "epoch": root.epoch, "digest": store.trusted().digest(),
            "expires": root.expires },
        "first_root": store.first_root(),
        "roster": store.roster().map(|r| json!({
            "version": r.document().version, "digest": r.digest(), "nodes": r.document().nodes.len() })),
        "coordinator_ca": root.coordinator_ca,
        "thresholds": root.thresholds,
        "policy": { "max_plan_lifetime_seconds": root.policy.max_plan_lifetime_seconds,
            "max_admission_lifetime_seconds": root.policy.max_admission_lifetime_seconds,
            "cordon_when_critical": root.policy.cordon_when_critical },
        "recovery": root.recovery,
        "signers": root.signers.iter().map(|s| json!({
            "name": s.name, "role": s.role.to_string(), "key": s.key.fingerprint(), "type": s.key.key_type(),
            "revoked": root.revoked.contains(&s.key.fingerprint()) })).collect::<Vec<_>>(),
    })
}
