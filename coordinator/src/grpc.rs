//! The three services behind the three listeners.

mod admin;
mod agents;
mod authorisation;
pub mod ca;
mod convert;
mod enrolment;
mod exported;
mod in_time;
mod judged;
pub(crate) mod session;
mod setup;
mod snapshots;
mod status;
mod views;

use std::{net::IpAddr, sync::Arc};

use hostler_plan::id::{Fingerprint, FleetId, NodeName};
use hostler_proto::{
    tls::{NodeIdentity, PeerAddress, PeerInfo},
    v1::EnrolResponse,
};
use tonic::{Request, Status};

pub(crate) use admin::AdminService;
pub(crate) use agents::AgentService;
pub(crate) use authorisation::AdminAuth;
pub(crate) use enrolment::EnrolmentService;
pub(crate) use in_time::InTime;
pub(crate) use setup::Setup;
pub(crate) use views::Views;

use crate::{
    clock::now,
    control::Admitted,
    control_loop::ControlHandle,
    nodes::reports::NodeReports,
    pace::Pace,
    store::{artifact::Artifacts, ledger::LedgerReader, snapshots::Snapshots},
};
use ca::{Authority, RequestedKey};

/// What every service uses.
#[derive(Debug)]
pub(crate) struct Shared {
    pub control: ControlHandle,
    pub ledger: LedgerReader,
    pub authority: Authority,
    pub artifacts: Artifacts,
    pub snapshots: Snapshots,
    /// How fast nodes may download, all together.
    pub pace: Pace,
    pub reports: NodeReports,
    pub views: Views,
    /// `host:port` of the listeners as others reach them.
    pub enrolment_address: String,
    pub agent_address: String,
    /// A node whose last report is older is silent: its series are served no more. Milliseconds.
    pub silent_after_ms: u64,
}

impl Shared {
    /// A certificate for an admitted node, bound to its own key, with everything that it needs to go on.
    fn welcome(&self, admitted: Admitted, key: &RequestedKey) -> Result<EnrolResponse, Status> {
        let Admitted { fleet, node, key: own_key, admission, roots, roster, .. } = admitted;
        let chain = self.chain(fleet, node, &own_key, key)?;
        let trust = convert::trust_chain((roots, roster));
        Ok(EnrolResponse { trust: Some(trust), admission: Some(admission.into()), ..chain })
    }

    /// A certificate alone.
    fn chain(
        &self,
        fleet: FleetId,
        node: NodeName,
        own_key: &Fingerprint,
        key: &RequestedKey,
    ) -> Result<EnrolResponse, Status> {
        let now = now();
        let chain = self.authority.node_chain(&NodeIdentity { fleet, node }, own_key, key, now);
        let chain = chain.map_err(|e| status::internal(&e))?;
        Ok(EnrolResponse {
            certificate_chain: chain.into_iter().map(|c| c.to_vec()).collect(),
            trust: None,
            admission: None,
            renew_after: self.authority.renew_after(now).unix_seconds(),
            agent_address: self.agent_address.clone(),
        })
    }
}

/// The connection that a call came over. A call without one did not come through our listeners.
fn peer<T>(request: &Request<T>) -> Result<PeerInfo, Status> {
    request.extensions().get::<PeerInfo>().cloned().ok_or_else(|| {
        Status::unauthenticated("expected a call over one of this coordinator's listeners, found another")
    })
}

/// The address of a peer; an IPv4 address is one however it is written.
fn address(peer: &PeerInfo) -> Result<IpAddr, Status> {
    match peer.address {
        PeerAddress::Network(address) => Ok(address.ip().to_canonical()),
        PeerAddress::Machine { .. } => Err(Status::unauthenticated("expected a call over the network, found another")),
    }
}

/// What everybody shares.
pub(crate) type SharedRef = Arc<Shared>;
