//! An artifact, from the coordinator into its file.

use std::{io::SeekFrom, os::unix::fs::OpenOptionsExt as _};

use hostler_proto::v1::{FetchArtifactRequest, agent_client::AgentClient};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
};
use tonic::transport::Channel;

use super::Part;
use hostler_executor::protocol::Fetch;

/// Brings the bytes of an artifact into its file, from where an earlier try ended. Never more than its size; whether
/// they are the right ones is for the executor to see.
pub(super) async fn fetch(mut client: AgentClient<Channel>, wanted: Fetch) -> Result<(), String> {
    let mut file = open(&wanted.into)?;
    let mut have = file.metadata().await.map_err(|e| e.to_string())?.len();
    if have > wanted.size {
        file.set_len(0).await.map_err(|e| e.to_string())?;
        have = 0;
    }
    if have == wanted.size {
        return Ok(());
    }
    file.seek(SeekFrom::Start(have)).await.map_err(|e| e.to_string())?;
    let request = FetchArtifactRequest { digest: wanted.digest.to_string(), offset: have };
    let mut chunks = client.fetch_artifact(request).await.map_err(|s| s.message().to_owned())?.into_inner();
    while let Some(chunk) = chunks.message().await.map_err(|s| s.message().to_owned())? {
        have += chunk.data.len() as u64;
        if have > wanted.size {
            drop(file);
            let _ = tokio::fs::remove_file(&wanted.into).await;
            return Err(format!("expected {} bytes, found more; what came was removed", wanted.size));
        }
        file.write_all(&chunk.data).await.map_err(|e| e.to_string())?;
    }
    file.sync_all().await.map_err(|e| e.to_string())?;
    if have < wanted.size {
        return Err(format!("expected {} bytes, found {have} so far", wanted.size));
    }
    Ok(())
}

fn open(path: &Part) -> Result<File, String> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path);
    file.map(File::from_std).map_err(|e| format!("opening {} failed: {e}", path.display()))
}
