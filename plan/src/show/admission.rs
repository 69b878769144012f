//! An admission in words.

use super::{Page, key};
use crate::{
    document::{Admission, AdmissionType, Approval},
    id::Digest,
    step::ClusterRole,
    text::{count, span},
};

/// Everything that an admission says, what it lets in first. `digest` is that of its bytes.
pub fn admission(admission: &Admission, digest: &Digest) -> String {
    let Admission {
        document_type: AdmissionType::V1,
        fleet_id,
        epoch,
        root_version,
        root,
        token,
        token_key,
        uses,
        created,
        expires,
        role,
        approval,
    } = admission;
    let mut page = Page::new(&format!("token {token} of fleet {fleet_id}"));
    page.line("digest", digest);
    let what = match role {
        ClusterRole::Server => "as SERVERS, which run the cluster",
        ClusterRole::Worker => "as workers",
        ClusterRole::Host => "as hosts, outside the cluster",
    };
    page.line("admits", format!("{} {what}", count(*uses, "machine")));
    page.line(
        "approval",
        match approval {
            Approval::Automatic => "none: whoever holds the join string is let in",
            Approval::Manual => "a person approves each by name",
        },
    );
    page.line("made", format!("{created} with root {root_version}, {root}, in epoch {epoch}"));
    page.line("expires", format!("{expires}, {} later", span(expires.since(*created).as_secs())));
    page.line("key", key(token_key));
    page.0
}
