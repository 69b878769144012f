//! What an admin's command is told by a coordinator that may be anybody's.

#![no_main]

use hostler_plan::{document::Signed, planner::Inventory};
use hostler_proto::{
    v1::{InventoryReply, RolloutUpdate, SignedDocument, TrustReply},
    watched::WatchedRollout,
};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|input: &[u8]| {
    if let Ok(reply) = InventoryReply::decode(input) {
        let _ = Inventory::try_from(reply);
    }
    let mut watched = WatchedRollout::default();
    for part in input.chunks(96) {
        if let Ok(update) = RolloutUpdate::decode(part) {
            let _ = watched.merge(update);
        }
    }
    if let Ok(document) = SignedDocument::decode(input) {
        let _ = Signed::from(document).digest();
    }
    let _ = TrustReply::decode(input);
});
