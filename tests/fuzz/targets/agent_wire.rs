//! What a node sends to the coordinator, and a coordinator to a node.

#![no_main]

use hostler_proto::{
    facts::from_wire,
    fragment::Joiner,
    v1::{ArtifactChunk, FromAgent, ToAgent, from_agent, to_agent},
};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|input: &[u8]| {
    if let Ok(FromAgent { message: Some(from_agent::Message::Facts(delta)) }) = FromAgent::decode(input) {
        for sequence in [0, 1] {
            let _ = from_wire(delta.clone(), sequence);
        }
    }
    let mut joiner = Joiner::default();
    for part in input.chunks(64) {
        if let Ok(ToAgent { message: Some(to_agent::Message::Fragment(fragment)) }) = ToAgent::decode(part) {
            let _ = joiner.join(fragment);
        }
    }
    let _ = ArtifactChunk::decode(input);
});
