//! The ledger as this profile saw it last: every contact proves that it only grew since.

use std::path::Path;

use hostler_plan::{
    checked,
    document::{Decided, Decision, DocumentKind, NodeMatter, Plan, Signed},
    id::Digest,
    json,
    ledger::{Head, grow},
    timestamp::Timestamp,
    trust::{self, TrustedRoot},
};
use hostler_proto::v1::{self, admin_client::AdminClient};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use crate::{
    error::Error,
    file::{read_limited, write_whole},
    floor::{self, Floor},
    rescue::Rescue,
};

/// In the folder of what the profile holds as proved.
const FILE_NAME: &str = "ledger.json";
/// More than the file ever has.
const MAX_FILE_BYTES: usize = 4096;

/// What is kept of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenHead {
    /// The head that was seen last and that everything seen before led to.
    pub head: Head,
    /// The head of another ledger that was shown instead of one that goes on from there: nothing is signed until an
    /// admin adopts it, but what takes out of danger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Head>,
    /// When that head was shown first, by the clock of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl SeenHead {
    /// What this profile saw last, in the folder of what it holds as proved; none before the first contact.
    pub fn load(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(FILE_NAME);
        let lost = |found: &str| {
            let way_out = format!(
                "restore it from a backup, or compare the ledger with another admin's copy by `hostler ledger verify` \
                 and remove this file and {}",
                floor::names(folder)
            );
            floor::lost(&path, "the ledger's head that was seen last", found, &way_out)
        };
        if path.symlink_metadata().is_err() {
            return if Floor::load(folder).head { Err(lost("none")) } else { Ok(None) };
        }
        let bytes = read_limited(&path, MAX_FILE_BYTES).map_err(|e| lost(&e.to_string()))?;
        let json = checked::read(&bytes).map_err(lost)?;
        json::parse(json).map(Some).map_err(|e| lost(&e.to_string()))
    }

    /// Keeps it.
    pub fn keep(&self, folder: &Path) -> Result<(), Error> {
        write_whole(&folder.join(FILE_NAME), &checked::write(&json::write(self)), false)?;
        Floor::change(folder, |floor| floor.head = true)
    }
}

/// Whether a document may be signed while two ledgers are known, or the one that was seen is lost: only what stops,
/// drains or puts back, and what says which ledger holds.
pub(crate) fn is_always_signed(kind: DocumentKind, bytes: &[u8]) -> bool {
    match kind {
        DocumentKind::Pass => true,
        DocumentKind::Decision => json::parse::<Decision>(bytes).is_ok_and(|d| match d.decided {
            Decided::Adopt { .. } | Decided::Pause { .. } | Decided::Halt { .. } | Decided::RevokeToken { .. } => true,
            Decided::Node(decision) => matches!(decision.about, NodeMatter::Withdraw { .. }),
            Decided::Resume { .. } | Decided::ReleaseLease { .. } | Decided::ReleaseQuarantine { .. } => false,
        }),
        DocumentKind::Plan => json::parse::<Plan>(bytes).is_ok_and(|plan| plan.kind.takes_out_of_danger()),
        DocumentKind::Root
        | DocumentKind::Admission
        | DocumentKind::Enrolment
        | DocumentKind::Roster
        | DocumentKind::Receipt
        | DocumentKind::Holding
        | DocumentKind::View
        | DocumentKind::Login => false,
    }
}

/// A conversation with a coordinator in which the ledger is asked about.
pub(crate) struct Contact<'a> {
    pub client: AdminClient<Channel>,
    /// Puts the session beside a request.
    pub ask: &'a dyn Fn(v1::ProveLedgerRequest) -> tonic::Request<v1::ProveLedgerRequest>,
    pub root: &'a TrustedRoot,
    pub rescue: &'a Rescue,
    /// The time of this machine.
    pub now: Timestamp,
}

impl Contact<'_> {
    /// Asks the coordinator to prove that its ledger goes on from the head that was seen last, and keeps the new one in
    /// `folder`. A ledger that does not is kept as another one beside it, unless an admin adopted it in the place of
    /// what was seen. Where what was seen is lost, nothing is kept: it would be a first contact.
    pub(crate) async fn follow(&mut self, folder: &Path) -> Result<SeenHead, Error> {
        let Some(seen) = self.rescue.pass_over(SeenHead::load(folder))? else {
            return Ok(SeenHead { head: self.prove(None).await?.head, other: None, at: None });
        };
        let shown = self.prove(seen.map(|seen| seen.head)).await?;
        let now = match seen {
            Some(seen) if !shown.goes_on && !self.is_adopted(&seen, &shown).await? => {
                SeenHead { other: Some(shown.head), ..seen }
            }
            Some(SeenHead { head, at, .. }) if head == shown.head => SeenHead { head, other: None, at },
            Some(_) | None => SeenHead { head: shown.head, other: None, at: Some(self.now.whole_seconds()) },
        };
        if seen != Some(now) {
            self.rescue.pass_over(now.keep(folder))?;
        }
        Ok(now)
    }

    /// Whether an admin signed that the ledger that is shown holds in the place of one that had come at least as far as
    /// what was seen here. What was signed before that was seen tells nothing of it: it would excuse every ledger that
    /// was made up since.
    async fn is_adopted(&mut self, seen: &SeenHead, shown: &Shown) -> Result<bool, Error> {
        for adoption in &shown.adoptions {
            let Ok(decision) = trust::decision(self.root, adoption) else { continue };
            let Decided::Adopt { before, after } = decision.document().decided else { continue };
            let is_later = seen.at.is_none_or(|at| decision.document().created >= at);
            let covers = before == seen.head || is_later && before.next_index > seen.head.next_index;
            if covers && self.prove(Some(after)).await?.goes_on {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn prove(&mut self, held: Option<Head>) -> Result<Shown, Error> {
        // Who holds nothing has nothing to prove it from: the head alone is asked for.
        let from_index = held.map_or(u64::MAX, |held| held.next_index);
        let request = (self.ask)(v1::ProveLedgerRequest { from_index });
        let mut stream = self.client.prove_ledger(request).await?.into_inner();
        let mut reached = held;
        while let Some(part) = stream.next().await {
            let v1::LedgerProof { contents, head, adoptions } = part?;
            let digests = contents.chunks_exact(Digest::ZERO.as_bytes().len()).filter_map(|c| c.try_into().ok());
            reached = reached.map(|reached| grow(reached, digests.map(Digest::from_bytes)));
            if let Some(head) = head {
                let head = Head::try_from(head).map_err(|_| unreadable())?;
                let goes_on = reached.is_none_or(|reached| reached == head);
                return Ok(Shown { head, goes_on, adoptions: adoptions.into_iter().map(Into::into).collect() });
            }
        }
        Err(unreadable())
    }
}

/// What a coordinator showed.
#[derive(Debug)]
struct Shown {
    head: Head,
    /// Whether what was held led to it, by proof; true where nothing was held.
    goes_on: bool,
    adoptions: Vec<Signed>,
}

fn unreadable() -> Error {
    Error::Failed("expected the ledger's head from the coordinator, found none that can be read; update it".to_owned())
}
