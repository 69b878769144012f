//! `kubeadm reset --force`.

use hostler_plan::id::NodeName;

use super::{
    super::{World, machine::Process},
    KUBELET_UNIT,
};

/// What it empties; network plugins' files, their rules and what it put aside itself stay.
const EMPTIED: [&str; 4] =
    ["/etc/kubernetes/manifests/", "/etc/kubernetes/pki/", "/var/lib/etcd/", "/var/lib/kubelet/"];

impl World {
    /// Takes the machine out of etcd where somebody answers, and empties it in any case: it ends well though the member
    /// stays.
    pub(super) fn reset(&mut self, name: &NodeName) -> String {
        let mut said = String::new();
        let is_member = self.kubeadm.members.iter().any(|member| member.name == *name);
        let others = self.kubeadm.members.len() > 1;
        if is_member && others && self.kubeadm_answers() {
            self.kubeadm.members.retain(|member| member.name != *name);
        } else if is_member && others {
            said =
                "[reset] Failed to remove etcd member, please manually remove this etcd member using etcdctl\n".into();
        }
        let now = self.now;
        let Some(machine) = self.machines.get_mut(name) else { return said };
        machine.set_unit(KUBELET_UNIT, false, machine.units.get(KUBELET_UNIT).is_some_and(|unit| unit.enabled), now);
        machine.kubeadm.kubelet = Process::Stopped;
        machine.kubeadm.pods.clear();
        let goes = |path: &str| {
            EMPTIED.iter().any(|folder| path.starts_with(folder))
                || (path.starts_with("/etc/kubernetes/") && path.ends_with(".conf"))
        };
        machine.files.retain(|path, _| !goes(path));
        machine.kubeadm.unsynced.retain(|path, _| !goes(path));
        said
    }
}
