//! The conversation with a coordinator: connect by pin, log in by SSH key, ask.

use std::time::{SystemTime, UNIX_EPOCH};

use hostler_plan::{document::DocumentKind, id::Digest, timestamp::Timestamp};
use hostler_proto::{
    MAX_MESSAGE_BYTES, SESSION_METADATA,
    login::login_bytes,
    tls::{self, BoundChannel, Coordinator},
    v1::{self, admin_client::AdminClient},
};
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::{error::Error, held::Held, key::Signer, profile::Profile};

/// A logged-in admin. Everything that can be asked of a coordinator starts here.
#[derive(Debug)]
pub struct Admin {
    client: AdminClient<Channel>,
    session: MetadataValue<Ascii>,
    signer: Signer,
    held: Held,
    whereabouts: Whereabouts,
    who: Who,
    address: String,
}

/// Under which name and role of the root the admin is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub signer: String,
    pub role: String,
}

/// What the coordinator says of itself. None of it is proved; what matters of it is checked where it is used.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts {
    /// Highest plan number that was submitted in this epoch.
    pub highest_seq: u64,
    pub open_plans: Vec<v1::OpenPlan>,
    /// `host:port` for join strings.
    pub enrolment_address: String,
    /// SPKI digest of its CA.
    pub ca_pin: String,
}

impl Admin {
    /// Connects to the profile's coordinator, logs in with `signer`, and follows newer roots and rosters by proof.
    pub async fn connect(profile: &Profile, signer: Signer) -> Result<Self, Error> {
        let held = Held::require(&profile.home)?;
        let address = profile.coordinator()?.to_owned();
        let (client, session, who) = login(&address, &held, &signer).await?;
        let mut admin = Self { client, session, signer, held, whereabouts: Whereabouts::default(), who, address };
        admin.refresh().await?;
        Ok(admin)
    }

    /// Connects and logs in again, after the connection broke or the session ran out.
    pub async fn reconnect(&mut self) -> Result<(), Error> {
        (self.client, self.session, self.who) = login(&self.address, &self.held, &self.signer).await?;
        self.refresh().await
    }

    /// Asks for newer roots, the newest roster and the open plans; what is signed is verified before it is held.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        let request = v1::GetTrustRequest { held_root_version: self.held.root().version };
        let reply = self.client.get_trust(self.with_session(request)).await?.into_inner();
        self.held.follow(reply.trust.unwrap_or_default())?;
        self.whereabouts = Whereabouts {
            highest_seq: reply.highest_seq,
            open_plans: reply.open_plans,
            enrolment_address: reply.enrolment_address,
            ca_pin: reply.ca_pin,
        };
        Ok(())
    }

    /// Follows documents that this machine has from elsewhere, with the same proof.
    pub(crate) fn follow(&mut self, chain: v1::TrustChain) -> Result<(), Error> {
        self.held.follow(chain)
    }

    /// The trust that is held on this machine.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// As whom the coordinator let us in.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// Ends the conversation and keeps what was proved and the key, which is not asked for again.
    pub fn into_parts(self) -> (Held, Signer) {
        (self.held, self.signer)
    }

    /// The key that signs.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What the coordinator last said of itself.
    pub fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// The client of the generated service, for calls that have no function here.
    pub fn client(&mut self) -> &mut AdminClient<Channel> {
        &mut self.client
    }

    /// A request that carries the session.
    pub fn with_session<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert(SESSION_METADATA, self.session.clone());
        request
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

pub(crate) async fn login(
    address: &str,
    held: &Held,
    signer: &Signer,
) -> Result<(AdminClient<Channel>, MetadataValue<Ascii>, Who), Error> {
    let channel = dial(address, &held.root().coordinator_ca, held.root().created).await?;
    let mut client = client(&channel);
    let challenge = client.challenge(v1::ChallengeRequest {}).await?.into_inner();
    let certificate = channel
        .certificate()
        .ok_or_else(|| Error::Failed("the connection ended before the login; try again".to_owned()))?;
    let signature = signer.sign(DocumentKind::Login, &login_bytes(&challenge.nonce, certificate))?;
    let request = v1::LoginRequest { nonce: challenge.nonce, public_key: signer.public_key().to_string(), signature };
    let reply = client.login(request).await?.into_inner();
    let session = MetadataValue::try_from(reply.session.as_str()).map_err(|_| {
        Error::Failed("expected a session of printable characters from the coordinator, found others; update it".into())
    })?;
    Ok((client, session, Who { signer: reply.signer, role: reply.role }))
}
