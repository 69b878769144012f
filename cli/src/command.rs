//! The commands: each calls operations of this crate and prints what they give.

mod accept;
mod amend;
mod artifact;
mod cluster;
mod fleet;
mod forks;
mod import;
mod inspect;
mod install;
mod leave;
mod ledger;
mod members;
mod membership;
mod node;
mod plan;
mod pods;
mod progress;
mod rebuild;
mod recovery;
mod restore;
mod rollout;
mod shell;
mod snapshot;
mod stop;
mod token;
mod trust;
mod update;
mod why;
mod windows;

use hostler_plan::cluster::ACCESS;
use serde_json::json;
pub use shell::{completions, man};

use crate::{
    Admin,
    args::{
        CertificatesCommand, Cli, ClusterCommand, Command, Compile, Global, Interactive, Output, PlanCommand,
        RolloutCommand, SignArgs, SubmitArgs,
    },
    error::Error,
    head::SeenHead,
    key::SigningKey,
    output,
    profile::{Flags, Profile},
    rescue::Rescue,
    session,
    trust_store::TrustStore,
};

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    pub profile: Profile,
    pub output: Output,
    /// Whether it goes on where the profile is damaged.
    rescue: Rescue,
}

impl Context {
    /// From flags and the process's environment variables.
    pub fn new(global: Global, environment: &[(String, String)], rescue: Rescue) -> Result<Self, Error> {
        let flags = Flags { home: global.home, coordinator: global.coordinator, key: global.key, fleet: global.fleet };
        let profile = Profile::load_for(flags, environment, &rescue)?;
        Ok(Self { profile, output: global.output, rescue })
    }

    /// What the profile holds as proved.
    fn store(&self) -> Result<TrustStore, Error> {
        TrustStore::require_for(&self.profile.home, &self.rescue)
    }

    /// Finds the key and logs in.
    async fn admin(&self) -> Result<Admin, Error> {
        let store = self.store()?;
        // Before a key is touched for nothing.
        self.rescue.pass_over(SeenHead::load(store.folder()))?;
        self.profile.coordinator()?;
        let signer = SigningKey::find(&self.profile.key, &store.counting_keys())?;
        let admin = Admin::connect_with(&self.profile, store, signer).await?;
        forks::say(&admin);
        notes(&admin);
        Ok(admin)
    }
}

/// Runs a parsed command line.
pub async fn run(cli: Cli, environment: &[(String, String)]) -> Result<(), Error> {
    // These need no profile.
    match &cli.command {
        Command::Completions { shell } => return shell::completions(*shell),
        Command::Man { directory } => return shell::man(directory),
        Command::Cluster(ClusterCommand::Access { check: false }) => return output::file(ACCESS.as_bytes()),
        Command::Trust(_)
        | Command::Recovery(_)
        | Command::Snapshot(_)
        | Command::Token(_)
        | Command::Fleet(_)
        | Command::Artifact(_)
        | Command::Nodes { .. }
        | Command::Node(_)
        | Command::Certificates(_)
        | Command::Cluster(ClusterCommand::Access { check: true } | ClusterCommand::Restore(_))
        | Command::Plan(_)
        | Command::Sign(_)
        | Command::Submit(_)
        | Command::Upgrade(_)
        | Command::Update(_)
        | Command::Drain(_)
        | Command::Uncordon(_)
        | Command::Reboot(_)
        | Command::Stop(_)
        | Command::Rollouts
        | Command::Why { .. }
        | Command::Rollout(_)
        | Command::Quarantine(_)
        | Command::Ledger(_)
        | Command::Logout => {}
    }
    let context = Context::new(cli.global, environment, rescue(&cli.command))?;
    match cli.command {
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
        Command::Cluster(ClusterCommand::Access { .. }) => cluster::check_access(&context).await,
        Command::Cluster(ClusterCommand::Restore(args)) => restore::restore(&context, args).await,
        Command::Trust(command) => trust::run(&context, command).await,
        Command::Snapshot(command) => snapshot::run(&context, command).await,
        Command::Recovery(command) => recovery::run(&context, &command),
        Command::Token(command) => token::run(&context, command).await,
        Command::Plan(command) => plan::run(&context, command).await,
        Command::Sign(args) => plan::sign(&context, args).await,
        Command::Submit(args) => plan::submit(&context, args).await,
        Command::Upgrade(args) => plan::run_interactive(&context, args).await,
        Command::Update(command) => update::run(&context, command).await,
        Command::Drain(args) => plan::run_interactive(&context, args).await,
        Command::Uncordon(args) => plan::run_interactive(&context, args).await,
        Command::Reboot(args) => plan::run_interactive(&context, args).await,
        Command::Stop(args) => stop::run(&context, args).await,
        Command::Rollouts => rollout::list(&context).await,
        Command::Why { what } => why::run(&context, what.as_deref()).await,
        Command::Rollout(command) => rollout::run(&context, command).await,
        Command::Quarantine(command) => rollout::quarantine(&context, command).await,
        Command::Ledger(command) => ledger::run(&context, command).await,
        Command::Logout => logout(&context),
        Command::Fleet(command) => fleet::run(&context, command).await,
        Command::Artifact(command) => artifact::run(&context, command).await,
        Command::Nodes { watch } => node::list(&context, watch).await,
        Command::Node(command) => node::run(&context, command).await,
        Command::Certificates(CertificatesCommand::Renew(args)) => plan::run_interactive(&context, args).await,
    }
}

