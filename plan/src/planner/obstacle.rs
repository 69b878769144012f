//! Why there is no plan, and what to do about it.

use std::fmt;

use crate::{
    distribution::Distribution,
    form::SnapshotName,
    id::{Arch, NodeName, Seq},
    quorum::Quorum,
    version::{Version, way},
};

use super::{UpdateObstacle, WindowObstacle};

/// Why there is no plan: everything that stands in the way, one sentence a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PlanError(pub Vec<Obstacle>);

impl From<Obstacle> for PlanError {
    fn from(obstacle: Obstacle) -> Self {
        Self(vec![obstacle])
    }
}

/// Something that stands in the way of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Not in the fleet file.
    UnknownNode {
        node: NodeName,
    },
    /// Not active in the roster.
    NotEnrolled {
        node: NodeName,
    },
    /// The fleet file and the roster disagree about what the node is.
    RosterDiffers {
        node: NodeName,
        what: &'static str,
        file: String,
        roster: String,
    },
    NotConnected {
        node: NodeName,
    },
    /// The version that runs there is not known.
    VersionUnknown {
        node: NodeName,
    },
    /// Its settings are written by the tools of the version that runs.
    RunsOther {
        node: NodeName,
        runs: Version,
        fleet: Version,
    },
    Downgrade {
        node: NodeName,
        runs: Version,
        to: Version,
    },
    /// A server takes one minor version at a time.
    SkippedMinor {
        node: NodeName,
        runs: Version,
        to: Version,
        /// The minor versions on the way, in order.
        through: Vec<u16>,
    },
    /// A worker's kubelet would be too far behind servers of that version.
    TooFarBehind {
        node: NodeName,
        runs: Version,
        to: Version,
        /// How many minor versions it may be behind.
        limit: u16,
        /// The minor versions on the way, in order.
        through: Vec<u16>,
    },
    /// This server would be more than one minor version behind the others.
    ServersApart {
        server: NodeName,
        runs: Version,
        to: Version,
    },
    /// What joins would be too old for this server.
    JoinsTooOld {
        version: Version,
        server: NodeName,
        runs: Version,
        limit: u16,
    },
    /// A worker would run a newer version than this server.
    ServerOlder {
        server: NodeName,
        runs: Version,
        to: Version,
    },
    Quarantined {
        node: NodeName,
        version: Version,
        reason: String,
    },
    CordonedByOther {
        node: NodeName,
        owner: String,
    },
    /// A verdict over its facts forbids it.
    Critical {
        node: NodeName,
        why: String,
    },
    /// One of two servers: without it there is no majority.
    Majority {
        node: NodeName,
    },
    /// Another server is away: without this one too, etcd has no majority.
    Quorum {
        server: NodeName,
        quorum: Quorum,
    },
    /// It is to be given up, and too few servers are left to do it.
    NoMajority {
        node: NodeName,
        quorum: Quorum,
    },
    /// It is to be given up, and is the only server.
    OnlyServer(NodeName),
    /// No control-plane node can perform the tasks.
    NoServer {},
    /// The cluster exists already.
    AlreadyBootstrapped {
        node: NodeName,
    },
    /// The node is in the cluster already.
    AlreadyJoined(NodeName),
    /// The node is a machine outside the cluster.
    IsHost(NodeName),
    /// The node is not in the cluster.
    NotAMember {
        node: NodeName,
    },
    /// Machines have one id, as copied disks do: which of these Node objects is the node's is not known.
    Ambiguous {
        node: NodeName,
        names: Vec<NodeName>,
    },
    /// The cluster knows it under that name, and which machine enrolled as it is not shown.
    MachineUnproved {
        node: NodeName,
        name: NodeName,
    },
    /// The fleet file has no such artifact.
    NoArtifact {
        name: String,
        version: Version,
        arch: Arch,
    },
    /// The version's form belongs to another distribution.
    WrongForm {
        version: Version,
        distribution: Distribution,
    },
    /// The fleet file does not say with what this distribution makes a cluster.
    NoSettings {
        distribution: Distribution,
    },
    /// Nothing takes snapshots of what this distribution keeps its cluster in.
    NoSnapshots {
        distribution: Distribution,
    },
    /// It was taken of a newer version than what runs, or of a far older one.
    SnapshotUnfit {
        name: SnapshotName,
        taken: Version,
        runs: Version,
    },
    /// A server that a restore would leave as it is, in the fleet file or not: it may hold a cluster of its own.
    LeftOut {
        node: NodeName,
        is_in_file: bool,
    },
    /// Another plan changes members of the cluster, or what they run.
    AtWork {
        running: Seq,
        title: String,
    },
    /// It is no server of the cluster.
    NoEtcd(NodeName),
    /// The fleet file says where credentials of registries lie, and nobody sealed them to the node.
    NotSealed(NodeName),
    /// What is written for a node from the fleet file does not fit into a plan.
    ConfigTooLong {
        node: NodeName,
        bytes: usize,
    },
    /// The fleet file does not say where the others reach this server.
    NoAddress {
        node: NodeName,
    },
    NothingToDo {
        why: String,
    },
    /// A node stands twice in the request.
    NamedTwice(NodeName),
    /// More running rollouts than one plan may stand beside.
    TooManyRunning {
        found: usize,
        limit: usize,
    },
    /// It is to be given up, and something of it is alive.
    Alive {
        node: NodeName,
        sign: &'static str,
        /// What is done with one that lives.
        instead: &'static str,
    },
    /// It is silent, and nobody says how it was proved that its machine is off.
    PowerNotProved {
        node: NodeName,
        command: &'static str,
    },
    /// The last server of a cluster stays.
    LastServer {
        node: NodeName,
    },
    /// The others would be no majority any more.
    TooFewLeft {
        node: NodeName,
        left: Quorum,
    },
    /// Everybody reaches the API server at this node's own address.
    EndpointThere {
        node: NodeName,
        api: String,
    },
    /// Nothing of it is in the cluster.
    NothingToReplace {
        node: NodeName,
    },
    /// What is wanted is not built for this distribution.
    NotOfDistribution {
        distribution: Distribution,
        what: &'static str,
        instead: &'static str,
    },
    /// No drain of these nodes is open, or not the one that was named.
    NothingToContinue {
        nodes: Vec<NodeName>,
        named: Option<String>,
    },
    /// The nodes are in several open drains, and a plan goes on with one.
    ContinuesSeveral {
        plans: Vec<Seq>,
    },
    /// Of an update of machines' systems.
    Update(UpdateObstacle),
    Window(WindowObstacle),
    /// A plan of the future's numbering.
    NotTheNext {
        seq: Seq,
        running: Seq,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::UnknownNode { node } => {
                write!(f, "{node} is not in the fleet file; add it, or see `hostler nodes`")
            }
            Obstacle::NotEnrolled { node } => {
                write!(f, "{node} is no active node of the roster; enrol it (a retired one anew), or leave it out")
            }
            Obstacle::RosterDiffers { node, what, file, roster } => write!(
                f,
                "{node}: the fleet file says {what} {file}, the roster says {roster}; correct the file or enrol the \
                    node again"
            ),
            Obstacle::NotConnected { node } => {
                write!(f, "{node} is not connected; check its power and network, or leave it out")
            }
            Obstacle::VersionUnknown { node } => {
                write!(
                    f,
                    "the version that runs on {node} is not known; wait until a server reports it, or leave it out"
                )
            }
            Obstacle::Downgrade { node, runs, to } => {
                write!(f, "{node} runs {runs}, and {to} is older; Kubernetes cannot go back, restore a backup instead")
            }
            Obstacle::SkippedMinor { node, runs, to, through } => {
                write!(f, "{node} runs {runs}, and {to} skips a minor version; go to {}", way(*runs, through))
            }
            Obstacle::TooFarBehind { node, runs, to, limit, through } => write!(
                f,
                "{node} runs {runs}, and a worker of that version may be {limit} minor versions behind its servers, \
                    not behind {to}; bring it to {}",
                way(*runs, through)
            ),
            Obstacle::ServersApart { server, runs, to } => write!(
                f,
                "the server {server} runs {runs}, and servers may be one minor version apart, not as far as {to}; \
                    upgrade {server} first or with them"
            ),
            Obstacle::JoinsTooOld { version, server, runs, limit } => write!(
                f,
                "what joins gets {version}, and the server {server} runs {runs}: it may be {limit} minor versions \
                    behind at most; write a newer version into the fleet file"
            ),
            Obstacle::ServerOlder { server, runs, to } => write!(
                f,
                "workers cannot run {to} while the server {server} runs {runs}; upgrade {server} first or with them"
            ),
            Obstacle::Quarantined { node, version, reason } => write!(
                f,
                "{node} failed on {version} before ({reason}); release the quarantine, or leave quarantined nodes out"
            ),
            Obstacle::CordonedByOther { node, owner } => {
                write!(
                    f,
                    "{owner} cordoned {node}, and Hostler does not undo that; uncordon it with kubectl, take it over \
                     with `hostler node adopt-cordon {node}`, or leave it out"
                )
            }
            Obstacle::Critical { node, why } => write!(f, "{node} is in a critical state: {why}; or leave {node} out"),
            Obstacle::Majority { node } => write!(
                f,
                "{node} is one of two servers, and without it the cluster's API is down; accept the outage of {node} \
                    by name"
            ),
            Obstacle::Quorum { server, quorum } => write!(
                f,
                "{}; bring the server back that is not Ready, or remove it (`hostler node remove`)",
                quorum.without(server)
            ),
            Obstacle::NoMajority { node, quorum } => write!(
                f,
                "{node} cannot be given up: {quorum} where {} are needed, so that the API server takes no change; \
                 bring another server back first, or restore etcd from a snapshot: `hostler cluster restore`",
                quorum.needed()
            ),
            Obstacle::OnlyServer(node) => write!(
                f,
                "{node} is the only server: without it nobody can mark a node or start a pod elsewhere; bring the \
                 machine back, or restore the cluster's database from its backup on another one"
            ),
            Obstacle::NoServer {} => f.write_str(
                "no server of the cluster is connected that could perform this; bootstrap or connect one first",
            ),
            Obstacle::AlreadyBootstrapped { node } => {
                write!(f, "the cluster exists: {node} is in it; join other nodes instead of bootstrapping")
            }
            Obstacle::AlreadyJoined(node) => write!(
                f,
                "{node} is in the cluster already; leave it out. A join that failed half way is undone with `hostler \
                 node remove {node}`; a machine that takes its place comes in with `hostler node replace {node}`"
            ),
            Obstacle::IsHost(node) => write!(f, "{node} is a host, outside the cluster; name nodes of the cluster"),
            Obstacle::NotAMember { node } => write!(f, "{node} is not in the cluster; join it first, or leave it out"),
            Obstacle::Ambiguous { node, names } => {
                let names = names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{node} has a machine id that others have too, as copied disks do, and may be any of {names} in \
                     the cluster; give each machine an id of its own (`systemd-machine-id-setup` after removing \
                     /etc/machine-id) and enrol {node} again, or leave it out"
                )
            }
            Obstacle::MachineUnproved { node, name } => write!(
                f,
                "the coordinator says that {node} is {name} in the cluster, and does not show the enrolment that the \
                 roster has of {node} with its machine id; enrol the machine as {name} and name it so in the fleet \
                 file, or leave it out"
            ),
            Obstacle::NoArtifact { name, version, arch } => write!(
                f,
                "the fleet file has no artifact {name} {version} for {arch}; add an [[artifacts]] with its sha256 and \
                    size"
            ),
            Obstacle::WrongForm { version, distribution } => {
                write!(f, "{version} is not a version of {distribution}; write it as its releases do")
            }
            Obstacle::NoSnapshots { distribution } => {
                write!(f, "snapshots are taken of etcd in static pods, and {distribution} runs none; use its own means")
            }
            Obstacle::SnapshotUnfit { name, taken, runs } => write!(
                f,
                "snapshot {name} was taken at {taken}, expected one of {runs} or of the minor version before it: take \
                 another (`hostler snapshot list`), or restore it on that version and upgrade then"
            ),
            Obstacle::LeftOut { node, is_in_file } => {
                let (what, next) = match is_in_file {
                    true => ("is not connected", "check its power and network"),
                    false => ("is an active server of the roster and not in the fleet file", "write it there again"),
                };
                write!(
                    f,
                    "{node} {what}; left out of a restore it may go on with the cluster as it is, beside the restored \
                     one: {next}, or prove that its power is off, retire it (`hostler node retire {node}`) and only \
                     then leave it out of the fleet file"
                )
            }
            Obstacle::AtWork { running, title } => write!(
                f,
                "plan {running} is not over ({title}), and under it etcd is not exchanged: let it end, or stop it \
                 (`hostler stop {running}`)"
            ),
            Obstacle::NoEtcd(node) => {
                write!(f, "{node} is no server of the cluster and has no etcd; name a server, or none")
            }
            Obstacle::RunsOther { node, runs, fleet } => write!(
                f,
                "{node} runs {runs} and the fleet file says {fleet}: settings are written for the version that runs; \
                 upgrade it first, or write version = \"{runs}\" meanwhile"
            ),
            Obstacle::NoSettings { distribution } => write!(
                f,
                "the fleet file does not say with what the cluster is made; write [{distribution}] with its networks, \
                 see docs/fleet-file.md"
            ),
            Obstacle::NotSealed(node) => {
                write!(
                    f,
                    "the credentials of {node}'s registries are not sealed to it; plan with the `hostler` command"
                )
            }
            Obstacle::ConfigTooLong { node, bytes } => write!(
                f,
                "the configuration of {node} would have {bytes} bytes, and a plan holds 65536 of each; say less in the \
                 fleet file"
            ),
            Obstacle::NoAddress { node } => write!(
                f,
                "the fleet file has no address for the server {node}; write address = the one at which the other nodes \
                 reach it"
            ),
            Obstacle::NothingToDo { why } => write!(f, "nothing to do: {why}"),
            Obstacle::NamedTwice(node) => write!(f, "{node} is named twice; name it once"),
            Obstacle::TooManyRunning { found, limit } => write!(
                f,
                "{found} rollouts are not over, and a plan may stand beside {limit} at most; halt or finish some"
            ),
            Obstacle::Alive { node, sign, instead } => write!(
                f,
                "{node} is not dead: {sign}; {instead}, or switch it off and wait until its cluster says that it is \
                 not Ready"
            ),
            Obstacle::PowerNotProved { node, command } => write!(
                f,
                "{node} is silent in its cluster: nobody knows whether its pods still run. Prove that its power is off \
                 and say how: `hostler node {command} {node} --power-off-proof TEXT`; or bring it back first"
            ),
            Obstacle::LastServer { node } => {
                write!(f, "{node} is the only server: without it there is no cluster; join another server first")
            }
            Obstacle::TooFewLeft { node, left } => write!(
                f,
                "without {node} {left} and {} are needed; bring back the server that is not Ready, or remove that one \
                 first",
                left.needed()
            ),
            Obstacle::EndpointThere { node, api } => write!(
                f,
                "everybody reaches the cluster at {api}, which is {node} itself; let the endpoint lead to another \
                 server first"
            ),
            Obstacle::NothingToReplace { node } => {
                write!(f, "{node} is not in the cluster; `hostler plan join {node}` lets its machine in")
            }
            Obstacle::NotOfDistribution { distribution, what, instead } => {
                write!(f, "Hostler does not {what} for {distribution} yet; {instead}")
            }
            Obstacle::NothingToContinue { nodes, named } => {
                let nodes = nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
                let which =
                    named.as_ref().map_or_else(|| "none".to_owned(), |named| format!("none that {named:?} names"));
                write!(
                    f,
                    "expected a plan whose drain of {nodes} is not done, found {which}; leave --continue out to drain \
                     anew, or see `hostler why`"
                )
            }
            Obstacle::ContinuesSeveral { plans } => {
                let plans: Vec<String> = plans.iter().map(|seq| format!("plan {seq}")).collect();
                write!(
                    f,
                    "these nodes are in several drains that are not done ({}), and a plan goes on with one; drain them \
                     one by one",
                    plans.join(", ")
                )
            }
            Obstacle::Update(why) => why.fmt(f),
            Obstacle::Window(why) => why.fmt(f),
            Obstacle::NotTheNext { seq, running } => {
                write!(f, "plan {running} is running, and {seq} is not higher; number the plan anew")
            }
        }
    }
}
