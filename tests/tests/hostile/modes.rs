//! What a mode is, and the stage that it plays on.

use hostler_fixtures as made;
use hostler_plan::{
    document::{
        Artifact as PlannedArtifact, DocumentKind, Outcome, Plan, PlanKind, Receipt, Root, Roster, Signed, Strategy,
        Task,
    },
    id::Digest,
    json,
    refusal::Refusal,
    step::{EnsureFile, Step},
    timestamp::Timestamp,
};
use hostler_proto::v1::{self, to_agent::Message};
use ssh_key::PrivateKey;

use crate::{
    PATIENCE,
    coordinator::{Heard, Line},
    machine::{Peaks, Tree},
    raw::Raw,
    victim::{Running, World},
};

/// One try.
#[derive(Clone)]
pub(crate) struct Mode {
    pub name: &'static str,
    /// Which rule it attacks.
    pub rule: &'static str,
    pub play: fn(&mut Scene<'_>),
    pub expected: Expected,
    /// Whether what the node holds must be the same afterwards, byte for byte; a document that counts changes it.
    pub keeps_state: bool,
}

/// What the node must do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    Refused(Refusal),
    Nothing,
    HungUp,
    /// It closes the connection over which HTTP/2 was spoken wrongly, by itself.
    Cut,
    /// It takes all of it, and comes back when the connection is closed.
    Borne,
    /// The connection is over, whoever was first to close it.
    Over,
    /// A task of the attacker's ends with this outcome and has done nothing.
    Ended(&'static str),
}

/// How a file is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Artifact {
    Swapped,
    Cut,
    Extended,
    Endless,
    /// A byte a second.
    Slow,
    /// Chunks without end that hold nothing.
    Empty,
    /// A chunk longer than a message may be.
    Huge,
    /// The call is never answered.
    Silent,
}

/// The bytes that the plan names.
pub(crate) const PROGRAM: &[u8] = b"a program that an admin signed";

impl Artifact {
    /// Between two chunks.
    pub(crate) fn pause(self) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(self == Artifact::Slow))
    }

    /// What comes after so many bytes; none at the end.
    pub(crate) fn chunk(self, sent: usize) -> Option<Vec<u8>> {
        let whole = match self {
            Artifact::Swapped => b"another program of that length".to_vec(),
            Artifact::Cut => PROGRAM[..PROGRAM.len() / 2].to_vec(),
            Artifact::Extended => [PROGRAM, b" and more"].concat(),
            Artifact::Endless => return Some(vec![0; 4096]),
            Artifact::Slow => PROGRAM[..PROGRAM.len().min(sent + 1)].to_vec(),
            Artifact::Empty => return Some(Vec::new()),
            Artifact::Huge => vec![0; 3 << 20],
            Artifact::Silent => return None,
        };
        whole.get(sent..).filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec)
    }
}

/// A node that holds root 2, the newest roster and an honest plan that it has performed, and the attacker's end of it.
pub(crate) struct Scene<'a> {
    pub world: &'a World,
    line: Line,
    server: tokio::task::JoinHandle<()>,
    node: Running,
    queue: Vec<Option<Message>>,
    tree: Tree,
    held_before_honest: Vec<u8>,
    pub now: Timestamp,
}

impl<'a> Scene<'a> {
    pub(crate) async fn new(world: &'a World) -> Self {
        let line = Line::default();
        let server = line.serve(&world.data, world.agents).await;
        let node = world.victim().await;
        let scene = Self {
            world,
            line,
            server,
            node,
            queue: Vec::new(),
            tree: world.tree(),
            held_before_honest: Vec::new(),
            now: hostler_cli::admin::now(),
        };
        scene.until(|heard| heard.opened > 0, "the node connects").await;
        scene
    }

