//! Stock `ssh` with the admin's own keys, agent and configuration, and what it says when it cannot.

use std::{ffi::OsString, process::Stdio, time::Duration};

use hostler_plan::{id::NodeName, text::clean};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
};

use super::{ALIVE, CONNECT, Heard, NodeId, SshHost, script::Script};
use crate::args::duration_text;

/// What a line of ours begins with.
const OURS: &str = "@hostler ";

/// What is taken of a machine's output: it may be anybody's.
const MAX_OUTPUT: u64 = 256 << 10;

/// What ssh exits with when the connection failed, whatever the remote command did (ssh(1)).
const EXIT_SSH: i32 = 255;

/// The program, and how it is called.
#[derive(Debug, Clone)]
pub struct Ssh {
    program: OsString,
}

/// What a machine said, in lines of ours.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Vec<(String, String)>);

impl Said {
    #[cfg(test)]
    pub(super) fn of(lines: &[(&str, &str)]) -> Self {
        Self(lines.iter().map(|(word, rest)| ((*word).to_owned(), (*rest).to_owned())).collect())
    }

    pub(super) fn all(&self, word: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == word).map(|(_, rest)| rest.as_str())
    }

    pub(super) fn first(&self, word: &str) -> Option<&str> {
        self.all(word).next()
    }

    pub(super) fn last(&self, word: &str) -> Option<&str> {
        self.all(word).next_back()
    }

    /// The node's name and key, as `hostler-executor id` prints them.
    pub(super) fn id(&self) -> Result<NodeId, String> {
        let found = self.first("id").unwrap_or_default();
        let parse = || {
            let (name, key) = found.trim().split_once(' ')?;
            Some(NodeId { name: NodeName::new(name).ok()?, key: key.parse().ok()? })
        };
        parse().ok_or_else(|| {
            format!("expected its name and key from `hostler-executor id`, found {:?}; look there", clean(found))
        })
    }
}

impl Ssh {
    /// `ssh`, or another program that takes the same arguments.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into() }
    }

    /// The command line to `host`. No host key is accepted here, whatever the admin's configuration would do.
    fn command(&self, host: &SshHost, remote: &str, more: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-T").args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"]);
        command.args(["-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes"]);
        command.args(["-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none"]);
        command.arg("-o").arg(format!("ConnectTimeout={}", CONNECT.as_secs()));
        command.arg("-o").arg(format!("ServerAliveInterval={}", ALIVE.as_secs()));
        command.args(more).args(["--", host.as_str(), remote]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a script there. One sentence where it did not come to its end.
    pub(super) async fn run(
        &self,
        host: &SshHost,
        script: Script,
        limit: Duration,
        heard: Heard<'_>,
    ) -> Result<Said, String> {
        let mut child = self.start(self.command(host, &script.command, &["-o", "LogLevel=ERROR"]))?;
        let (said, errors, status) = match tokio::time::timeout(limit, converse(&mut child, script, heard)).await {
            Ok(done) => done?,
            Err(_) => {
                return Err(format!(
                    "it did not come to an end in {}; see what hangs there, then run it again with a longer --timeout",
                    duration_text(limit)
                ));
            }
        };
        // What the machine says went wrong is more than that ssh ended.
        if let Some(failed) = said.first("failed") {
            return Err(clean(failed.trim()).into_owned());
        }
        match status {
            Some(0) => Ok(said),
            Some(EXIT_SSH) => Err(self.trouble(host, &errors).await),
            Some(code) => Err(format!("its script ended with code {code}: {}", last_line(&errors))),
            None => Err("ssh was killed; run it again".to_owned()),
        }
    }

    fn start(&self, mut command: Command) -> Result<Child, String> {
        command
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}; install OpenSSH's client", self.program.to_string_lossy()))
    }

    /// Why ssh did not connect, and what to do.
    async fn trouble(&self, host: &SshHost, errors: &str) -> String {
        let has = |text: &str| errors.contains(text);
        if has("IDENTIFICATION HAS CHANGED") || has("REVOKED HOST KEY") {
            return format!(
                "its host key is another one than your known_hosts has ({}); if the machine was made anew, remove the \
                 old one with `ssh-keygen -R` and compare the new one on its screen; else somebody may be in between",
                self.shown_key(host).await
            );
        }
        if has("Host key verification failed") || has("host key is known") {
            return format!(
                "your known_hosts has no host key of it; it shows {}. Compare that on the machine's screen \
                 (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then connect once with `ssh {host}` and say yes",
                self.shown_key(host).await
            );
        }
        if has("Permission denied") || has("Too many authentication failures") {
            return format!(
                "it lets none of your keys in ({}); load one with ssh-add, or bring it there with `ssh-copy-id {host}`",
                last_line(errors)
            );
        }
        format!("ssh says: {}; check the name, the network and whether it is up", last_line(errors))
    }

    /// The fingerprint of the host key that `host` shows, as the same connection meets it, through any jump host.
    async fn shown_key(&self, host: &SshHost) -> String {
        let known = ["-o", "LogLevel=DEBUG1", "-o", "ControlPath=none"];
        let asked = async {
            let mut child = self.start(self.command(host, "true", &known)).ok()?;
            drop(child.stdin.take());
            let errors = read(child.stderr.take()?).await;
            let shown = errors.lines().filter_map(|line| line.split_once("Server host key: ")).next_back()?.1;
            Some(clean(shown.trim()).into_owned())
        };
        tokio::time::timeout(CONNECT * 2, asked)
            .await
            .ok()
            .flatten()
            .unwrap_or_else(|| "one that ssh does not tell".into())
    }
}

