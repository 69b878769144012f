//! The Unix socket where admins of the coordinator's own machine log in: whatever happens on the network, a stop comes
//! through here.

use std::{
    fs::Permissions,
    io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// For its owner and its group: the service's group is `hostler`, and whoever is in it may try to log in.
const MODE: u32 = 0o660;

/// The socket and its file.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    pub listener: UnixListener,
    pub file: SocketFile,
}

/// Removes the file when it is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl AdminSocket {
    /// Listens there. The file of a coordinator that did not end well is taken away, that of one that runs is not.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        // Until it has its mode nobody but its owner can connect: that takes leave to write, which no usual mask gives.
        let listener = UnixListener::bind(path)?;
        let file = SocketFile(path.to_owned());
        std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok(Self { listener, file })
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type().is_socket(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if !is_socket {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "expected a socket or nothing, found another file"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(e) => Err(e),
    }
}
