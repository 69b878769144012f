//! What programs of a kubeadm cluster print on a simulated machine, and what they do to it.

use hostler_plan::{id::NodeName, version::Version};
use serde_json::json;

use super::{
    super::{K3sError, World, machine::Machine, machine::Process},
    CONTAINERD_UNIT, KUBELET_PID, image,
};

/// What stands in the first line of a simulated program, before its name and version.
const MARK: &str = "simulated program ";

/// What stands in the first line of a simulated package.
const PACKAGE: &str = "simulated package ";

/// Where programs are looked for, in this order.
const PATH: [&str; 3] = ["/usr/local/sbin", "/usr/local/bin", "/usr/bin"];

/// The content of a simulated program.
pub fn program(name: &str, version: &str) -> Vec<u8> {
    format!("{MARK}{name} {version}\nNot a program: the simulation's stand-in for it.\n").into_bytes()
}

/// The content of a simulated package.
pub fn package(name: &str, version: &str) -> Vec<u8> {
    format!("{PACKAGE}{name} {version}\nNot a package: the simulation's stand-in for it.\n").into_bytes()
}

/// Name and version of the first line behind a mark.
fn named(content: &[u8], mark: &str) -> Option<(String, String)> {
    let line = std::str::from_utf8(content.split(|b| *b == b'\n').next()?).ok()?;
    let (name, version) = line.strip_prefix(mark)?.split_once(' ')?;
    Some((name.to_owned(), version.to_owned()))
}

impl Machine {
    /// The version of a program that lies in the places for programs.
    fn program_text(&self, name: &str) -> Option<String> {
        let found = PATH.iter().find_map(|folder| self.files.get(&format!("{folder}/{name}")))?;
        named(&found.content, MARK).filter(|(found, _)| found == name).map(|(_, version)| version)
    }

    pub(in super::super) fn program_version(&self, name: &str) -> Option<Version> {
        self.program_text(name)?.parse().ok()
    }
}

fn missing(what: &str) -> K3sError {
    K3sError::Missing { what: format!("program {what}") }
}

pub(super) fn failed(said: &str) -> K3sError {
    K3sError::Failed { said: said.to_owned() }
}

impl World {
    /// Runs a program of Kubernetes or of the system; none for one that is none of them.
    pub(in super::super) fn run_program(
        &mut self,
        name: &NodeName,
        arguments: &[&str],
    ) -> Option<Result<String, K3sError>> {
        let running = format!("/proc/{KUBELET_PID}/exe");
        Some(match arguments {
            [exe, "--version"] if *exe == running => self.kubelet_version(name),
            ["kubelet", "--version"] => self.printed(name, "kubelet").map(|v| format!("Kubernetes {v}\n")),
            ["kubeadm", "version", ..] => self.printed(name, "kubeadm").map(|v| format!("{v}\n")),
            ["kubeadm", "reset", ..] => self.printed(name, "kubeadm").map(|_| self.reset(name)),
            ["env", _, "kubeadm", "init", "phase", phase @ .., "--config", _, "--dry-run"] => self.trial(name, phase),
            ["kubeadm", "config", "migrate", "--old-config", file] => self.migrated(name, file),
            ["kubeadm", "config", "print", "init-defaults", ..] => Ok(super::configure::proxy_defaults().to_string()),
            ["kubeadm", "config", "images", "list", ..] => self.printed(name, "kubeadm").map(|version| {
                let version = version.parse().map(|v| image::of_server(v, true)).unwrap_or_default();
                version.join("\n") + "\n"
            }),
            ["etcdctl", .., "member", "list", "--write-out", "json"] => self.members(name),
            ["etcdctl", .., "member", act @ ("remove" | "promote"), id] => self.change_member(name, act, id),
            ["etcdctl", .., "endpoint", "status", "--write-out", "json"] => self.etcd_status(name),
            ["etcdctl", "--endpoints", endpoint, .., "endpoint", "status"] => self.etcd_answers(name, endpoint),
            ["etcdctl", .., "snapshot", "save", file] => self.save_snapshot(name, file),
            ["etcdctl", ..] => self.printed(name, "etcdctl").and_then(|_| Err(failed("not simulated"))),
            ["etcdutl", "snapshot", "status", file, ..] => self.snapshot_status(name, file),
            ["etcdutl", "version"] => self.printed(name, "etcdutl").map(|v| format!("etcdutl version: {v}\n")),
            [
                "etcdutl",
                "snapshot",
                "restore",
                file,
                "--data-dir",
                data,
                ..,
                "--initial-cluster",
                cluster,
                "--initial-cluster-token",
                token,
                _,
                _,
                _,
                _,
                "--mark-compacted",
            ] => self.restore_snapshot(name, (file, data), (cluster, token)),
            ["sync", "--file-system", folder] => self.sync(name, folder),
            ["ctr", "--namespace", "k8s.io", "tasks", "list"] => self.list_tasks(name),
            ["ctr", "--namespace", "k8s.io", "containers", "list", "--quiet", labels] => {
                self.list_containers(name, labels)
            }
            ["ctr", "--namespace", "k8s.io", "images", "list"] => self.list_images(name),
            ["ctr", "--namespace", "k8s.io", "images", "import", _] => Err(failed("an archive that is not attached")),
            ["apt-mark", "hold", package] => self.hold(name, package),
            ["apt-mark", "showhold", ..] => self.held(name),
            ["apt-get", "install", ..] => self.install_deb(name),
            ["dpkg", ..] => Ok(String::new()),
            ["du", .., "/var/lib/etcd"] => Ok("130000000\t/var/lib/etcd\n".into()),
            ["du", ..] => Err(failed("No such file or directory")),
            ["df", ..] => Ok("Avail\n20000000000\n".into()),
            ["systemctl", "show", "--property=ExecMainStartTimestamp", .., unit] => self.started_at(name, unit),
            ["stat", "--format=%Y", "--", path] => self.changed_at(name, path),
            ["stat", "--format=%s", path] => self.length(name, path),
            ["nft", "list", "tables"] => self.rules(name),
            ["systemctl", "mask", "--now", "--", unit] => self.mask(name, unit),
            ["systemd-escape", .., path] => Ok(format!("{}.swap\n", path.trim_start_matches('/').replace('/', "-"))),
            _ => return None,
        })
    }

