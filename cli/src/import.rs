//! Fleet files of clusters that are there: the sealed answer of a server, and what is written of it.

mod inventory;
#[cfg(test)]
mod tests;
mod write;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{
    document::{Receipt, RosterStatus},
    id::{Digest, FleetId},
    import::{Answer, Enrolled, MAX_ANSWER_BYTES, READ_DIGEST, READ_SEALED},
    json,
    planner::Inventory,
};
use hostler_seal::{Identity, open_letter};

use crate::{Admin, error::Error};

pub use inventory::read_inventory;
pub use write::write;

/// What a server answered, by a receipt of it that was verified.
pub fn answer(receipt: &Receipt, identity: &Identity, fleet: &FleetId) -> Result<Answer, Error> {
    let wrong = |why: &str| Error::Failed(format!("the answer of {}: {why}; ask it again", receipt.node));
    let sealed = receipt.observation(READ_SEALED).ok_or_else(|| wrong("its receipt holds none"))?;
    let sealed = STANDARD.decode(sealed).map_err(|_| wrong("expected base64, found something else"))?;
    let opened = open_letter(identity, &*sealed, MAX_ANSWER_BYTES).map_err(|e| wrong(&e.to_string()))?;
    if receipt.observation(READ_DIGEST) != Some(&Digest::of(&opened).to_string()) {
        return Err(wrong("it has another digest than its receipt says"));
    }
    let read = read(&opened).map_err(|e| wrong(&e.to_string()))?;
    if read.fleet_id != *fleet || read.node != receipt.node {
        return Err(wrong(&format!("it is of {} in fleet {}", read.node, read.fleet_id)));
    }
    Ok(read)
}

/// An answer in its written form.
pub fn read(bytes: &[u8]) -> Result<Answer, Error> {
    json::parse(bytes).map_err(|e| Error::Failed(format!("{e}; are agent and command of one version?")))
}

/// The machines on which agents run, as roster and cluster call them.
pub fn enrolled(admin: &Admin, inventory: &Inventory) -> Result<Vec<Enrolled>, Error> {
    let roster = admin.trust_store().require_roster()?.document();
    let active = roster.nodes.iter().filter(|node| node.status == RosterStatus::Active);
    Ok(active
        .map(|node| {
            let others = inventory.nodes.get(&node.name).map(|seen| seen.condition.other_names.as_slice());
            let object = match others {
                Some([one]) => one.clone(),
                Some(_) | None => node.name.clone(),
            };
            Enrolled { name: node.name.clone(), object, role: node.role, arch: node.arch }
        })
        .collect())
}