    async fn until(&self, ready: impl Fn(&Heard) -> bool, what: &str) {
        let wait = async {
            while !ready(&self.line.heard()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}: {:?}", self.line.heard());
    }

    pub(crate) fn heard(&self) -> Heard {
        self.line.heard()
    }

    /// What the node holds, as its disk says.
    pub(crate) fn held(&self) -> Vec<u8> {
        self.world.held()
    }

    pub(crate) fn held_before_honest(&self) -> &[u8] {
        &self.held_before_honest
    }

    /// Puts a message into the order of what is said.
    pub(crate) fn say(&mut self, message: Message) {
        self.queue.push(Some(message));
    }

    /// Puts messages into that order that hold nothing.
    pub(crate) fn say_nothing(&mut self, times: usize) {
        self.queue.extend(std::iter::repeat_with(|| None).take(times));
    }

    /// Ends the stream with an error, and waits until the node is back.
    pub(crate) async fn break_off(&self) {
        let opened = self.line.heard().opened;
        self.line.break_off().await;
        self.until(|heard| heard.opened > opened, "the node comes back").await;
    }

    /// Ends the stream; the node's next connection is spoken to like this.
    pub(crate) fn speak(&self, raw: Raw) {
        self.line.next_connection(raw);
    }

    pub(crate) fn offer(&mut self, plan: &Signed) {
        self.say(Message::Plan(plan.clone().into()));
    }

    pub(crate) fn offer_trust(&mut self, roots: Vec<Signed>, roster: Option<Signed>) {
        let roots = roots.into_iter().map(Into::into).collect();
        self.say(Message::Trust(v1::TrustChain { roots, roster: roster.map(Into::into) }));
    }

    /// Grants a task, with these receipts.
    pub(crate) fn grant(&mut self, plan: &Signed, task: &str, receipts: Vec<Signed>) {
        self.grant_with(plan.digest(), task, 7, 600, receipts);
    }

    pub(crate) fn grant_with(
        &mut self,
        plan: Digest,
        task: &str,
        grant: u64,
        lease_seconds: u64,
        receipts: Vec<Signed>,
    ) {
        let receipts = receipts.into_iter().map(Into::into).collect();
        let plan = plan.to_string();
        self.say(Message::Grant(v1::TaskGrant {
            plan,
            task: task.to_owned(),
            grant,
            lease_seconds,
            receipts,
            ..v1::TaskGrant::default()
        }));
    }

    /// From then on artifacts are served like this.
    pub(crate) fn serve(&self, artifact: Artifact) {
        self.line.serve_artifact(artifact);
    }

    pub(crate) async fn say_all(&mut self) {
        for message in std::mem::take(&mut self.queue) {
            self.line.say(message).await;
        }
    }

    /// The next honest plan, which the same node must perform.
    pub(crate) async fn honest(&mut self) -> Result<(), String> {
        // A node that hung up comes back first.
        self.until(|heard| heard.opened > heard.ended, "the node comes back").await;
        let answered = self.line.heard();
        if self.refusals_are_still_coming(&answered) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        self.held_before_honest = self.held();
        let honest = self.world.plan(HONEST, |plan| {
            plan.tasks = vec![made::task("w1.honest", "w1", &[], vec![self.world.file("honest")])];
        });
        self.offer_trust(Vec::new(), Some(self.world.roster.clone()));
        self.offer(&honest);
        self.grant_with(honest.digest(), "w1.honest", 900, 600, Vec::new());
        self.say_all().await;
        let performed = |heard: &Heard| {
            let receipts = heard.receipts.iter().filter_map(|r| json::parse::<Receipt>(&r.bytes).ok());
            receipts.into_iter().any(|r| r.plan == honest.digest() && r.outcome.is_success())
        };
        let wait = async {
            while !performed(&self.line.heard()) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(()) => Ok(()),
            Err(_) => Err(format!("the next honest plan did not work: {:?}", self.line.heard())),
        }
    }

    fn refusals_are_still_coming(&self, heard: &Heard) -> bool {
        heard.refusals.is_empty()
    }

    /// What is otherwise on its machine than the honest plan made it.
    pub(crate) fn touched(&self) -> Option<String> {
        let (before, mut after) = (&self.tree, self.world.tree());
        if !after.remove_file(&self.world.host_path("honest"), b"honest") {
            return Some("the honest plan's file is missing".to_owned());
        }
        (*before != after).then(|| before.difference(&after))
    }

    fn evil_receipts(&self) -> impl Iterator<Item = Receipt> {
        let heard = self.line.heard();
        let receipts: Vec<Receipt> = heard.receipts.iter().filter_map(|r| json::parse(&r.bytes).ok()).collect();
        receipts.into_iter().filter(|r| r.task.to_string().contains("evil"))
    }

    pub(crate) fn evil_outcomes(&self) -> Vec<String> {
        self.evil_receipts().map(|r| r.outcome.word().to_owned()).collect()
    }

    /// Ends the node and the coordinator; the place is free for the next ones. Gives what memory it took at most.
    pub(crate) async fn end(self) -> Peaks {
        let peaks = self.node.end().await;
        self.server.abort();
        let _ = self.server.await;
        peaks
    }

    pub(crate) fn succeeded_in_evil(&self) -> Option<String> {
        self.evil_receipts().find(|r| r.outcome.is_success()).map(|r| r.task.to_string())
    }
}

/// The number of the honest plan that comes after every try; the tries have lower ones.
pub(crate) const HONEST: u64 = 500;
/// The number of the honest plan that the node has performed.
pub(crate) const PERFORMED: u64 = 41;

/// Everything that the attacker has in hand, and the admin's own key, with which honest documents are made that it
/// holds back or sends at the wrong time.
impl World {
    /// A plan with one task of w1 that would touch its machine, changed, and signed by the admin.
    pub(crate) fn plan(&self, seq: u64, change: impl FnOnce(&mut Plan)) -> Signed {
        self.plan_by(seq, &[&self.anna], change)
    }

