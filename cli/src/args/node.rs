//! `hostler node …`.

use std::path::PathBuf;

use clap::Subcommand;
use hostler_plan::{form::Reason, id::NodeName};

use super::{
    install::{ImageArgs, InstallArgs, RemoveAgentArgs},
    leave::RemoveArgs,
    members::NodeArgument,
    plan::{AdoptCordonArgs, Interactive, ReleaseCordonArgs},
    value::{self, End},
};

/// `hostler node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Show one node: facts, verdicts, history and refusals
    #[command(after_help = "Examples:
  hostler node show pi-3
  hostler node show pi-3 --output json | jq .verdicts")]
    Show {
        /// The node's name
        #[arg(value_name = "NAME")]
        name: NodeName,
    },
    /// List the nodes, or those that wait with their keys, origins and hardware
    #[command(after_help = "Examples:
  hostler node list
  hostler node list --pending
  hostler node list --pending --output json | jq '.pending[] | {name, key, address}'")]
    List {
        /// Only machines that enrolled and that no roster lists, and those that were turned away as doubles
        #[arg(long)]
        pending: bool,
    },
    /// Make machines nodes over ssh: install the agent, enrol it, and list the key that the machine itself shows
    #[command(after_help = "Examples:
  hostler node install pi@pi-4 --package ./debian
  hostler node install pi@pi-4 pi@pi-5 root@rack-1 --package ./debian
  hostler node install root@cp-1 --role server --package hostler-agent_0.1.0-1_arm64.deb --yes

Calls stock ssh with your keys, agent and configuration; a host key that known_hosts has not is never accepted here. The
package is your own, by its digest. Each machine gets a join string of its own: one use, short-lived. Its key is read
over ssh, and only that key is listed, whatever the coordinator shows. Where it fails nothing is left behind
(docs/install.md).")]
    Install(InstallArgs),
    /// Take the agent off machines over ssh, with everything of its own; Kubernetes stays as it is
    #[command(after_help = "Examples:
  hostler node remove-agent pi@pi-4
  hostler node remove-agent pi@pi-4 pi@pi-5 --yes

The roster lists the node still: `hostler node retire NAME` ends that. Out of the cluster `hostler node remove` takes
it, which comes first.")]
    RemoveAgent(RemoveAgentArgs),
    /// Write what an SD card or a cloud-init image needs to become these nodes with nobody at the keyboard
    #[command(after_help = "Examples:
  hostler node image --for pi-4 --package ./debian
  hostler node image --for pi-4 pi-5 --package ./debian --ttl 7d --out cards
  hostler node image --for pi-4 --package ./debian --user-data /media/bootfs/user-data

For each node two folders to copy to its boot partition: for images with cloud-init, and for a plain Raspberry Pi OS.
Each holds a join string, a secret for one machine. The network is left alone (docs/install.md).")]
    Image(ImageArgs),
    /// Check enrolments and sign one roster with these nodes
    #[command(after_help = "Examples:
  hostler node approve pi-9
  hostler node approve pi-9 pi-10
  hostler node approve pi-9=SHA256:vU7mEjHlJQzk8Cl0M3N4aLBxHzXWJ4xQ0Yk1uJ6yGQ4 --yes

