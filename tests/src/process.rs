//! A process that ends with the one who started it.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

/// Killed by its id, and waited for, when this is dropped.
#[derive(Debug)]
pub struct Process {
    pub child: Child,
}

impl Process {
    /// Starts a program without any of our settings in its environment; what it has to say goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOSTLER_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stderr(file).spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {program}"))? })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
