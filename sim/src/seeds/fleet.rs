//! The fleet of a seed: its file and its roster.

use std::fmt::Write as _;

use hostler_plan::{
    distribution::Distribution,
    document::{Enrolled, Roster, RosterNode, RosterStatus, RosterType},
    fleet::Fleet,
    id::{Arch, Digest, Epoch, FleetId, NodeName, Seq, TokenId},
    signature::PublicKey,
};

use super::{Profile, coordinator::timestamp, run::Versions};

pub(super) fn fleet(profile: &Profile, versions: Versions) -> Fleet {
    let (distribution, old) = (profile.distribution, versions.old);
    let own_table = match distribution {
        Distribution::K3s => "",
        Distribution::Kubeadm => "[kubeadm]\npod_network = \"10.244.0.0/16\"\n",
    };
    let mut text = format!(
        "name = \"seeds\"\ndistribution = \"{distribution}\"\nversion = \"{old}\"\napi = \"api.lab:6443\"\n{own_table}\
         [policy]\nmax_unavailable = {}\ncanary = {}\nsoak_seconds = 5\nready_timeout_seconds = 60\n\
         lease_seconds = 60\nplan_lifetime_seconds = 2000000\ndelete_empty_dir_data = \"all\"\n",
        profile.max_unavailable, profile.canary
    );
    if profile.windows {
        let hour = |hour| format!("{{ start = \"{hour:02}:00\", length = \"50min\" }}");
        let hours: Vec<String> = (0..24).map(hour).collect();
        text.push_str(&format!("[maintenance]\nzone = \"Europe/Berlin\"\nwindows = [{}]\n", hours.join(", ")));
    }
    for i in 0..profile.nodes {
        let (letter, number, role) = match i.checked_sub(profile.servers) {
            None => ("s", i + 1, "server"),
            Some(worker) => ("w", worker + 1, "worker"),
        };
        let node = write!(text, "[[nodes]]\nname = \"{letter}{number}\"\nrole = \"{role}\"\narch = \"aarch64\"\n");
        node.expect("writing to a String cannot fail");
    }
    let new = versions.new;
    let names: &[&str] = match distribution {
        Distribution::K3s => &["k3s"],
        Distribution::Kubeadm => &["kubeadm", "kubelet", "kube-apiserver"],
    };
    for name in names {
        let digest = Digest::of(name.as_bytes()).hex();
        let artifact = format!(
            "[[artifacts]]\nname = \"{name}\"\nversion = \"{new}\"\narch = \"aarch64\"\npath = \"{name}\"\n\
             sha256 = \"{digest}\"\nsize = 3\n"
        );
        text.push_str(&artifact);
    }
    let (fleet, _) = Fleet::from_toml(&[("seeds.toml", &text)]).expect("the simulated fleet is valid");
    fleet
}

pub(super) fn roster(fleet: &Fleet) -> Roster {
    // Nothing is signed in this world, so one key serves all; `plan::trust` would not have it.
    let key =
        PublicKey::from_openssh("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
            .expect("a public key");
    let node = |name: &NodeName, role| RosterNode {
        name: name.clone(),
        key: key.clone(),
        seal_key: String::new(),
        role,
        arch: Arch::Aarch64,
        status: RosterStatus::Active,
        enrolled: Enrolled { token: TokenId::new("5eed0000").expect("a token id"), enrolment: Digest::ZERO },
    };
    Roster {
        document_type: RosterType::V1,
        fleet_id: FleetId::new("5eed".repeat(8)).expect("32 hexadecimal digits"),
        epoch: Epoch(1),
        version: 1,
        prev: None,
        also: Vec::new(),
        root_version: 1,
        created: timestamp(0),
        plan_seq: Seq(0),
        revoked_tokens: Vec::new(),
        nodes: fleet.nodes.iter().map(|n| node(&n.name, n.role)).collect(),
    }
}
