//! The admin's desk of the demo: a throw-away key, and the operations of the `hostler` command with it.
//!
//! A coordinator that is killed in the middle is back a moment later; every call here is made again until then.

use std::{
    ops::AsyncFnMut,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hostler_cli::{Admin, Error, Profile, key::KeySource, key::Signer, token, trust};
use hostler_plan::{
    document::{Approval, DocumentKind, Enrolment, Roster, RosterNode, RosterStatus, RosterType, Signed},
    fleet::Fleet,
    id::{NodeName, Seq},
    json,
    planner::{self, Intent, Inventory, Numbering, Preview},
    step::ClusterRole,
    trust::{Moment, Verified},
};
use hostler_proto::{
    ARTIFACT_CHUNK_BYTES,
    join::{JoinString, SetupCode},
    v1,
};
use rand_core::OsRng;
use ssh_key::{Algorithm, PrivateKey};

/// A coordinator that does not answer for this long is not coming back.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The demo's join tokens are used at once.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The name that the throw-away key has in the root.
pub const ADMIN_NAME: &str = "demo-admin";

/// An admin with a key, a profile and, most of the time, a session.
#[derive(Debug)]
pub struct Desk {
    profile: Profile,
    key: PrivateKey,
    admin: Option<Admin>,
}

/// A plan that was submitted.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub seq: Seq,
    pub digest: String,
    pub plan: hostler_plan::document::Plan,
}

impl Desk {
    /// Makes a key and, with the coordinator's set-up code, the fleet's first root. Everything is kept in `home`.
    pub async fn set_up(home: PathBuf, setup: &SetupCode) -> anyhow::Result<Self> {
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
        let signer = Signer::from_private_key(key.clone());
        trust::init(&profile, &signer, setup, &first, hostler_cli::admin::now()).await?;
        let mut desk = Self { profile, key, admin: None };
        desk.call(async |_| Ok(())).await?;
        Ok(desk)
    }

