//! Whether an idle agent writes to a file, watched with strace: the kernel's counter of written bytes says nothing of a
//! file that is made or renamed, and comes late.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use hostler_plan::step::ClusterRole;
use hostler_tests::process::Process;

use super::{
    RELAY_HOST,
    idle::{Plan, node_commands},
    relay, stand,
    usage::Watched,
};

/// Debian's package `strace` puts it there.
const PROGRAM: &str = "/usr/bin/strace";

/// Everything that opens a file, writes to one, or changes a folder. Each architecture has some of them.
const CALLS: &str = "open openat openat2 creat write writev pwrite64 pwritev pwritev2 sendfile splice copy_file_range \
    mmap msync io_uring_setup fallocate truncate ftruncate sync syncfs fsync fdatasync sync_file_range rename renameat \
    renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir mknod mknodat chmod fchmod fchmodat \
    chown lchown fchown fchownat utime utimes futimesat utimensat setxattr lsetxattr fsetxattr";

/// What is written to but is no file on a disk: sockets, pipes, `eventfd`, devices and memory.
const NO_DISK: [&str; 4] = ["socket:[", "pipe:[", "anon_inode:", "/dev/"];

/// What the agent and its children did in the watched time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Calls that could write, most of them files that were opened to read.
    pub calls: usize,
    /// Lines of strace about calls that write.
    pub writing: Vec<String>,
    /// Bytes that the kernel counts as written.
    pub written_bytes: u64,
}

