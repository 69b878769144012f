//! What goes to a machine: scripts for `sh`, and how they get there through any login shell.
//!
//! sshd hands the remote command to the user's login shell, which may be fish or csh. The command is one that all of
//! them read alike: `sh -c` and words in single quotes without backslash, exclamation mark or line end. It takes just
//! the script from standard input, a byte at a time, so that what comes after it is left for the script. A script that
//! was cut off does nothing: what it does stands in a function that its last line calls.

use std::{sync::Arc, time::Duration};

use hostler_plan::id::Digest;

use super::{Delivery, Package};

const BEGIN: &str = include_str!("begin.sh");
const PROBE: &str = include_str!("probe.sh");
const BECOME: &str = include_str!("become.sh");
const AWAY: &str = include_str!("away.sh");
const LOOK: &str = include_str!("look.sh");
const INSTALL: &str = include_str!("install.sh");
const REMOVE: &str = include_str!("remove.sh");

/// What root's shell waits for before it takes its script.
const MARK: &str = "hostler-begins\n";

/// How long each part of the work on one machine may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One connection with all that happens over it.
    pub whole: Duration,
}

impl Limits {
    fn first_boot(self) -> u64 {
        self.whole.as_secs() / 4 * 3
    }

    fn lock(self) -> u64 {
        (self.whole.as_secs() / 3).min(300)
    }

    fn enrol(self) -> u64 {
        (self.whole.as_secs() / 3).min(180)
    }
}

/// A script with everything that follows it on standard input.
pub(super) struct Script {
    /// What sshd is asked to run.
    pub command: String,
    /// The script, and what it reads first. Holds secrets.
    pub input: Vec<u8>,
    /// What comes last.
    pub package: Option<Arc<Package>>,
}

impl Script {
    pub(super) fn probe(limits: Limits) -> Self {
        let text = format!("first_boot_seconds={}\n{BEGIN}{PROBE}", limits.first_boot());
        Self { command: command(text.len()), input: text.into_bytes(), package: None }
    }

    pub(super) fn look(password: Option<&str>) -> Self {
        Self::as_root(password, &format!("{BEGIN}{LOOK}"), None)
    }

    pub(super) fn install(delivery: &Delivery, limits: Limits) -> Self {
        let Delivery { package, join, password } = delivery;
        let (join, sha256) = (quoted(join), Digest::of(&package.bytes).hex());
        let (lock, enrol) = (limits.lock(), limits.enrol());
        let settings = format!("join={join}\npackage_sha256={sha256}\nlock_seconds={lock}\nenrol_seconds={enrol}\n");
        let text = format!("{settings}{BEGIN}{AWAY}{INSTALL}");
        Self::as_root(password.as_ref().map(|p| p.as_str()), &text, Some(package.clone()))
    }

    pub(super) fn remove(password: Option<&str>, limits: Limits) -> Self {
        Self::as_root(password, &format!("lock_seconds={}\n{BEGIN}{AWAY}{REMOVE}", limits.lock()), None)
    }

    fn as_root(password: Option<&str>, text: &str, package: Option<Arc<Package>>) -> Self {
        let first = format!("root_bytes={}\n{BEGIN}{BECOME}", text.len());
        let command = command(first.len());
        let input = [&first, password.unwrap_or_default(), "\n", MARK, text].concat().into_bytes();
        Self { command, input, package }
    }
}

/// Takes a script of so many bytes from standard input and performs it.
fn command(bytes: usize) -> String {
    format!("sh -c 'eval \"$(dd bs=1 count={bytes} 2>/dev/null)\"'")
}

/// A word of a script, whatever stands in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_shell_reads_the_command_otherwise() {
        let command = command(1234);
        let words = command.strip_prefix("sh -c '").and_then(|rest| rest.strip_suffix('\'')).expect("two words");
        assert!(!words.contains(['\'', '\\', '!', '\n']), "{words}");
    }

    #[test]
    fn a_secret_stands_in_no_argument() {
        let package = Arc::new(Package { bytes: b"x".to_vec(), ..Package::default() });
        let delivery = Delivery { package, join: "it's secret".into(), password: Some(Arc::new("hunter2".to_owned())) };
        let script = Script::install(&delivery, Limits { whole: Duration::from_secs(900) });
        let input = String::from_utf8(script.input).expect("text");
        assert!(!script.command.contains("secret") && !script.command.contains("hunter2"));
        assert!(input.contains("join='it'\\''s secret'\n"), "{input}");
        assert_eq!(input.matches("hunter2").count(), 1);
    }
}
