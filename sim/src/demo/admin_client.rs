//! The admin of the demo: a throw-away key, and the operations of the `hostler` command with it.
//!
//! A coordinator that is killed in the middle is back a moment later; every call here is made again until then.

use std::{
    ops::AsyncFnMut,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hostler_cli::{
    Admin, Error, Profile,
    admin::now,
    fleet,
    key::{KeySource, SigningKey},
    ledger, node,
    plan::{self, CompiledPlan, SubmittedPlan},
    rollout, roster, token, trust,
};
use hostler_plan::{
    document::{Approval, DocumentKind, Plan, Signed},
    entry::{Entry, StoredDocument},
    fleet::Fleet,
    id::{Digest, NodeName},
    json,
    planner::Intent,
    step::ClusterRole,
    trust::Draft,
    version::Version,
};
use hostler_proto::{
    ARTIFACT_CHUNK_BYTES,
    join::{JoinString, SetupCode},
    v1,
};
use rand_core::OsRng;
use ssh_key::{Algorithm, PrivateKey};
use tonic::Code;

use super::given_up::GivenUp;

/// A coordinator that does not answer for this long is not coming back.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The demo's join tokens are used at once.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The name that the throw-away key has in the root.
pub(super) const ADMIN_NAME: &str = "demo-admin";

/// An admin with a key, a profile and, most of the time, a session.
#[derive(Debug)]
pub(super) struct AdminClient {
    profile: Profile,
    key: PrivateKey,
    admin: Option<Admin>,
}

impl AdminClient {
    /// Makes a key and, with the coordinator's set-up code, the fleet's first root. Everything is kept in `home`.
    pub(super) async fn set_up(home: PathBuf, setup: &SetupCode) -> anyhow::Result<Self> {
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
        let address = Some(setup.admin_address.clone());
        let profile = Profile { home, coordinator: address, fleet: None, key: KeySource::default() };
        let first = trust::FirstRoot {
            name: ADMIN_NAME.into(),
            signers: Vec::new(),
            threshold_plan: 1,
            lifetime: trust::DEFAULT_ROOT_LIFETIME,
            policy: trust::DEFAULT_POLICY,
        };
        let signer = SigningKey::from_private_key(key.clone());
        trust::init(&profile, &signer, setup, &first, now()).await?;
        let mut client = Self { profile, key, admin: None };
        client.call(async |_| Ok(())).await?;
        Ok(client)
    }

    fn signer(&self) -> SigningKey {
        SigningKey::from_private_key(self.key.clone())
    }

    /// Does something with a logged-in admin, again and again while the coordinator is only away for a moment.
    pub(super) async fn call<T>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Admin) -> Result<T, Error>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            let admin = match self.admin.take() {
                Some(admin) => Ok(admin),
                None => Admin::connect(&self.profile, self.signer()).await,
            };
            let failure = match admin {
                Ok(mut admin) => match work(&mut admin).await {
                    Ok(done) => {
                        self.admin = Some(admin);
                        return Ok(done);
                    }
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if !is_passing(&failure) || Instant::now() >= until {
                return Err(failure.into());
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// Makes a join string for that many nodes.
    pub(super) async fn token(&mut self, role: ClusterRole, uses: u32) -> anyhow::Result<JoinString> {
        let request = token::TokenRequest { uses, lifetime: TOKEN_LIFETIME, role, approval: Approval::Automatic };
        self.call(async |admin| token::create(admin, &request, now()).await).await
    }

    /// The enrolments that no roster lists yet, each verified with its admission.
    pub(super) async fn enrolments(&mut self) -> anyhow::Result<Vec<roster::Pending>> {
        self.call(async |admin| Ok(roster::pending(admin).await?.0)).await
    }

    /// Signs and submits the roster with every node that its admission covers. Gives its version and number of nodes.
    pub(super) async fn sign_roster(&mut self) -> anyhow::Result<(u64, usize)> {
        self.call(async |admin| {
            roster::list_automatic(admin, now()).await?;
            let roster = admin.trust_store().require_roster()?.document();
            Ok((roster.version, roster.nodes.len()))
        })
        .await
    }

    /// Hands a file to the coordinator, which gives it to the nodes by its digest.
    pub(super) async fn upload(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let digest = Digest::of(content).to_string();
        self.call(async |admin| {
            let mut messages: Vec<v1::UploadArtifactRequest> = content
                .chunks(ARTIFACT_CHUNK_BYTES)
                .map(|data| v1::UploadArtifactRequest { digest: String::new(), size: 0, data: data.to_vec() })
                .collect();
            if let Some(first) = messages.first_mut() {
                first.digest.clone_from(&digest);
                first.size = content.len() as u64;
            }
            let request = admin.with_session(tokio_stream::iter(messages));
            admin.client().upload_artifact(request).await?;
            Ok(())
        })
        .await
    }

    /// Hands the fleet file over: the coordinator judges the hardware by its thresholds.
    pub(super) async fn fleet_file(&mut self, text: &str) -> anyhow::Result<()> {
        self.call(async |admin| fleet::put(admin, text.as_bytes().to_vec()).await).await
    }

    /// Compiles a plan for an intent from what the fleet is like now. Nothing is signed.
    pub(super) async fn compile(&mut self, fleet: &Fleet, intent: &Intent) -> anyhow::Result<CompiledPlan> {
        self.call(async |admin| plan::compile(admin, fleet, intent, None, now()).await).await
    }

    /// Signs a compiled plan and submits it.
    pub(super) async fn submit(&mut self, compiled: CompiledPlan) -> anyhow::Result<SubmittedPlan> {
        let signer = self.signer();
        let unsigned = Signed { bytes: compiled.bytes, signatures: Vec::new() };
        self.call(async |admin| {
            let mut draft = Draft::plan(unsigned.clone())?;
            let signed = plan::sign(admin.trust_store(), &signer, &mut draft, now())?;
            let plan = signed.plan.ok_or_else(|| Error::Failed("one signature is not enough".into()))?;
            plan::submit(admin, &plan).await
        })
        .await
    }

    /// Every node as the coordinator sees it.
    pub(super) async fn nodes(&mut self) -> anyhow::Result<Vec<v1::NodeSummary>> {
        self.call(node::list).await
    }

    /// One node with its facts.
    pub(super) async fn node(&mut self, name: &NodeName) -> anyhow::Result<v1::NodeDetail> {
        self.call(async |admin| node::get(admin, name).await).await
    }

    /// Lets plans try a version on a node again.
    pub(super) async fn release_quarantine(&mut self, node: &NodeName, version: Version) -> anyhow::Result<()> {
        let mut tried = false;
        self.call(async |admin| {
            let again = std::mem::replace(&mut tried, true);
            match rollout::release_quarantine(admin, node, version).await {
                // The coordinator wrote it down and went away before it could say so.
                Err(Error::Coordinator { code, .. }) if again && code == Code::NotFound => Ok(()),
                released => released,
            }
        })
        .await
    }

    /// The ledger's exact bytes.
    pub(super) async fn ledger(&mut self) -> anyhow::Result<Vec<u8>> {
        self.call(async |admin| {
            let mut bytes = Vec::new();
            ledger::export(admin, 0, &mut bytes, Path::new("ledger")).await?;
            Ok(bytes)
        })
        .await
    }

    /// Signs plans that are never handed in.
    pub(super) async fn give_up(&mut self) -> anyhow::Result<GivenUp> {
        let (records, _) = hostler_plan::ledger::verify(&self.ledger().await?)?;
        let newest = records.into_iter().rev().find_map(|record| {
            let Entry::Document { kind: DocumentKind::Plan, document: StoredDocument(plan) } = record.entry else {
                return None;
            };
            Some(plan)
        });
        let newest: Plan = json::parse(&newest.context("expected plans in the ledger, found none")?.bytes)?;
        let roster = self.held(|held| held.roster().cloned()).await?.context("expected a roster, found none")?;
        GivenUp::sign(&self.key, &newest, &roster, now())
    }

    /// A stream of a rollout, whenever something about it changes.
    pub(super) async fn watch(&mut self, digest: &str) -> anyhow::Result<tonic::Streaming<v1::RolloutUpdate>> {
        self.call(async |admin| {
            let request = admin.with_session(v1::GetRolloutRequest { rollout: digest.to_owned() });
            Ok(admin.client().watch_rollout(request).await?.into_inner())
        })
        .await
    }

    /// What this admin holds and believes, with the session that may be gone.
    pub(super) async fn held<T>(
        &mut self,
        look: impl Fn(&hostler_cli::trust_store::TrustStore) -> T,
    ) -> anyhow::Result<T> {
        self.call(async |admin| {
            admin.refresh().await?;
            Ok(look(admin.trust_store()))
        })
        .await
    }
}

/// The status codes of a connection that broke or a session that is not known any more.
const PASSING: [Code; 5] = [Code::Cancelled, Code::Internal, Code::Unauthenticated, Code::Unavailable, Code::Unknown];

/// Whether the coordinator is only away, or has forgotten a session because it was started again.
fn is_passing(failure: &Error) -> bool {
    match failure {
        Error::Connect(_) => true,
        Error::Coordinator { code, .. } => PASSING.contains(code),
        // A connection that ended in the middle of the login.
        Error::Failed(_) => true,
        Error::Usage(_)
        | Error::Refused(_)
        | Error::Overtaken { .. }
        | Error::Blocked(_)
        | Error::RolloutStopped { .. }
        | Error::Interrupted(_)
        | Error::NotConfirmed
        | Error::Key(_)
        | Error::Profile(_)
        | Error::File { .. } => false,
    }
}
