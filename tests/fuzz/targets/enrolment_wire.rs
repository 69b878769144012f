//! What anybody on the network may send to the enrolment listener.

#![no_main]

use hostler_plan::{
    document::{Enrolment, Signed},
    json,
};
use hostler_proto::v1::{EnrolRequest, EnrolResponse, RenewRequest, RenewalChallengeRequest};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = EnrolRequest::decode(input) {
        let signed = Signed::from(request.enrolment.unwrap_or_default());
        let _ = json::parse::<Enrolment>(&signed.bytes);
    }
    let _ = EnrolResponse::decode(input);
    let _ = RenewRequest::decode(input);
    let _ = RenewalChallengeRequest::decode(input);
});