/// What stops, drains or uncordons goes on where the profile is damaged.
fn rescue(command: &Command) -> Rescue {
    match command {
        // Giving up a node is for who knows the fleet's state.
        Command::Drain(Interactive { request, .. }) | Command::Plan(PlanCommand::Drain(Compile { request, .. }))
            if request.dead =>
        {
            Rescue::default()
        }
        Command::Stop(_)
        | Command::Drain(_)
        | Command::Uncordon(_)
        | Command::Rollout(RolloutCommand::Halt(_))
        | Command::Plan(PlanCommand::Drain(_) | PlanCommand::Uncordon(_)) => Rescue::begin(),
        Command::Sign(SignArgs { document, .. }) | Command::Submit(SubmitArgs { document, .. }) => {
            plan::kind_of_plan(document).map(Rescue::of).unwrap_or_default()
        }
        Command::Completions { .. }
        | Command::Man { .. }
        | Command::Cluster(_)
        | Command::Trust(_)
        | Command::Recovery(_)
        | Command::Snapshot(_)
        | Command::Token(_)
        | Command::Fleet(_)
        | Command::Artifact(_)
        | Command::Nodes { .. }
        | Command::Node(_)
        | Command::Certificates(_)
        | Command::Plan(
            PlanCommand::Check(_)
            | PlanCommand::Bootstrap(_)
            | PlanCommand::Join(_)
            | PlanCommand::Upgrade(_)
            | PlanCommand::Baseline(_)
            | PlanCommand::Inspect(_)
            | PlanCommand::Reboot(_)
            | PlanCommand::Remove(_)
            | PlanCommand::Replace(_)
            | PlanCommand::RenewCertificates(_)
            | PlanCommand::Configure(_)
            | PlanCommand::GiveUp { .. },
        )
        | Command::Upgrade(_)
        | Command::Update(_)
        | Command::Reboot(_)
        | Command::Rollouts
        | Command::Why { .. }
        | Command::Rollout(
            RolloutCommand::Show(_)
            | RolloutCommand::Watch(_)
            | RolloutCommand::Pause(_)
            | RolloutCommand::Resume(_)
            | RolloutCommand::Release { .. },
        )
        | Command::Quarantine(_)
        | Command::Ledger(_)
        | Command::Logout => Rescue::default(),
    }
}

/// Ends the login that the profile keeps.
fn logout(context: &Context) -> Result<(), Error> {
    let ended = session::end(&context.profile.home)?;
    output::print(
        context.output,
        || json!({ "logged_out": ended }),
        || match ended {
            true => "logged out: the session key of this profile is gone".to_owned(),
            false => "this profile keeps no login".to_owned(),
        },
    )
}

/// Says in good time that the root expires: then only a stop is possible until enough admins signed the next one. And
/// says at once that the coordinator's clock is off, or its disk: the reason for most of what else a command finds
/// then.
fn notes(admin: &Admin) {
    let coordinator = admin.coordinator();
    for trouble in [&coordinator.clock_trouble, &coordinator.ledger_trouble].into_iter().filter(|t| !t.is_empty()) {
        output::note(&format!("WARNING: {}", output::clean(trouble)));
    }
    if let Some(sentence) = admin.trust_store().trusted().expiry_notice(crate::admin::now()) {
        output::note(&sentence);
    }
}