    /// Puts the images of an archive into containerd.
    pub fn import_images(&mut self, name: &NodeName, archive: &[u8]) -> Result<(), K3sError> {
        let machine = self.machine_mut(name)?;
        machine.containerd()?;
        let found = image::images(archive).ok_or_else(|| failed("ctr: unrecognized image format"))?;
        machine.kubeadm.images.extend(found);
        Ok(())
    }

    /// What `dpkg-deb --show` prints of a package.
    pub fn describe_package(&self, package: &[u8]) -> Result<String, K3sError> {
        let (name, version) =
            named(package, PACKAGE).ok_or_else(|| failed("dpkg-deb: error: not a Debian format archive"))?;
        Ok(format!("{name} {version}"))
    }

    pub(super) fn printed(&self, name: &NodeName, program: &str) -> Result<String, K3sError> {
        self.machine(name)?.program_text(program).ok_or_else(|| missing(program))
    }

    fn kubelet_version(&self, name: &NodeName) -> Result<String, K3sError> {
        match self.machine(name)?.kubeadm.kubelet {
            Process::Running { version, .. } => Ok(format!("Kubernetes {version}\n")),
            Process::Stopped | Process::Starting { .. } => Err(missing("/proc/732/exe")),
        }
    }

    /// etcd's own list, asked of the member on this machine.
    fn members(&self, name: &NodeName) -> Result<String, K3sError> {
        self.printed(name, "etcdctl")?;
        self.must_have_etcd(name)?;
        let member = |member: &super::Member| {
            let shown = if member.has_started { member.name.as_str() } else { "" };
            let endpoint = self.machines.get(&member.name).and_then(Machine::endpoint).unwrap_or_default();
            let address = endpoint.split(':').next().unwrap_or_default();
            let clients: Vec<_> = member.has_started.then(|| format!("https://{address}:2379")).into_iter().collect();
            json!({ "ID": member.id, "name": shown, "isLearner": member.is_learner, "clientURLs": clients,
                "peerURLs": [format!("https://{address}:2380")] })
        };
        let members: Vec<_> = self.kubeadm.members.iter().map(member).collect();
        Ok(json!({ "header": { "cluster_id": 1 }, "members": members }).to_string())
    }

    pub(super) fn must_have_etcd(&self, name: &NodeName) -> Result<(), K3sError> {
        let machine = self.machine(name)?;
        let answers = machine.runs("etcd", self.now) && self.has_quorum();
        if answers { Ok(()) } else { Err(failed("Error: context deadline exceeded")) }
    }

    fn change_member(&mut self, name: &NodeName, act: &str, id: &str) -> Result<String, K3sError> {
        self.printed(name, "etcdctl")?;
        self.must_have_etcd(name)?;
        let id = u64::from_str_radix(id, 16).map_err(|_| failed("Error: bad member ID arg"))?;
        let members = &mut self.kubeadm.members;
        let at = members.iter().position(|member| member.id == id).ok_or_else(|| failed("Error: member not found"))?;
        if act == "remove" {
            members.remove(at);
        } else {
            members[at].is_learner = false;
        }
        Ok(String::new())
    }