/// Starts a coordinator and an agent, waits until it is enrolled and quiet, and watches it. `None` without strace.
pub(crate) async fn watch(plan: &Plan) -> anyhow::Result<Option<Seen>> {
    if !Path::new(PROGRAM).exists() {
        return Ok(None);
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = folder.path();
    let mut stand = stand(folder, RELAY_HOST).await?;
    let listen = SocketAddr::from((RELAY_HOST, stand.agents.port()));
    let counted = relay::start(listen, stand.agents).with_context(|| format!("cannot listen at {listen}"))?;
    let join = stand.join_string(1, ClusterRole::Worker).await?;
    let commands = node_commands(folder, &join, plan.agent.as_deref())?;
    let calls: Vec<String> = CALLS.split_whitespace().map(|call| format!("?{call}")).collect();
    let mut processes = Vec::new();
    for (node, name) in commands.iter().zip(["executor", "agent"]) {
        let mut command = Command::new(PROGRAM);
        // `-D`: the program stays our child, and strace ends with it. `-s 0`: the content of messages is nobody's
        // business.
        command.args(["-D", "-f", "-q", "-ttt", "-y", "-s", "0", "-e", "signal=none", "-e"]);
        command.arg(format!("trace={}", calls.join(","))).arg("-o").arg(folder.join(format!("{name}.calls"))).arg("--");
        command.arg(node.get_program()).args(node.get_args()).stdout(Stdio::null());
        processes.push(Process::start(&mut command, &folder.join(format!("{name}.log")))?);
    }
    stand.enrolled(1).await?;
    tokio::time::sleep(Duration::from_secs(plan.warm_up)).await;
    let pids: Vec<u32> = processes.iter().map(Process::pid).collect();
    let mut watched = Watched::new(&pids);
    let (from, before, sent) = (unix_seconds(), watched.usage()?.written_bytes, counted.sum());
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let after = watched.usage().context("the agent or its executor ended")?.written_bytes;
    let mut seen = Seen::default();
    for name in ["executor", "agent"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.calls"))).context("strace left no file")?;
        let Seen { calls, writing, written_bytes: _ } = judge(&text, from);
        seen.calls += calls;
        seen.writing.extend(writing);
    }
    seen.written_bytes = after - before;
    let sent = counted.sum() - sent;
    let at_work = sent > 0 && seen.calls > 0;
    anyhow::ensure!(at_work, "expected an agent that reports, found {sent} bytes sent and {} calls", seen.calls);
    Ok(Some(seen))
}

/// What was seen, in words, and whether it is nothing.
pub(crate) fn report(seen: Option<&Seen>, seconds: u64) -> (String, bool) {
    let Some(seen) = seen else {
        return (format!("writes: skipped, {PROGRAM} is not installed (apt-get install strace)\n"), true);
    };
    let quiet = seen.writing.is_empty() && seen.written_bytes == 0;
    let mut text = format!(
        "an idle agent in {seconds} s: {} calls that could write, {} that did, {} bytes written to disk, goal none: \
            {}\n",
        seen.calls,
        seen.writing.len(),
        seen.written_bytes,
        if quiet { "met" } else { "missed" }
    );
    seen.writing.iter().take(20).for_each(|line| text.push_str(&format!("  {line}\n")));
    (text, quiet)
}

/// The lines of strace from a time on.
fn judge(text: &str, from: f64) -> Seen {
    let mut seen = Seen::default();
    for (call, line) in text.lines().filter_map(|line| Some((Call::parse(line)?, line))) {
        if call.at < from {
            continue;
        }
        seen.calls += 1;
        if call.writes() {
            seen.writing.push(line.to_owned());
        }
    }
    seen
}

/// One line: `7 1700000000.25 openat(AT_FDCWD</>, "/proc/stat", O_RDONLY|O_CLOEXEC) = 9</proc/stat>`. A call that
/// another thread's interrupts has a second line, which begins with `<...` and is left out: the first has the
/// arguments.
struct Call<'a> {
    at: f64,
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Call<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // Ids are padded to a width.
        let (_, rest) = line.trim_start().split_once(' ')?;
        let (at, rest) = rest.trim_start().split_once(' ')?;
        let (name, arguments) = rest.split_once('(')?;
        let known = CALLS.split_whitespace().any(|call| call == name);
        known.then_some(Self { at: at.parse().ok()?, name, arguments })
    }

    fn writes(&self) -> bool {
        let is_no_disk = |text: &str| NO_DISK.iter().any(|prefix| text.starts_with(prefix));
        match self.name {
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => {
                let target = self.arguments.split_once('<').map_or("", |(_, target)| target);
                !is_no_disk(target)
            }
            "open" | "openat" | "openat2" => {
                let mut parts = self.arguments.split('"');
                let path = parts.nth(1).unwrap_or_default();
                let flags = parts.next().and_then(|rest| rest.split(')').next()).unwrap_or_default();
                let changes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"];
                changes.iter().any(|flag| flags.contains(flag)) && !is_no_disk(path)
            }
            "mmap" => {
                let shared = self.arguments.contains("PROT_WRITE") && self.arguments.contains("MAP_SHARED");
                shared && self.arguments.split_once('<').is_some_and(|(_, target)| !is_no_disk(target))
            }
            // All others are made for nothing else.
            _ => true,
        }
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing(text: &str) -> Seen {
        judge(text, 100.0)
    }

    #[test]
    fn reading_files_and_writing_to_sockets_is_no_writing() {
        let seen = writing(
            "  7 100.5 openat(AT_FDCWD</>, \"/proc/O_CREAT\", O_RDONLY|O_CLOEXEC) = 9</proc/O_CREAT>\n\
             712 100.6 openat(AT_FDCWD</>, \"/dev/null\", O_RDWR) = 9</dev/null<char 1:3>>\n\
             712 100.7 writev(11<socket:[123]>, [{iov_base=\"\"..., iov_len=31}], 1) = 31\n\
             712 100.7 write(5<anon_inode:[eventfd]>, \"\"..., 8 <unfinished ...>\n\
             712 100.8 <... write resumed>) = 8\n\
             712 100.8 write(6<pipe:[4]>, \"\"..., 8) = 8\n\
             712 100.8 mmap(NULL, 8, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0\n\
             712 100.8 mmap(NULL, 8, PROT_READ, MAP_SHARED, 3</etc/x>, 0) = 0x7f0\n\
             712 100.9 +++ exited with 0 +++\n\
             9 99.0 fsync(3</var/lib/x>) = 0\n",
        );
        assert_eq!(seen, Seen { calls: 7, ..Seen::default() });
        assert!(report(Some(&seen), 60).1 && report(None, 60).1);
    }

    #[test]
    fn whatever_writes_to_a_file_or_a_folder_is_named() {
        for line in [
            "7 100.5 openat(AT_FDCWD</>, \"/var/x\", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 9</var/x>",
            "7 100.5 openat(AT_FDCWD</>, \"/tmp\", O_RDWR|O_TMPFILE, 0600 <unfinished ...>",
            "7 100.5 write(2</var/log/agent.log>, \"\"..., 31) = 31",
            "7 100.5 pwrite64(9</srv/x>, \"\"..., 31, 0) = 31",
            "7 100.5 mmap(NULL, 8, PROT_READ|PROT_WRITE, MAP_SHARED, 3</var/x>, 0) = 0x7f0",
            "7 100.5 fdatasync(3</var/x>) = 0",
            "7 100.5 renameat2(AT_FDCWD</>, \"a\", AT_FDCWD</>, \"b\", 0) = 0",
            "7 100.5 unlink(\"/var/x\") = -1 ENOENT (No such file or directory)",
        ] {
            let seen = writing(line);
            assert_eq!((seen.calls, seen.writing.len()), (1, 1), "{line}");
            let (text, quiet) = report(Some(&seen), 60);
            assert!(!quiet && text.contains("missed") && text.contains(line), "{text}");
        }
        assert!(!report(Some(&Seen { calls: 9, writing: vec![], written_bytes: 4096 }), 60).1);
    }
}