Shows each token, key, origin and hardware first, and asks once. With --yes only workers whose tokens are proved good
are listed, and those that are named with their keys.")]
    Approve {
        /// The nodes' names, perhaps each with the fingerprint of its key
        #[arg(value_name = "NAME[=FINGERPRINT]", required = true)]
        nodes: Vec<NodeArgument>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Let a machine with a new key take the place of the one that has its name
    #[command(after_help = "Examples:
  hostler node replace pi-9
  hostler node replace pi-9=SHA256:vU7mEjHlJQzk8Cl0M3N4aLBxHzXWJ4xQ0Yk1uJ6yGQ4 --yes
  hostler node replace pi-3 --power-off-proof 'board burnt, plug pulled'

The old key is retired and counts never again. For a machine that was made anew, or the right one of two with one name.
With --power-off-proof the cluster follows (kubeadm): a living server removes the dead member of etcd and the old Node,
then the new machine joins, by a plan that is shown and signed. Without it the old node stays in the cluster; of K3s
remove it with `kubectl delete node`, and its secret NAME.node-password.k3s.")]
    Replace {
        /// The name, perhaps with the fingerprint of the new key
        #[arg(value_name = "NAME[=FINGERPRINT]")]
        node: NodeArgument,
        /// How it was proved that the power of the old machine is off: the new one takes its place in the cluster too
        #[arg(long, value_name = "TEXT")]
        power_off_proof: Option<Reason>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Take nodes out of a kubeadm cluster for good, and out of the roster
    #[command(after_help = "Examples:
  hostler node remove pi-9
  hostler node remove pi-9 --keep-listed
  hostler node remove pi-3 --power-off-proof 'board burnt, plug pulled'

Drains the node, lets another server remove its member of etcd, empties the machine and forgets the Node; then the
roster that lists it no more is signed. A node that is silent is removed from the cluster alone, once its power is
proved to be off: wipe its disk. What a failed join left is removed the same way.")]
    Remove {
        #[command(flatten)]
        plan: Interactive<RemoveArgs>,
        /// Leave the nodes in the roster: they are to join again
        #[arg(long)]
        keep_listed: bool,
    },
    /// List a machine that waits under another name than the one it came with
    #[command(after_help = "Examples:
  hostler node rename pi-9 pi-10
  hostler node rename pi-9=SHA256:vU7mEjHlJQzk8Cl0M3N4aLBxHzXWJ4xQ0Yk1uJ6yGQ4 pi-10 --yes

The machine takes the name from the signed roster at its next try. A node that belongs to the fleet keeps its name:
retire it and let it enrol anew.")]
    Rename {
        /// The name that it came with, perhaps with the fingerprint of its key
        #[arg(value_name = "NAME[=FINGERPRINT]")]
        node: NodeArgument,
        /// The name that it gets
        #[arg(value_name = "NEW")]
        new: NodeName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Take a verdict of a node as its new normal, until a day and as long as it gets no worse
    #[command(after_help = "Examples:
  hostler node accept pi-9 nvme_wear nvme0 --until 60d --reason 'a new disk is ordered'
  hostler node accept pi-9 pcie_link --until 2027-03-01 --reason 'this board only does Gen 1'
  hostler node accept pi-9 nvme_wear nvme0 --withdraw

VERDICT is a rule, and what it is about where the rule says several: `hostler node show pi-9`. At most 90 days. An
operator may sign it; of a required rule that is critical, an admin. It counts on the node too, and for its own cordon.
A verdict that gets worse counts at once as if nobody had accepted it (docs/accept.md).")]
    Accept {
        /// The node's name
        #[arg(value_name = "NODE")]
        node: NodeName,
        /// The rule, and what it is about
        #[arg(value_name = "VERDICT", required = true, num_args = 1..=3)]
        verdict: Vec<String>,
        /// Until when: a time such as 30d from now, or a day such as 2027-03-01
        #[arg(long, value_name = "WHEN", value_parser = value::end, required_unless_present = "withdraw")]
        until: Option<End>,
        /// Why, for people who see it later
        #[arg(long, value_name = "TEXT", required_unless_present = "withdraw")]
        reason: Option<Reason>,
        /// Take back what was accepted
        #[arg(long, conflicts_with_all = ["until", "reason"])]
        withdraw: bool,
    },
    /// Let a disk go that was failing and does not say any more how it is
    #[command(after_help = "Examples:
  hostler node release pi-9 sda --reason 'was taken out for good'
  hostler node release pi-9 S3Z8NB0K --reason 'tested on another machine'

What a disk said of itself is remembered until it says that it is well, on the node too and over restarts. This forgets
it, once: a disk that says again that it fails is remembered again.")]
    Release {
        /// The node's name
        #[arg(value_name = "NODE")]
        node: NodeName,
        /// The disk, by its name or its serial number
        #[arg(value_name = "DISK")]
        disk: String,
        /// Why, for people who see it later
        #[arg(long, value_name = "TEXT")]
        reason: Reason,
    },
    /// Make a cordon Hostler's that a person or another tool put on nodes, so that a plan may lift it
    #[command(after_help = "Examples:
  hostler node adopt-cordon pi-9 --reason 'Kim is away, the disk is in'
  hostler uncordon pi-9

A plan that a drain's signers sign: the node stays unschedulable, and a note on it says who signed, why, and whose the
cordon was since when. `hostler uncordon` lifts it then. Who lifts it and cordons the node again has a cordon of their
own.")]
    AdoptCordon(Interactive<AdoptCordonArgs>),
    /// Give Hostler's cordon of nodes to those who sign: the nodes stay unschedulable, and no plan lifts that
    #[command(after_help = "Examples:
  hostler node release-cordon pi-9 --reason 'the lab keeps it until Friday'
  kubectl uncordon pi-9

A plan that an uncordon's signers sign. The note on the node says to whom and why. `kubectl uncordon` lifts it, or a
plan after `hostler node adopt-cordon`.")]
    ReleaseCordon(Interactive<ReleaseCordonArgs>),
    /// Sign the next roster with the same nodes, which closes a fork of rosters
    #[command(after_help = "Examples:
  hostler node renew

Names both rosters of a fork, so that nodes which hold either follow. Any other command that signs a roster does too.")]
    Renew {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Take nodes out of the roster: their keys count no more
    #[command(after_help = "Examples:
  hostler node retire pi-9")]
    Retire {
        /// The node's name
        #[arg(value_name = "NAME")]
        name: NodeName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}