    /// Does something with a logged-in admin, again and again while the coordinator is only away for a moment.
    pub async fn call<T>(&mut self, mut work: impl AsyncFnMut(&mut Admin) -> Result<T, Error>) -> anyhow::Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            let admin = match self.admin.take() {
                Some(admin) => Ok(admin),
                None => Admin::connect(&self.profile, Signer::from_private_key(self.key.clone())).await,
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
    pub async fn token(&mut self, role: ClusterRole, uses: u32) -> anyhow::Result<JoinString> {
        let request = token::TokenRequest { uses, lifetime: TOKEN_LIFETIME, role, approval: Approval::Automatic };
        self.call(async |admin| token::create(admin, &request, hostler_cli::admin::now()).await).await
    }

    /// The enrolments that no roster lists yet, each verified with its admission.
    pub async fn enrolments(&mut self) -> anyhow::Result<Vec<(Verified<Enrolment>, ClusterRole)>> {
        self.call(async |admin| {
            let request = admin.with_session(v1::Empty {});
            let reply = admin.client().list_enrolments(request).await?.into_inner();
            let root = admin.held().trusted();
            let mut enrolments = Vec::new();
            for pending in reply.enrolments {
                let admission = Signed::from(pending.admission.unwrap_or_default());
                let admission = hostler_plan::trust::admission(root, &admission, Moment::Begun)?;
                let enrolment = Signed::from(pending.enrolment.unwrap_or_default());
                let enrolment = hostler_plan::trust::enrolment(&admission, &enrolment, Moment::Begun)?;
                enrolments.push((enrolment, admission.document().role));
            }
            Ok(enrolments)
        })
        .await
    }

    /// Signs a roster with these nodes and submits it.
    pub async fn sign_roster(&mut self, enrolments: &[(Verified<Enrolment>, ClusterRole)]) -> anyhow::Result<u64> {
        self.call(async |admin| {
            let root = admin.held().root();
            let held = admin.held().roster().map(Verified::document);
            let mut nodes = held.map(|roster| roster.nodes.clone()).unwrap_or_default();
            for (enrolment, role) in enrolments {
                let node = enrolment.document();
                if nodes.iter().any(|known| known.name == node.node) {
                    continue;
                }
                nodes.push(RosterNode {
                    name: node.node.clone(),
                    key: node.key.clone(),
                    seal_key: node.seal_key.clone(),
                    role: *role,
                    arch: node.arch,
                    status: RosterStatus::Active,
                });
            }
            let version = held.map_or(1, |roster| roster.version + 1);
            let roster = Roster {
                document_type: RosterType::V1,
                fleet_id: root.fleet_id.clone(),
                epoch: root.epoch,
                version,
                root_version: root.version,
                created: hostler_cli::admin::now().whole_seconds(),
                nodes,
            };
            let bytes = json::write(&roster);
            let signature = admin.signer().sign(DocumentKind::Roster, &bytes)?;
            let message = admin.with_session(Signed { bytes, signatures: vec![signature] }.into());
            admin.client().submit_roster(message).await?;
            admin.refresh().await?;
            Ok(version)
        })
        .await
    }

    /// Hands a file to the coordinator, which gives it to the nodes by its digest.
    pub async fn upload(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let digest = hostler_plan::id::Digest::of(content).to_string();
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

    /// Compiles a plan for an intent from what the fleet is like now. Nothing is signed.
    pub async fn compile(
        &mut self,
        fleet: &Fleet,
        intent: &Intent,
    ) -> anyhow::Result<(hostler_plan::document::Plan, Preview)> {
        let compiled = self
            .call(async |admin| {
                admin.refresh().await?;
                let request = admin.with_session(v1::Empty {});
                let reply = admin.client().get_inventory(request).await?.into_inner();
                let inventory: Inventory = json::parse(&reply.inventory).map_err(|e| {
                    Error::Failed(format!("the coordinator's inventory is {e}; update the coordinator"))
                })?;
                let roster = admin.held().require_roster()?;
                let root = admin.held().root();
                let numbering = Numbering {
                    epoch: root.epoch,
                    seq: Seq(admin.whereabouts().highest_seq + 1),
                    root_version: root.version,
                    roster: roster.digest(),
                    created: hostler_cli::admin::now().whole_seconds(),
                    lifetime_seconds: fleet.policy.plan_lifetime_seconds,
                };
                Ok(planner::plan(fleet, roster.document(), &inventory, intent, &numbering))
            })
            .await?;
        compiled.context("the planner makes no plan of this")
    }

    /// Signs a compiled plan and submits it.
    pub async fn submit(&mut self, plan: hostler_plan::document::Plan) -> anyhow::Result<Submitted> {
        let bytes = json::write(&plan);
        let signature = Signer::from_private_key(self.key.clone()).sign(DocumentKind::Plan, &bytes)?;
        let signed = Signed { bytes, signatures: vec![signature] };
        let digest = signed.digest().to_string();
        self.call(async |admin| {
            let message = admin.with_session(signed.clone().into());
            admin.client().submit_plan(message).await?;
            Ok(())
        })
        .await?;
        Ok(Submitted { seq: plan.seq, digest, plan })
    }

    /// Every node as the coordinator sees it.
    pub async fn nodes(&mut self) -> anyhow::Result<Vec<v1::NodeSummary>> {
        self.call(async |admin| {
            let request = admin.with_session(v1::Empty {});
            Ok(admin.client().list_nodes(request).await?.into_inner().nodes)
        })
        .await
    }

    /// One node with its facts.
    pub async fn node(&mut self, name: &NodeName) -> anyhow::Result<v1::NodeDetail> {
        self.call(async |admin| {
            let request = admin.with_session(v1::GetNodeRequest { name: name.to_string() });
            Ok(admin.client().get_node(request).await?.into_inner())
        })
        .await
    }

    /// Lets plans try a version on a node again.
    pub async fn release_quarantine(&mut self, node: &str, version: &str) -> anyhow::Result<()> {
        self.call(async |admin| {
            let message = v1::ReleaseQuarantineRequest { node: node.into(), version: version.into() };
            let request = admin.with_session(message);
            admin.client().release_quarantine(request).await?;
            Ok(())
        })
        .await
    }

    /// The ledger's exact bytes.
    pub async fn ledger(&mut self) -> anyhow::Result<Vec<u8>> {
        self.call(async |admin| {
            let request = admin.with_session(v1::ExportLedgerRequest { from_index: 0 });
            let mut chunks = admin.client().export_ledger(request).await?.into_inner();
            let mut lines = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                lines.extend(chunk.lines);
            }
            Ok(lines)
        })
        .await
    }

    /// A stream of a rollout, whenever something about it changes.
    pub async fn watch(&mut self, digest: &str) -> anyhow::Result<tonic::Streaming<v1::RolloutDetail>> {
        self.call(async |admin| {
            let request = admin.with_session(v1::GetRolloutRequest { rollout: digest.to_owned() });
            Ok(admin.client().watch_rollout(request).await?.into_inner())
        })
        .await
    }

    /// What this admin holds and believes, with the session that may be gone.
    pub async fn held<T>(&mut self, look: impl Fn(&hostler_cli::held::Held) -> T) -> anyhow::Result<T> {
        self.call(async |admin| {
            admin.refresh().await?;
            Ok(look(admin.held()))
        })
        .await
    }
}

/// Whether the coordinator is only away, or has forgotten a session because it was started again.
fn is_passing(failure: &Error) -> bool {
    use tonic::Code::{Cancelled, Internal, Unauthenticated, Unavailable, Unknown};
    match failure {
        Error::Connect(_) => true,
        Error::Coordinator { code, .. } => [Cancelled, Internal, Unauthenticated, Unavailable, Unknown]
            .iter()
            .any(|passing| passing.description().trim_end_matches('.').eq_ignore_ascii_case(code)),
        // A connection that ended in the middle of the login.
        Error::Failed(_) => true,
        Error::Usage(_)
        | Error::Refused(_)
        | Error::RolloutStopped { .. }
        | Error::NotConfirmed
        | Error::Key(_)
        | Error::Profile(_)
        | Error::File { .. } => false,
    }
}