    pub(crate) fn plan_by(&self, seq: u64, keys: &[&PrivateKey], change: impl FnOnce(&mut Plan)) -> Signed {
        made::signed(DocumentKind::Plan, &self.planned(seq, change), keys)
    }

    pub(crate) fn planned(&self, seq: u64, change: impl FnOnce(&mut Plan)) -> Plan {
        let roster: Roster = json::parse(&self.roster.bytes).unwrap();
        let now = hostler_cli::admin::now().whole_seconds();
        let mut plan = Plan {
            kind: PlanKind::Upgrade,
            strategy: Strategy { max_unavailable: 1, soak_seconds: 1, lease_seconds: 600 },
            tasks: vec![self.evil()],
            ..made::plan(&roster, now, seq)
        };
        change(&mut plan);
        plan.targets.retain(|target| plan.tasks.iter().any(|task| task.node == target.node));
        plan
    }

    /// What no node must do.
    pub(crate) fn evil(&self) -> Task {
        made::task("w1.evil", "w1", &[], vec![self.file("evil")])
    }

    pub(crate) fn file(&self, name: &str) -> Step {
        let path = self.host_path(name).parse().unwrap();
        Step::EnsureFile(EnsureFile { path, mode: "0644".parse().unwrap(), content: name.to_owned() })
    }

    pub(crate) fn root(&self) -> Root {
        json::parse(&self.roots[1].bytes).unwrap()
    }

    pub(crate) fn listed(&self) -> Roster {
        json::parse(&self.roster.bytes).unwrap()
    }

    /// What s1 would sign after a task.
    pub(crate) fn receipt_by(&self, key: &PrivateKey, plan: &Signed, task: &str, outcome: Outcome) -> Signed {
        let parsed: Plan = json::parse(&plan.bytes).unwrap();
        let receipt = Receipt { plan: plan.digest(), outcome, ..made::receipt(&parsed, task) };
        made::signed(DocumentKind::Receipt, &receipt, &[key])
    }

    pub(crate) fn artifact() -> PlannedArtifact {
        made::artifact("program", PROGRAM)
    }
}

pub(crate) const fn refused(
    name: &'static str,
    rule: &'static str,
    refusal: Refusal,
    play: fn(&mut Scene<'_>),
) -> Mode {
    Mode { name, rule, play, expected: Expected::Refused(refusal), keeps_state: true }
}

pub(crate) const fn ignored(name: &'static str, rule: &'static str, play: fn(&mut Scene<'_>)) -> Mode {
    Mode { name, rule, play, expected: Expected::Nothing, keeps_state: true }
}

/// A document that counts came before: what is held may be different, and the try still fails.
pub(crate) const fn after_a_change(mode: Mode) -> Mode {
    Mode { keeps_state: false, ..mode }
}