/// Sends what the script needs while what it says is heard.
async fn converse(child: &mut Child, script: Script, heard: Heard<'_>) -> Result<(Said, String, Option<i32>), String> {
    let missing = || "ssh was started without its pipes; run it again".to_owned();
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let (stdout, stderr) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
    let ((), said, errors) = tokio::join!(send(stdin, script), listen(stdout, heard), read(stderr));
    let status = child.wait().await.map_err(|e| format!("ssh cannot be waited for: {e}; run it again"))?;
    Ok((said, errors, status.code()))
}

/// A machine that stops reading says itself why.
async fn send(mut stdin: ChildStdin, script: Script) {
    let package = script.package.as_ref().map(|p| p.bytes.as_slice()).unwrap_or_default();
    for part in [script.input.as_slice(), package] {
        if stdin.write_all(part).await.is_err() {
            return;
        }
    }
    let _ = stdin.shutdown().await;
}

async fn listen(stdout: impl AsyncRead + Unpin, heard: Heard<'_>) -> Said {
    let mut said = Said::default();
    let mut lines = BufReader::new(stdout.take(MAX_OUTPUT));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        let Some((word, rest)) = text.strip_prefix(OURS).map(|ours| ours.split_once(' ').unwrap_or((ours, ""))) else {
            continue;
        };
        heard(word, rest);
        // A line a second says that it is still there.
        if word != "waits" {
            said.0.push((word.to_owned(), rest.to_owned()));
        }
    }
    said
}

/// Everything that comes, of which the first part is kept.
async fn read(mut from: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let _ = (&mut from).take(MAX_OUTPUT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

fn last_line(errors: &str) -> String {
    let line = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    clean(line.trim()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_ours_count() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let noise = b"motd\n@hostler name pi-4\n@hostler waits a\n hostler name x\n@hostler done\n\xff\xfe\n";
        let mut seen = Vec::new();
        let said = runtime.block_on(listen(&noise[..], &mut |word, rest| seen.push(format!("{word} {rest}"))));
        assert_eq!(said.0, [("name".to_owned(), "pi-4".to_owned()), ("done".to_owned(), String::new())]);
        assert_eq!(seen, ["name pi-4", "waits a", "done "]);
    }

    #[test]
    fn an_id_is_a_name_and_a_key() {
        let key = format!("SHA256:{}", "A".repeat(43));
        let id = Said::of(&[("id", &format!("pi-4 {key} "))]).id().expect("valid");
        assert_eq!((id.name.as_str(), id.key.to_string()), ("pi-4", key));
        assert!(Said::of(&[("id", "pi-4")]).id().is_err() && Said::default().id().is_err());
    }
}
