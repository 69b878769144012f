//! Snapshots of the simulated etcd: its data are the objects of the cluster, as JSON behind one line.

use std::collections::BTreeMap;

use hostler_plan::id::NodeName;
use serde_json::{Value, json};

use super::{
    super::{
        K3sError, World,
        machine::{File, Machine},
    },
    COMPONENTS, ETCD_DATA, Member,
    program::failed,
};

/// What a snapshot begins with: its revision and the number of its keys follow.
const SNAPSHOT: &str = "simulated snapshot ";

/// What etcd's data begin with that came out of a snapshot: the name of the restore and all members follow.
const RESTORED: &str = "simulated restore ";

impl Machine {
    /// Gives a file, or a folder with all that is in it, another place, at once and durably.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), K3sError> {
        let is_at = |path: &str, top: &str| path.strip_prefix(top).is_some_and(|p| p.is_empty() || p.starts_with('/'));
        let moved: Vec<String> = self.files.keys().filter(|path| is_at(path, from)).cloned().collect();
        if moved.is_empty() || self.files.keys().any(|path| is_at(path, to)) {
            let said = format!("rename {from} to {to}: expected one file or folder there and none here");
            return Err(K3sError::Failed { said });
        }
        for path in moved {
            self.kubeadm.unsynced.remove(&path);
            if let Some(file) = self.files.remove(&path) {
                self.files.insert(format!("{to}{}", &path[from.len()..]), file);
            }
        }
        Ok(())
    }

    /// The restore out of which its etcd's data came.
    pub(super) fn restore(&self) -> Option<&str> {
        self.text(ETCD_DATA)?.strip_prefix(RESTORED)?.split(' ').next()
    }
}

impl World {
    pub(super) fn save_snapshot(&mut self, name: &NodeName, file: &str) -> Result<String, K3sError> {
        self.printed(name, "etcdctl")?;
        self.must_have_etcd(name)?;
        let (keys, revision) = (self.kubeadm.objects.len() + 100, self.revision());
        let objects = json!(self.kubeadm.objects);
        let content = format!("{SNAPSHOT}{revision} {keys}\n{objects}").into_bytes();
        self.machine_mut(name)?.files.insert(file.to_owned(), File { mode: 0o600, content });
        Ok(format!("Snapshot saved at {file}\n"))
    }

    pub(super) fn snapshot_status(&self, name: &NodeName, file: &str) -> Result<String, K3sError> {
        self.printed(name, "etcdutl")?;
        let (head, _) = self.snapshot_at(name, file)?;
        let (revision, keys) = head.split_once(' ').unwrap_or_default();
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        let (revision, keys) = (number(revision), number(keys));
        Ok(json!({ "hash": revision ^ keys, "revision": revision, "totalKey": keys, "totalSize": 130_000_000 })
            .to_string())
    }

    /// Revision and keys of a snapshot, and its objects.
    fn snapshot_at(&self, name: &NodeName, file: &str) -> Result<(&str, &str), K3sError> {
        let text = self.machine(name)?.text(file).and_then(|text| text.strip_prefix(SNAPSHOT)?.split_once('\n'));
        text.ok_or_else(|| failed("Error: snapshot file is damaged"))
    }

    /// A snapshot becomes the data of one member of a new etcd. etcdutl does not wait for the disk.
    pub(super) fn restore_snapshot(
        &mut self,
        name: &NodeName,
        (file, data): (&str, &str),
        (cluster, token): (&str, &str),
    ) -> Result<String, K3sError> {
        self.printed(name, "etcdutl")?;
        let (_, objects) = self.snapshot_at(name, file)?;
        let content = format!("{RESTORED}{token} {cluster}\n{objects}");
        let now = self.now();
        let machine = self.machine_mut(name)?;
        if !machine.names_in(data).is_empty() {
            return Err(failed("Error: data-dir not empty or could not be read"));
        }
        machine.write_unsynced(&format!("{data}/member/snap/db"), content, 0o600, now);
        Ok(String::new())
    }

    /// What was written below a folder is on its disk.
    pub(super) fn sync(&mut self, name: &NodeName, folder: &str) -> Result<String, K3sError> {
        let below = format!("{folder}/");
        self.machine_mut(name)?.kubeadm.unsynced.retain(|path, _| !path.starts_with(&below));
        Ok(String::new())
    }

    /// A member that starts by the data of another restore than the others begins a new etcd: those of before are none
    /// of its members, and what it holds is what the snapshot held.
    pub(super) fn begin_restored(&mut self, name: &NodeName) {
        let Some(text) = self.machines.get(name).and_then(|machine| machine.text(ETCD_DATA)) else { return };
        let parts = text.strip_prefix(RESTORED).and_then(|text| {
            let (head, objects) = text.split_once('\n')?;
            let (restore, members) = head.split_once(' ')?;
            let objects: BTreeMap<String, Value> = serde_json::from_str(objects).ok()?;
            Some((restore.to_owned(), members.to_owned(), objects))
        });
        let Some((restore, members, objects)) = parts else { return };
        // Their names sort as their times do.
        if self.kubeadm.restored.as_ref() >= Some(&restore) {
            return;
        }
        self.kubeadm.restored = Some(restore);
        self.kubeadm.objects = objects;
        self.kubeadm.members.clear();
        let names = members.split(',').filter_map(|member| NodeName::new(member.split('=').next()?).ok());
        for name in names.collect::<Vec<_>>() {
            let id = 0x1000 + self.number();
            self.kubeadm.members.push(Member { id, name, is_learner: false, has_started: false });
        }
    }

    /// As `ctr tasks list` prints those of static pods.
    pub(super) fn list_tasks(&self, name: &NodeName) -> Result<String, K3sError> {
        let machine = self.machine(name)?;
        machine.containerd()?;
        let lines = machine.kubeadm.pods.keys().map(|component| format!("id-{component}    12    RUNNING\n"));
        Ok(std::iter::once("TASK    PID    STATUS\n".to_owned()).chain(lines).collect())
    }

    /// As `ctr containers list --quiet` prints those with a label; containerd keeps them after their end.
    pub(super) fn list_containers(&self, name: &NodeName, labels: &str) -> Result<String, K3sError> {
        self.machine(name)?.containerd()?;
        let wanted = |component: &&&str| labels.contains(&format!("container.name\"=={component},"));
        Ok(COMPONENTS.iter().find(wanted).map_or_else(String::new, |component| format!("id-{component}\n")))
    }
}