    /// What the member of this machine says of itself, without asking the others.
    fn etcd_status(&self, name: &NodeName) -> Result<String, K3sError> {
        self.printed(name, "etcdctl")?;
        if !self.machine(name)?.runs("etcd", self.now) {
            return Err(failed("Error: context deadline exceeded"));
        }
        let header = json!({ "cluster_id": 1, "revision": self.revision() });
        let status = json!({ "header": header, "version": "3.6.8", "dbSize": 130_000_000, "dbSizeQuota": 2_u64 << 30 });
        Ok(json!([{ "Endpoint": "https://127.0.0.1:2379", "Status": status }]).to_string())
    }

    fn etcd_answers(&self, name: &NodeName, endpoint: &str) -> Result<String, K3sError> {
        self.printed(name, "etcdctl")?;
        let is_there = |machine: &Machine| {
            let address = machine.endpoint().and_then(|endpoint| endpoint.split(':').next().map(str::to_owned));
            address.is_some_and(|address| endpoint == format!("https://{address}:2379"))
        };
        let answers = self.machines.values().any(|machine| is_there(machine) && machine.runs("etcd", self.now));
        if answers { Ok(String::new()) } else { Err(failed("Error: context deadline exceeded")) }
    }

    pub(super) fn revision(&self) -> u64 {
        1000 + self.now / 1000
    }

    fn list_images(&self, name: &NodeName) -> Result<String, K3sError> {
        let machine = self.machine(name)?;
        machine.containerd()?;
        let line = |(image, digest): (&String, &String)| {
            format!("{image} application/vnd.oci.image.manifest.v1+json {digest} 1.0 MiB linux/arm64 -\n")
        };
        let lines: String = machine.kubeadm.images.iter().map(line).collect();
        Ok(format!("REF TYPE DIGEST SIZE PLATFORMS LABELS\n{lines}"))
    }

    fn hold(&mut self, name: &NodeName, package: &str) -> Result<String, K3sError> {
        self.machine_mut(name)?.kubeadm.held.insert(package.to_owned());
        Ok(format!("{package} set on hold.\n"))
    }

    fn held(&self, name: &NodeName) -> Result<String, K3sError> {
        Ok(self.machine(name)?.kubeadm.held.iter().map(|package| format!("{package}\n")).collect())
    }

    /// apt installs the one package that lies where it is told to look.
    fn install_deb(&mut self, name: &NodeName) -> Result<String, K3sError> {
        let machine = self.machine_mut(name)?;
        let file = machine.files.get("/var/cache/hostler/package.deb").ok_or_else(|| failed("E: no such package"))?;
        let (package, version) = named(&file.content, PACKAGE).ok_or_else(|| failed("E: Invalid archive signature"))?;
        machine.kubeadm.held.remove(&package);
        machine.packages.insert(package, version);
        Ok(String::new())
    }

    fn seconds(&self, at: Option<&super::super::Millis>) -> u64 {
        (self.began_unix_ms + at.copied().unwrap_or(0)) / 1000
    }

    /// As `systemctl show --timestamp=unix` prints it.
    fn started_at(&self, name: &NodeName, unit: &str) -> Result<String, K3sError> {
        Ok(format!("@{}\n", self.seconds(self.machine(name)?.kubeadm.started.get(unit))))
    }

    fn changed_at(&self, name: &NodeName, path: &str) -> Result<String, K3sError> {
        let machine = self.machine(name)?;
        if !machine.files.contains_key(path) {
            return Err(failed("stat: cannot statx: No such file or directory"));
        }
        Ok(format!("{}\n", self.seconds(machine.kubeadm.changed.get(path))))
    }

    fn length(&self, name: &NodeName, path: &str) -> Result<String, K3sError> {
        let file = self.machine(name)?.files.get(path);
        let file = file.ok_or_else(|| failed("stat: cannot statx: No such file or directory"))?;
        Ok(format!("{}\n", file.content.len()))
    }

    fn rules(&self, name: &NodeName) -> Result<String, K3sError> {
        let has_rules = self.machine(name)?.kubeadm.has_rules;
        Ok(if has_rules { "table ip kube-proxy\ntable ip6 kube-proxy\n".into() } else { String::new() })
    }

    fn mask(&mut self, name: &NodeName, unit: &str) -> Result<String, K3sError> {
        let machine = self.machine_mut(name)?;
        machine.units.remove(unit);
        if unit.ends_with(".swap") {
            machine.files.remove("/proc/swaps");
        }
        Ok(String::new())
    }
}

impl Machine {
    /// containerd answers while its unit runs, and its client is installed.
    pub(super) fn containerd(&self) -> Result<(), K3sError> {
        self.program_text("ctr").ok_or_else(|| missing("ctr"))?;
        if self.unit_is_active(CONTAINERD_UNIT) {
            return Ok(());
        }
        Err(failed("ctr: failed to dial \"/run/containerd/containerd.sock\": no such file or directory"))
    }
}
