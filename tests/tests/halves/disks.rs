//! Disks that answer EIO, EROFS or ENOSPC while a node is at work: whoever cannot go on says which file it is, and when
//! the disk is well again, the task ends once and its receipt arrives.

use super::*;

/// Stands before the C library's files. While `FAULT` holds "ERRNO KINDS FOLDER", calls of these kinds below the folder
/// fail: `r`ead, `w`rite, `s`ync, `o`pen for writing, `n`ames (rename, unlink, mkdir).
const BROKEN: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
static int fails(int fd, const char *path, char kind) {
    char text[1024] = {0}, link[64], place[1024] = {0}, kinds[16], folder[512];
    int number = 0, before = errno, file = syscall(SYS_openat, AT_FDCWD, FAULT, O_RDONLY | O_CLOEXEC);
    if (file < 0) { errno = before; return 0; }
    syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (syscall(SYS_readlinkat, AT_FDCWD, link, place, sizeof place - 1) > 0) path = place;
    }
    errno = before;
    if (!path || sscanf(text, "%d %15s %511s", &number, kinds, folder) != 3) return 0;
    if (!strchr(kinds, kind) || strncmp(path, folder, strlen(folder))) return 0;
    errno = number;
    return 1;
}
#define REAL(result, name, ...) static result (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)
#define ON_FD(result, name, kind, types, names) \
    result name types { REAL(result, #name, PARAMS types); return fails(fd, 0, kind) ? -1 : real names; }
#define PARAMS(...) __VA_ARGS__
ON_FD(ssize_t, read, 'r', (int fd, void *to, size_t most), (fd, to, most))
ON_FD(ssize_t, pread64, 'r', (int fd, void *to, size_t most, off64_t at), (fd, to, most, at))
ON_FD(ssize_t, write, 'w', (int fd, const void *from, size_t bytes), (fd, from, bytes))
ON_FD(ssize_t, writev, 'w', (int fd, const struct iovec *from, int parts), (fd, from, parts))
ON_FD(ssize_t, pwrite64, 'w', (int fd, const void *from, size_t bytes, off64_t at), (fd, from, bytes, at))
ON_FD(int, ftruncate64, 'w', (int fd, off64_t length), (fd, length))
ON_FD(int, fsync, 's', (int fd), (fd))
ON_FD(int, fdatasync, 's', (int fd), (fd))
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if ((flags & O_ACCMODE) != O_RDONLY && fails(-1, path, 'o')) return -1;
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int rename(const char *from, const char *to) {
    return fails(-1, to, 'n') ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int unlink(const char *path) { return fails(-1, path, 'n') ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
int mkdir(const char *path, mode_t mode) {
    return fails(-1, path, 'n') ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
"#;

/// What a disk answers, and to which calls.
const FAULTS: [(&str, i32, &str); 5] = [
    ("an SD card that confirms nothing", nix::libc::EIO, "s"),
    ("a card that takes nothing", nix::libc::EIO, "ws"),
    ("a card that gives nothing back", nix::libc::EIO, "r"),
    ("a file system that the kernel made read-only", nix::libc::EROFS, "won"),
    ("a full disk", nix::libc::ENOSPC, "w"),
];

/// A node, and its coordinator, under a C library whose disk does what a file says.
struct Disk {
    node: Node,
    fault: PathBuf,
}

impl Disk {
    async fn start(folder: &Path) -> Self {
        let fault = folder.join("fault");
        let program = before_the_library(folder, BROKEN, &format!("-DFAULT={fault:?}"));
        let (mut node, join) = Node::set_up(folder, &program).await;
        node.program = program;
        std::fs::write(folder.join("join"), join).unwrap();
        node.begin(Half::Executor);
        node.begin(Half::Agent);
        node.stand.enrolled(1).await.unwrap();
        Self { node, fault }
    }

    /// A node in a task that waits for nothing any more, whose disk fails in that way below one of its folders.
    async fn failing_at_work(folder: &Path, part: &str, errno: i32, kinds: &str) -> (Self, Seq) {
        let mut disk = Self::start(folder).await;
        let seq = disk.node.wait_in_a_task().await;
        disk.breaks(part, errno, kinds);
        disk.node.api.set_ready(true);
        (disk, seq)
    }

    /// Everything below a folder fails in that way.
    fn breaks(&self, folder: &str, errno: i32, kinds: &str) {
        let folder = self.node.folder.join(folder).join("");
        let beside = self.fault.with_extension("new");
        std::fs::write(&beside, format!("{errno} {kinds} {}", folder.display())).unwrap();
        std::fs::rename(&beside, &self.fault).unwrap();
    }

    fn mends(&self) {
        std::fs::remove_file(&self.fault).unwrap();
    }

    /// Starts whichever has ended, as systemd does; how many had.
    fn restart_what_ended(&mut self) -> usize {
        let ended = |half: &mut Option<Process>| half.as_mut().is_some_and(|p| p.child.try_wait().unwrap().is_some());
        let ended: Vec<Half> =
            [Half::Executor, Half::Agent].into_iter().filter(|half| ended(self.node.slot(*half))).collect();
        ended.iter().for_each(|half| self.node.begin(*half));
        ended.len()
    }

    /// What the executor has said, in all its lives.
    fn executor_said(&self) -> String {
        let log = |start| std::fs::read_to_string(self.node.folder.join(format!("executor-{start}.log")));
        (1..=self.node.starts).filter_map(|start| log(start).ok()).collect()
    }

    async fn finished(&mut self, seq: Seq) {
        let which = seq.to_string();
        until("the receipt arrives", async || {
            self.restart_what_ended();
            let detail = rollout::get(&mut self.node.stand.admin, &which).await.ok()?;
            detail.tasks.iter().all(|task| !task.receipt.is_empty()).then_some(())
        })
        .await;
        self.node.finished(seq).await;
    }
}

#[tokio::test]
async fn an_executor_names_the_disk_that_fails_and_ends_its_task_once_that_is_well() {
    for (what, errno, kinds) in FAULTS {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, seq) = Disk::failing_at_work(folder.path(), "executor", errno, kinds).await;
        // What needs nothing of the disk any more is done.
        if kinds != "r" {
            let mut ends = 0;
            until(&format!("{what}: it ends, and ends again when it is started on that disk"), async || {
                ends += disk.restart_what_ended();
                (ends > 1).then_some(())
            })
            .await;
            let said = disk.executor_said();
            assert!(said.contains("/executor/") && said.contains("check the space, the owner and the disk"), "{said}");
        }
        disk.mends();
        disk.finished(seq).await;
    }
}

#[tokio::test]
async fn an_agent_carries_receipts_whatever_its_disk_does() {
    for (_, errno, kinds) in FAULTS {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, seq) = Disk::failing_at_work(folder.path(), "agent", errno, kinds).await;
        disk.finished(seq).await;
    }
}

#[tokio::test]
async fn a_coordinator_says_that_its_ledger_takes_nothing_and_goes_on_by_itself_with_the_receipts() {
    for (what, errno, kinds) in FAULTS.into_iter().filter(|(.., kinds)| *kinds != "r") {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, seq) = Disk::failing_at_work(folder.path(), "coordinator", errno, kinds).await;
        let admin = &mut disk.node.stand.admin;
        let said = until(&format!("{what}: every command is told"), async || {
            admin.refresh().await.unwrap();
            Some(admin.coordinator().ledger_trouble.clone()).filter(|trouble| !trouble.is_empty())
        })
        .await;
        assert!(said.contains("coordinator/ledger") && said.contains(" disk"), "{said}");
        disk.mends();
        disk.finished(seq).await;
        let admin = &mut disk.node.stand.admin;
        admin.refresh().await.unwrap();
        assert_eq!(admin.coordinator().ledger_trouble, "");
    }
}

#[tokio::test]
async fn a_copy_of_the_ledger_on_a_full_disk_leaves_the_copy_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::start(folder.path()).await;
    let target = folder.path().join("copies");
    std::fs::create_dir(&target).unwrap();
    let copy = |program: &Path| {
        let mut command = Command::new(program);
        command.arg("coordinator").arg("--config").arg(folder.path().join("coordinator.toml"));
        let made = command.arg("--backup").arg(target.join("ledger")).output().unwrap();
        (made.status.success(), String::from_utf8(made.stderr).unwrap())
    };
    let program = disk.node.program.clone();
    let (made, said) = copy(&program);
    assert!(made, "{said}");
    let before = std::fs::read(target.join("ledger")).unwrap();
    let seq = disk.node.wait_in_a_task().await;
    for (what, errno, kinds) in FAULTS.into_iter().filter(|(.., kinds)| *kinds != "r") {
        disk.breaks("copies", errno, kinds);
        let (made, said) = copy(&program);
        assert!(!made && said.contains("copies/ledger"), "{what}: {said}");
        assert_eq!(std::fs::read(target.join("ledger")).unwrap(), before, "{what}");
        disk.mends();
        for left in std::fs::read_dir(&target).unwrap().map(|entry| entry.unwrap()) {
            // A half that could not be removed has a hidden name, and the next copy goes beside it.
            let is_hidden = left.file_name().to_string_lossy().starts_with('.');
            assert!(left.file_name() == "ledger" || (kinds.contains('n') && is_hidden), "{what}: {left:?}");
        }
    }
    let (made, said) = copy(&program);
    assert!(made && std::fs::read(target.join("ledger")).unwrap().len() > before.len(), "{said}");
    disk.node.api.set_ready(true);
    disk.finished(seq).await;
}

#[tokio::test]
async fn a_join_string_that_a_disk_does_not_let_go_of_has_served_all_the_same() {
    for (what, errno, kinds) in [
        ("a boot partition that is read-only", nix::libc::EROFS, "won"),
        ("a full disk that has no room to forget a name", nix::libc::ENOSPC, "wn"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let fault = folder.path().join("fault");
        let program = before_the_library(folder.path(), BROKEN, &format!("-DFAULT={fault:?}"));
        let (mut node, join) = Node::set_up(folder.path(), &program).await;
        node.program = program;
        let boot = folder.path().join("boot");
        std::fs::create_dir(&boot).unwrap();
        let settings = folder.path().join("executor.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        let (here, there) = (folder.path().join("join"), boot.join("join"));
        std::fs::write(&settings, text.replace(&format!("{here:?}"), &format!("{there:?}"))).unwrap();
        // What a copy onto a full disk leaves.
        std::fs::write(&there, "").unwrap();
        let mut disk = Disk { node, fault };
        disk.breaks("boot", errno, kinds);
        disk.node.begin(Half::Executor);
        disk.node.begin(Half::Agent);
        let screen = folder.path().join("screen");
        let said = until("the screen says that it is empty", async || std::fs::read_to_string(&screen).ok()).await;
        assert!(said.contains("boot/join, found an empty file"), "{what}: {said}");
        std::fs::write(&there, &join).unwrap();
        disk.node.stand.enrolled(1).await.unwrap();
        if errno == nix::libc::EROFS {
            let warned = |disk: &Disk| disk.executor_said().matches("cannot be removed").count();
            until("it says that the string lies there still", async || (warned(&disk) == 1).then_some(())).await;
            disk.node.kill(Half::Executor);
            disk.node.begin(Half::Executor);
            until("it says so once more", async || (warned(&disk) == 2).then_some(())).await;
        } else {
            until("nothing is left of it", async || std::fs::read(&there).unwrap().is_empty().then_some(())).await;
        }
        let seq = disk.node.wait_in_a_task().await;
        disk.node.api.set_ready(true);
        disk.finished(seq).await;
        assert_eq!(hostler_cli::roster::pending(&mut disk.node.stand.admin).await.unwrap().0.len(), 0, "{what}");
        disk.mends();
        disk.node.kill(Half::Executor);
        disk.node.begin(Half::Executor);
        let gone = || std::fs::read(&there).map_or(true, |left| left.is_empty());
        until("the string is gone", async || gone().then_some(())).await;
    }
}
