//! The conversation with a coordinator: connect by pin, log in by the session key, ask.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostler_plan::{
    document::{DocumentKind, Roster, Signed, SignerRole},
    id::Digest,
    timestamp::Timestamp,
    trust::{TrustedRoot, Verified},
};
use hostler_proto::{
    MAX_MESSAGE_BYTES, SESSION_METADATA,
    tls::{self, BoundChannel, ConnectError, Coordinator},
    v1::{self, admin_client::AdminClient},
};
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::{
    error::Error,
    fork::{self, Fork},
    head::{Contact, SeenHead},
    key::SigningKey,
    output::{clean, note},
    profile::Profile,
    session::SessionKey,
    trust_store::TrustStore,
};

/// A logged-in admin. Everything that can be asked of a coordinator starts here.
#[derive(Debug)]
pub struct Admin {
    client: AdminClient<Channel>,
    session: Session,
    signer: SigningKey,
    store: TrustStore,
    coordinator: CoordinatorInfo,
    address: String,
    seen: Option<SeenHead>,
}

/// Whether a coordinator could be asked.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a command makes one")]
pub enum Reached {
    There(Box<Admin>),
    /// Nobody let this key in. What was handed in comes back.
    Away {
        error: Error,
        store: TrustStore,
        signer: SigningKey,
    },
}

/// A login: under which name and role of the root.
#[derive(Debug, Clone)]
pub struct Session {
    pub signer: String,
    pub role: SignerRole,
    token: MetadataValue<Ascii>,
}

impl Session {
    /// A request that carries the session.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert(SESSION_METADATA, self.token.clone());
        request
    }
}

/// What the coordinator says of itself. None of it is proved; what matters of it is checked where it is used.
#[derive(Debug, Clone, Default)]
pub struct CoordinatorInfo {
    /// Highest plan number that was submitted in this epoch.
    pub highest_seq: u64,
    /// `host:port` for join strings.
    pub enrolment_address: String,
    /// SPKI digest of its CA.
    pub ca_pin: String,
    /// The plan with that number, as it is signed.
    pub newest_plan: Option<Signed>,
    /// Where it says that nodes hold other documents than its own, with their signatures.
    forks: Vec<v1::Fork>,
    /// Why its clock cannot be right; empty when it can.
    pub clock_trouble: String,
    /// Why its ledger takes no records; empty when it does.
    pub ledger_trouble: String,
    /// What the node signed of which it says that it holds the highest plan, above its own.
    pub(crate) ahead: Option<Signed>,
}

impl Admin {
    /// Connects to the profile's coordinator, logs in with `signer`, and follows newer roots and rosters by proof.
    pub async fn connect(profile: &Profile, signer: SigningKey) -> Result<Self, Error> {
        Self::connect_with(profile, TrustStore::require(&profile.home)?, signer).await
    }

    /// The same with the profile's trust store, which was read before.
    pub async fn connect_with(profile: &Profile, store: TrustStore, signer: SigningKey) -> Result<Self, Error> {
        match Self::reach(profile, store, signer).await? {
            Reached::There(admin) => Ok(*admin),
            Reached::Away { error, .. } => Err(error),
        }
    }

    /// The same for who can go on without a coordinator.
    pub async fn reach(profile: &Profile, store: TrustStore, signer: SigningKey) -> Result<Reached, Error> {
        let tried = match profile.coordinator().map(str::to_owned) {
            Ok(address) => login(&address, &store, &signer).await.map(|there| (address, there)),
            Err(e) => Err(e.into()),
        };
        let (address, (client, session)) = match tried {
            Ok(there) => there,
            Err(error) => return Ok(Reached::Away { error, store, signer }),
        };
        let coordinator = CoordinatorInfo::default();
        let mut admin = Self { client, session, signer, store, coordinator, address, seen: None };
        admin.refresh().await?;
        Ok(Reached::There(Box::new(admin)))
    }

    /// Connects and logs in again, after the connection broke or the session ran out.
    pub async fn reconnect(&mut self) -> Result<(), Error> {
        (self.client, self.session) = login(&self.address, &self.store, &self.signer).await?;
        self.refresh().await
    }

