//! Sealed snapshots, from the executor's folder to the coordinator. What is one, the coordinator judges by the node's
//! receipts; here nothing is known but names and lengths.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_daemon::say_once::SayOnce;
use hostler_proto::{
    ARTIFACT_CHUNK_BYTES,
    v1::{SnapshotPart, SnapshotPlace, SnapshotPlaceRequest, agent_client::AgentClient},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

/// How often the folder is looked through: a snapshot is taken once a day.
const LOOK: Duration = Duration::from_secs(30);

/// Snapshots that a server keeps, and no more.
const MAX_FILES: usize = 100;

/// Parts that wait for a slow coordinator.
const QUEUE: usize = 2;

/// Sends what is there and not with the coordinator, for as long as the connection lasts.
pub(super) async fn keep_sending(mut client: AgentClient<Channel>, folder: PathBuf) {
    let (mut there, mut said) = (BTreeSet::new(), SayOnce::default());
    loop {
        for name in names(&folder).await.into_iter().filter(|name| !there.contains(name)).collect::<Vec<_>>() {
            match send(&mut client, &folder, &name).await {
                Ok(()) => drop(there.insert(name)),
                // Its receipt is still on its way, or it does not stay there.
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => {
                    let text = format!("the snapshot {name} is not with the coordinator yet: {}", status.message());
                    if said.is_news(&text) {
                        tracing::warn!("{text}");
                    }
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The snapshots in the folder, the newest first.
async fn names(folder: &Path) -> Vec<String> {
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else { return Vec::new() };
    let mut names = Vec::new();
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().await.is_ok_and(|kind| kind.is_file());
        names.extend(name.strip_suffix(".age").filter(|_| is_file && !name.starts_with('.')).map(str::to_owned));
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.truncate(MAX_FILES);
    names
}

async fn send(client: &mut AgentClient<Channel>, folder: &Path, name: &str) -> Result<(), Status> {
    let unread = |e: std::io::Error| Status::unavailable(format!("it cannot be read: {e}"));
    let request = SnapshotPlaceRequest { name: name.to_owned() };
    let SnapshotPlace { is_here, offset } = client.place_snapshot(request).await?.into_inner();
    if is_here {
        return Ok(());
    }
    let mut file = File::open(folder.join(format!("{name}.age"))).await.map_err(unread)?;
    file.seek(std::io::SeekFrom::Start(offset)).await.map_err(unread)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut first = SnapshotPart { name: name.to_owned(), offset, data: Vec::new() };
    let reading = async move {
        loop {
            let mut data = Vec::with_capacity(ARTIFACT_CHUNK_BYTES);
            let read = (&mut file).take(ARTIFACT_CHUNK_BYTES as u64).read_to_end(&mut data).await.map_err(unread)?;
            let part = SnapshotPart { data, ..std::mem::take(&mut first) };
            if sender.send(part).await.is_err() || read == 0 {
                return Ok::<(), Status>(());
            }
        }
    };
    let (read, kept) = tokio::join!(reading, client.keep_snapshot(ReceiverStream::new(receiver)));
    kept?;
    read?;
    tracing::info!("the snapshot {name} is with the coordinator");
    Ok(())
}
