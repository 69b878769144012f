//! What machines signed about what waits on them.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use hostler_plan::{
    document::Receipt,
    id::FleetId,
    json,
    update::{MAX_PENDING_BYTES, PENDING, Pending},
};

use crate::error::Error;

/// The list of a machine, by a receipt of it that was verified.
pub fn pending(receipt: &Receipt, fleet: &FleetId) -> Result<Pending, Error> {
    let wrong = |why: &str| Error::Failed(format!("the list of {}: {why}; ask it again", receipt.node));
    let encoded = receipt.observation(PENDING).ok_or_else(|| wrong("its receipt holds none"))?;
    let packed = STANDARD.decode(encoded).map_err(|_| wrong("expected base64, found something else"))?;
    let mut written = Vec::new();
    let limit = MAX_PENDING_BYTES as u64 + 1;
    GzDecoder::new(&*packed).take(limit).read_to_end(&mut written).map_err(|e| wrong(&e.to_string()))?;
    if written.len() > MAX_PENDING_BYTES {
        return Err(wrong(&format!("it has more than {MAX_PENDING_BYTES} bytes")));
    }
    let pending: Pending =
        json::parse(&written).map_err(|e| wrong(&format!("{e}; are agent and command of one version?")))?;
    if pending.fleet_id != *fleet || pending.node != receipt.node {
        return Err(wrong(&format!("it is of {} in fleet {}", pending.node, pending.fleet_id)));
    }
    Ok(pending)
}
