//! Sealed snapshots, from the nodes that took them and to admins who need them.

use std::time::Duration;

use futures_util::{Stream, stream};
use hostler_plan::{
    document::SealedSnapshot,
    id::{Digest, NodeName},
};
use hostler_proto::{ARTIFACT_CHUNK_BYTES, v1};
use tokio::io::AsyncReadExt as _;
use tonic::{Status, Streaming};

use super::Shared;
use crate::{control::Control, limits::UPLOAD_PAUSE, store::snapshots::SnapshotError};

impl From<SnapshotError> for Status {
    fn from(error: SnapshotError) -> Self {
        let text = error.to_string();
        match error {
            SnapshotError::Size(_) | SnapshotError::Offset { .. } => Status::invalid_argument(text),
            SnapshotError::Busy | SnapshotError::Full { .. } | SnapshotError::NoRoom { .. } => {
                Status::resource_exhausted(text)
            }
            SnapshotError::Mismatch { .. } => Status::data_loss(text),
            SnapshotError::Io(_) => Status::unavailable(text),
        }
    }
}

/// What a receipt of that node says of that snapshot, and that it is to stay.
async fn named(shared: &Shared, node: &NodeName, name: &str) -> Result<SealedSnapshot, Status> {
    let (node, wanted) = (node.clone(), name.to_owned());
    let look = move |control: &mut Control, now| control.state().snapshots.of_node(&node, &wanted, now);
    let sealed = shared.control.ask(look).await?;
    sealed.ok_or_else(|| {
        let name = hostler_plan::text::clean_to(name, 300);
        Status::not_found(format!("expected a snapshot that a receipt of this node names, found \"{name}\""))
    })
}

/// Where a node goes on with one.
pub(super) async fn place(shared: &Shared, node: &NodeName, name: &str) -> Result<v1::SnapshotPlace, Status> {
    let sealed = named(shared, node, name).await?;
    Ok(match shared.snapshots.has(&sealed) {
        true => v1::SnapshotPlace { is_here: true, offset: 0 },
        false => v1::SnapshotPlace { is_here: false, offset: shared.snapshots.begun(&sealed) },
    })
}

/// Takes one in, at the pace that downloads have, for as long as `may` says that the node may speak.
pub(super) async fn keep(
    shared: &Shared,
    node: &NodeName,
    mut parts: Streaming<v1::SnapshotPart>,
    may: impl Fn() -> Result<(), Status>,
) -> Result<(), Status> {
    let first = next(&mut parts).await?;
    let first = first.ok_or_else(|| Status::invalid_argument("expected a snapshot, found none"))?;
    let sealed = named(shared, node, &first.name).await?;
    let mut incoming = shared.snapshots.take_in(sealed, first.offset).await?;
    let mut part = Some(first.data);
    while let Some(data) = part {
        shared.pace.wait(data.len() as u64).await;
        incoming.write(&data).await?;
        may()?;
        part = next(&mut parts).await?.map(|part| part.data);
    }
    incoming.finish().await?;
    tracing::info!(node = %node, snapshot = first.name, bytes = sealed.size, "snapshot stored");
    sweep(shared).await
}

async fn next(parts: &mut Streaming<v1::SnapshotPart>) -> Result<Option<v1::SnapshotPart>, Status> {
    let limit: Duration = UPLOAD_PAUSE;
    match tokio::time::timeout(limit, parts.message()).await {
        Ok(part) => part,
        Err(_) => Err(Status::deadline_exceeded(format!(
            "expected the next part of the snapshot within {} s, found none",
            limit.as_secs()
        ))),
    }
}

/// Removes those that do not stay.
async fn sweep(shared: &Shared) -> Result<(), Status> {
    let stay = shared.control.ask(|control, now| control.state().snapshots.stay(now)).await?;
    match shared.snapshots.keep(&stay) {
        Ok(gone) => gone.iter().for_each(|snapshot| tracing::info!(snapshot, "snapshot removed: newer ones are here")),
        Err(error) => tracing::warn!(%error, "old snapshots cannot be removed; check the disk"),
    }
    Ok(())
}

/// Every snapshot that receipts name, newest first, and whether it is here.
pub(super) async fn list(shared: &Shared) -> Result<v1::ListSnapshotsReply, Status> {
    let look = |control: &mut Control, _| {
        let known = control.state().snapshots.all();
        known.map(|known| (known.receipt.signed().clone(), known.taken.sealed)).collect::<Vec<_>>()
    };
    let known = shared.control.ask(look).await?;
    let snapshot = |(receipt, sealed): (_, Option<SealedSnapshot>)| v1::KnownSnapshot {
        receipt: Some(v1::SignedDocument::from(receipt)),
        is_here: sealed.is_some_and(|sealed| shared.snapshots.has(&sealed)),
    };
    Ok(v1::ListSnapshotsReply { snapshots: known.into_iter().map(snapshot).collect() })
}

/// The bytes of one from there on.
pub(super) async fn chunks(
    shared: &Shared,
    digest: &Digest,
    offset: u64,
) -> Result<impl Stream<Item = Result<v1::SnapshotChunk, Status>> + Send + 'static, Status> {
    let file = shared.snapshots.open_at(digest, offset).await.map_err(|e| {
        Status::not_found(format!("snapshot {digest} is not on this coordinator ({e}); take one from another place"))
    })?;
    Ok(stream::try_unfold(file, async |mut file| {
        let mut data = Vec::with_capacity(ARTIFACT_CHUNK_BYTES);
        let read = (&mut file).take(ARTIFACT_CHUNK_BYTES as u64).read_to_end(&mut data).await;
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((v1::SnapshotChunk { data }, file))),
            Err(e) => Err(Status::data_loss(format!("the snapshot cannot be read: {e}"))),
        }
    }))
}
