//! An artifact, from the coordinator into the agent's folder.

use std::{io::SeekFrom, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use hostler_executor::protocol::Fetch;
use hostler_proto::v1::{ArtifactChunk, FetchArtifactRequest, agent_client::AgentClient};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    time::Instant,
};
use tonic::{Streaming, transport::Channel};

/// The least that a download must bring in each such span: worse than any network on which a node is of use. Without it
/// a byte a second would hold a task up for as long as its plan lives.
const LEAST: (u64, Duration) = (64 << 10, Duration::from_secs(60));

/// Brings the bytes of an artifact into a file, from where an earlier try ended. Never more than its size; whether they
/// are the right ones is for the executor to see.
pub(super) async fn fetch(mut client: AgentClient<Channel>, wanted: Fetch, into: &Path) -> Result<(), String> {
    let mut file = open(into)?;
    let mut have = file.metadata().await.map_err(|e| e.to_string())?.len();
    if have > wanted.size || wanted.afresh {
        file.set_len(0).await.map_err(|e| e.to_string())?;
        have = 0;
    }
    if have == wanted.size {
        return Ok(());
    }
    file.seek(SeekFrom::Start(have)).await.map_err(|e| e.to_string())?;
    let request = FetchArtifactRequest { digest: wanted.digest.to_string(), offset: have };
    let answer = tokio::time::timeout(LEAST.1, client.fetch_artifact(request)).await.map_err(|_| too_slow(0))?;
    let mut chunks = answer.map_err(|s| s.message().to_owned())?.into_inner();
    let mut pace = Pace { since: Instant::now(), bytes: 0 };
    while let Some(chunk) = pace.next(&mut chunks).await? {
        have += chunk.data.len() as u64;
        if have > wanted.size {
            drop(file);
            let _ = tokio::fs::remove_file(into).await;
            return Err(format!("expected {} bytes, found more; what came was removed", wanted.size));
        }
        file.write_all(&chunk.data).await.map_err(|e| not_written(into, &e))?;
    }
    // The executor copies it, and needs the bytes and not their durability.
    file.flush().await.map_err(|e| not_written(into, &e))?;
    if have < wanted.size {
        return Err(format!("expected {} bytes, found {have} so far", wanted.size));
    }
    Ok(())
}

/// What was written stays, and the next try goes on from there.
fn not_written(path: &Path, error: &std::io::Error) -> String {
    format!("writing {} failed: {error}; check the space and the disk of this node", path.display())
}

/// What came since when.
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    async fn next(&mut self, chunks: &mut Streaming<ArtifactChunk>) -> Result<Option<ArtifactChunk>, String> {
        let (least, span) = LEAST;
        let next = tokio::time::timeout_at(self.since + span, chunks.message()).await;
        let chunk = next.map_err(|_| too_slow(self.bytes))?.map_err(|status| status.message().to_owned())?;
        self.bytes += chunk.as_ref().map_or(0, |chunk| chunk.data.len() as u64);
        if self.bytes >= least {
            *self = Self { since: Instant::now(), bytes: 0 };
        } else if self.since.elapsed() >= span && chunk.is_some() {
            // Chunks that are always there and hold nothing.
            return Err(too_slow(self.bytes));
        }
        Ok(chunk)
    }
}

fn too_slow(bytes: u64) -> String {
    let (least, span) = LEAST;
    format!("expected at least {least} bytes in {} s, found {bytes}; trying again", span.as_secs())
}

fn open(path: &Path) -> Result<File, String> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path);
    file.map(File::from_std).map_err(|e| format!("opening {} failed: {e}", path.display()))
}