    /// Asks for newer roots, the newest roster and the open plans; what is signed is verified before it is held.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        let request = v1::GetTrustRequest { held_root_version: self.store.root().version };
        let reply = self.client.get_trust(self.with_session(request)).await?.into_inner();
        self.store.follow(reply.trust.unwrap_or_default())?;
        self.store.require_all()?;
        self.coordinator = CoordinatorInfo {
            highest_seq: reply.highest_seq,
            enrolment_address: reply.enrolment_address,
            ca_pin: reply.ca_pin,
            newest_plan: reply.newest_plan.map(Into::into),
            forks: reply.forks,
            clock_trouble: reply.clock_trouble,
            ledger_trouble: reply.ledger_trouble,
            ahead: reply.ahead.map(Into::into),
        };
        let (session, store) = (&self.session, &self.store);
        self.coordinator.newest_plan.iter().try_for_each(|newest| store.see_plan(newest))?;
        let ask = |request| session.request(request);
        let (root, rescue) = (store.trusted(), store.rescue());
        let mut contact = Contact { client: self.client.clone(), ask: &ask, root, rescue, now: now() };
        self.seen = Some(contact.follow(store.folder()).await?);
        Ok(())
    }

    /// The ledger as it was seen with this contact.
    pub(crate) fn seen(&self) -> Result<SeenHead, Error> {
        self.seen
            .ok_or_else(|| Error::Failed("expected to have seen the ledger, found that it was not; try again".into()))
    }

    /// Keeps a root that was verified against the newest one.
    pub(crate) fn keep_root(&mut self, next: TrustedRoot) -> Result<(), Error> {
        self.store.keep_root(next)
    }

    /// Keeps a roster that was verified against the newest root and the roster before it.
    pub(crate) fn keep_roster(&mut self, next: Verified<Roster>) -> Result<(), Error> {
        self.store.keep_roster(next)
    }

    /// The trust that is held on this machine.
    pub fn trust_store(&self) -> &TrustStore {
        &self.store
    }

    /// As whom the coordinator let us in.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the conversation and keeps what was proved and the key, which is not asked for again.
    pub fn into_parts(self) -> (TrustStore, SigningKey) {
        (self.store, self.signer)
    }

    /// The key that signs.
    pub fn signer(&self) -> &SigningKey {
        &self.signer
    }

    /// What the coordinator last said of itself.
    pub fn coordinator(&self) -> &CoordinatorInfo {
        &self.coordinator
    }

    /// Where nodes hold other documents than the coordinator's, by their signatures.
    pub fn forks(&self) -> Vec<Fork> {
        fork::proved(&self.store, &self.coordinator.forks)
    }

    /// Those that are about documents of that kind: the next one names their other ends.
    pub(crate) fn forks_of(&self, kind: DocumentKind) -> Vec<Fork> {
        self.forks().into_iter().filter(|fork| fork.kind == kind).collect()
    }

    /// The client of the generated service, for calls that have no function here.
    pub fn client(&mut self) -> &mut AdminClient<Channel> {
        &mut self.client
    }

    /// A request that carries the session.
    pub fn with_session<T>(&self, message: T) -> tonic::Request<T> {
        self.session.request(message)
    }
}

/// The time of this machine.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_milliseconds(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Opens a connection to a coordinator whose CA has one of these pins.
pub(crate) async fn dial(address: &str, pins: &[Digest], time_floor: Timestamp) -> Result<BoundChannel, Error> {
    let coordinator = Coordinator { address: address.to_owned(), pins: pins.to_vec(), time_floor };
    Ok(tls::connect_bound(&coordinator, None).await?)
}

pub(crate) fn client(channel: &BoundChannel) -> AdminClient<Channel> {
    AdminClient::new(channel.channel.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// How long a login is tried again that was cut off, and how soon: among very many strangers a place comes by lot
/// (docs/limits.md).
const CUT_OFF_PATIENCE: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_millis(150);

/// Logs in, and again while the connection is closed before that is over.
pub(crate) async fn login(
    address: &str,
    store: &TrustStore,
    signer: &SigningKey,
) -> Result<(AdminClient<Channel>, Session), Error> {
    let began = tokio::time::Instant::now();
    let mut said = false;
    loop {
        let error = match login_once(address, store, signer).await {
            Err(error @ Error::Connect(ConnectError::CutOff { .. })) if began.elapsed() < CUT_OFF_PATIENCE => error,
            other => return other,
        };
        if !std::mem::replace(&mut said, true) {
            note(&format!("{error}; trying again for {} s", CUT_OFF_PATIENCE.as_secs()));
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Logs in with the session key of the profile. Where there is none that counts, `signer` signs a pass for a new one.
async fn login_once(
    address: &str,
    store: &TrustStore,
    signer: &SigningKey,
) -> Result<(AdminClient<Channel>, Session), Error> {
    let dial = || dial(address, &store.root().coordinator_ca, store.root().created);
    // Nobody signs before somebody is there.
    let there = dial().await?;
    if let Some(key) = SessionKey::held(store, signer, now()) {
        let answered = answer(address, &there, &key).await;
        if !answered.as_ref().is_err_and(asks_for_another_pass) {
            return answered;
        }
    }
    let key = SessionKey::make(store, signer, now())?;
    // A touch may take longer than a connection lives on which nobody has logged in.
    answer(address, &dial().await?, &key).await
}

/// Whether a new pass may be let in where this one was not.
fn asks_for_another_pass(error: &Error) -> bool {
    matches!(error, Error::Refused(_) | Error::Coordinator { code: Code::Unauthenticated, .. })
}

/// What a status tells that no coordinator sent: the connection is gone.
fn cut_off(address: &str, status: tonic::Status) -> Error {
    match std::error::Error::source(&status) {
        Some(reason) => {
            let (address, reason) = (address.to_owned(), clean(&reason.to_string()).into_owned());
            ConnectError::CutOff { address, reason }.into()
        }
        None => status.into(),
    }
}

async fn answer(
    address: &str,
    channel: &BoundChannel,
    key: &SessionKey,
) -> Result<(AdminClient<Channel>, Session), Error> {
    let cut_off = |status| cut_off(address, status);
    let mut client = client(channel);
    let challenge = client.challenge(v1::ChallengeRequest {}).await.map_err(cut_off)?.into_inner();
    let certificate = channel
        .certificate()
        .ok_or_else(|| Error::Failed("the connection ended before the login; try again".to_owned()))?;
    let reply = client.login(key.answer(challenge.nonce, certificate)?).await.map_err(cut_off)?.into_inner();
    let role = reply.role().try_into()?;
    let token = MetadataValue::try_from(reply.session.as_str()).map_err(|_| {
        Error::Failed("expected a session of printable characters from the coordinator, found others; update it".into())
    })?;
    Ok((client, Session { signer: reply.signer, role, token }))
}
