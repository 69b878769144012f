//! What a person decides, signed: bound to the fleet, its epoch, the ledger that was seen, and an hour.

use std::time::Duration;

use hostler_plan::{
    document::{Decided, Decision, DecisionType, DocumentKind, DocumentRef, NodeDecision, Signed},
    id::Digest,
    json,
    ledger::Head,
    show, trust,
};

use crate::{Admin, admin::now, error::Error, floor::SentDecision, hand_in::HandIn, output::note};

/// How long a decision may be handed in: it is signed and sent in one go.
const LIFETIME: Duration = Duration::from_secs(600);

/// Signs a decision and hands it in. It counts in the ledger that was seen with this contact, and in what grows out of
/// it. Says which bytes those were.
pub async fn decide(admin: &mut Admin, decided: Decided) -> Result<Digest, Error> {
    let seen = admin.seen()?;
    let signed = sign(admin, decided.clone(), seen.other.unwrap_or(seen.head))?;
    let digest = signed.digest();
    if let Decided::Node(NodeDecision { node, key, number, .. }) = &decided {
        let store = admin.trust_store();
        let decision = DocumentRef { version: *number, digest };
        let sent = SentDecision { epoch: store.root().epoch, key: key.clone(), decision };
        HandIn::Decision(node.clone(), sent).keep(store.folder())?;
    }
    let request = admin.with_session(signed.into());
    admin.client().submit_decision(request).await?;
    Ok(digest)
}

fn sign(admin: &Admin, decided: Decided, seen: Head) -> Result<Signed, Error> {
    let root = admin.trust_store().root();
    let key = admin.signer().public_key().fingerprint();
    let signer = root.signers.iter().find(|s| s.key.fingerprint() == key);
    let by = signer.map(|s| s.name.clone()).ok_or_else(|| {
        Error::Failed(format!(
            "expected a key of root {} to sign with, found {key}; name another with --key",
            root.version
        ))
    })?;
    let created = now().whole_seconds();
    let decision = Decision {
        document_type: DecisionType::V1,
        fleet_id: root.fleet_id.clone(),
        epoch: root.epoch,
        by,
        seen,
        created,
        expires: created.plus(LIFETIME),
        decided,
    };
    if let Some(signer) = signer {
        trust::check_decision(root, &decision, signer)?;
    }
    let bytes = json::write(&decision);
    note(show::decision(&decision, &Digest::of(&bytes)).trim_end());
    let signature = admin.signer().sign(DocumentKind::Decision, &bytes)?;
    Ok(Signed { bytes, signatures: vec![signature] })
}

/// Says that the ledger that is shown holds, in the place of the one that was seen before.
pub async fn adopt(admin: &mut Admin) -> Result<(Head, Head), Error> {
    let seen = admin.seen()?;
    let (before, after) = (seen.head, seen.other.unwrap_or(seen.head));
    decide(admin, Decided::Adopt { before, after }).await?;
    admin.refresh().await?;
    Ok((before, after))
}
