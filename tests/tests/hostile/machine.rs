//! What the node runs on: a simulated machine, or a folder that is the root of both programs as they are packaged.

use std::{
    collections::BTreeMap,
    fmt,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hostler_fixtures::name;
use hostler_plan::id::Digest;
use hostler_sim::clock::SharedWorld;
use hostler_tests::process::Process;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::PATIENCE;

/// Half of what the units allow, in KiB: a node that is attacked must not come near it.
const MOST_KIB: Peaks = Peaks { agent: 64 << 10, executor: 128 << 10 };

/// Everything that a plan could change on a machine, by its path or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, String>);

fn described(mode: u32, content: &[u8]) -> String {
    format!("{:o} {}", mode & 0o7777, Digest::of(content))
}

impl Tree {
    pub(crate) fn of_simulated(world: &SharedWorld) -> Self {
        let world = world.now();
        let machine = world.machine(&name("w1")).unwrap();
        let files = machine.files.iter().map(|(path, file)| (path.clone(), described(file.mode, &file.content)));
        let named =
            |kind: &'static str| move |(name, value): (&String, &String)| (format!("{kind} {name}"), value.clone());
        let sysctls = machine.sysctls.iter().map(named("sysctl"));
        let packages = machine.packages.iter().map(named("package"));
        let modules = machine.modules.iter().map(|module| (format!("module {module}"), String::new()));
        let boot = [("boot".to_owned(), machine.boot_id.to_string())];
        Self(files.chain(sysctls).chain(packages).chain(modules).chain(boot).collect())
    }

    pub(crate) fn of_folder(root: &Path) -> Self {
        let mut tree = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                let described = if kind.is_symlink() {
                    format!("-> {}", std::fs::read_link(&path).unwrap().display())
                } else if kind.is_dir() {
                    // A folder is what lies in it.
                    folders.push(path);
                    continue;
                } else {
                    described(entry.metadata().unwrap().permissions().mode(), &std::fs::read(&path).unwrap())
                };
                tree.insert(format!("/{}", path.strip_prefix(root).unwrap().display()), described);
            }
        }
        Self(tree)
    }

    /// Takes a file out that lies there as it should.
    pub(crate) fn remove_file(&mut self, path: &str, content: &[u8]) -> bool {
        self.0.remove(path) == Some(described(0o644, content))
    }

    pub(crate) fn difference(&self, other: &Self) -> String {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let differ = names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name));
        differ
            .map(|name| format!("{name}: {:?}, {:?}", self.0.get(name), other.0.get(name)))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// The most memory that each program took, in KiB; 0 where they are no processes of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Peaks {
    agent: u64,
    executor: u64,
}

impl Peaks {
    pub(crate) fn include(&mut self, other: Self) {
        *self = Self { agent: self.agent.max(other.agent), executor: self.executor.max(other.executor) };
    }

    pub(crate) fn too_high(self) -> Option<String> {
        let high = self.agent > MOST_KIB.agent || self.executor > MOST_KIB.executor;
        high.then(|| format!("expected at most {MOST_KIB}, found {self}"))
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { agent: 0, executor: 0 } => Ok(()),
            Self { agent, executor } => write!(f, ", at most {agent} KiB and {executor} KiB of memory"),
        }
    }
}

/// Both programs as they are packaged.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    agent: PathBuf,
    executor: PathBuf,
}

impl fmt::Display for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.agent.display(), self.executor.display())
    }
}

/// Makes a folder the root of a program: this machine's libraries and kernel are there to read, its devices are not
/// but for four, and the folder of the fleet lies where it always does. In namespaces of its own, where it is root of
/// nothing else.
const ENTER: &str = r#"
root=$1 fleet=$2 program=$3
mount --rbind /usr "$root/usr" && mount -o remount,bind,ro "$root/usr"
for folder in proc sys; do
    mount --rbind "/$folder" "$root/$folder" && mount -o remount,bind,ro "$root/$folder"
done
for device in null zero random urandom; do
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --rbind "$fleet" "$root$fleet"
mount --bind "$program" "$root/program"
exec chroot "$root" /program
"#;

impl Programs {
    /// Where HOSTLER_AGENT and HOSTLER_EXECUTOR say that they are; none without.
    pub(crate) fn from_environment() -> Option<Self> {
        match ["HOSTLER_AGENT", "HOSTLER_EXECUTOR"].map(std::env::var_os) {
            [Some(agent), Some(executor)] => Some(Self { agent: agent.into(), executor: executor.into() }),
            [None, None] => None,
            [Some(_), None] | [None, Some(_)] => {
                panic!("expected HOSTLER_AGENT and HOSTLER_EXECUTOR, found one of them")
            }
        }
    }

    /// An empty machine that can run both.
    pub(crate) fn make_machine(root: &Path, fleet: &Path) {
        let _ = std::fs::remove_dir_all(root);
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        for folder in ["usr", "proc", "sys", "dev", "etc", "tmp", fleet.to_str().unwrap()] {
            std::fs::create_dir_all(below(folder)).unwrap();
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), below(link)).unwrap();
        }
        for file in ["dev/null", "dev/zero", "dev/random", "dev/urandom", "program"] {
            std::fs::write(below(file), "").unwrap();
        }
        std::fs::write(below("etc/passwd"), "root:x:0:0:root:/:/bin/false\n").unwrap();
    }

    /// Starts both on that machine, with everything of theirs in `folder`, which lies in `fleet`.
    pub(crate) fn start(&self, root: &Path, fleet: &Path, folder: &Path) -> Processes {
        let at = |name: &str| folder.join(name);
        let (socket, agent) = (at("socket"), at("agent"));
        let mut executor = enter(root, fleet, &self.executor);
        executor.env("HOSTLER_EXECUTOR_SOCKET", &socket).env("HOSTLER_EXECUTOR_STATE_DIR", at("executor"));
        executor
            .env("HOSTLER_EXECUTOR_DOWNLOADS", agent.join("downloads"))
            .env("HOSTLER_EXECUTOR_JOIN_FILE", at("join"));
        executor.env("HOSTLER_EXECUTOR_NODE_NAME", "w1").env("HOSTLER_EXECUTOR_CLOCK", "trusted");
        executor.env("HOSTLER_EXECUTOR_AGENT_USER", "root");
        let executor = Process::start(&mut executor, &at("executor.log")).unwrap();
        let mut command = enter(root, fleet, &self.agent);
        command.env("HOSTLER_AGENT_SOCKET", &socket).env("HOSTLER_AGENT_STATE_DIR", &agent);
        let agent = Process::start(&mut command, &at("agent.log")).unwrap();
        Processes { agent, executor }
    }
}

fn enter(root: &Path, fleet: &Path, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--ipc", "--uts", "sh", "-e", "-c", ENTER, "machine"]);
    command.args([root, fleet, program]);
    command
}

/// The two programs of a node at work.
pub(crate) struct Processes {
    agent: Process,
    executor: Process,
}

impl Processes {
    /// Ends both, the agent first.
    pub(crate) async fn end(mut self) -> Peaks {
        let peak = |process: &Process| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::trim));
            line.and_then(|line| line.trim_end_matches(" kB").parse().ok()).expect("it still runs")
        };
        let peaks = Peaks { agent: peak(&self.agent), executor: peak(&self.executor) };
        for process in [&mut self.agent, &mut self.executor] {
            kill(Pid::from_raw(i32::try_from(process.pid()).unwrap()), Signal::SIGTERM).unwrap();
            let ended = async {
                while process.child.try_wait().unwrap().is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
        }
        peaks
    }
}
