//! What the executor's processor time goes to when a large plan arrives, and with each message about a plan that it
//! holds: from the bytes of the line that the agent sends to the leave to begin.

use std::{fmt::Write as _, time::Duration};

use anyhow::Context as _;
use hostler_executor::{
    disk::Disk,
    protocol::{Request, ToExecutor, lines},
    state_file::StateFile,
};
use hostler_fixtures as made;
use hostler_plan::{
    document::{DocumentKind, Signed, SignerRole},
    id::Arch,
    step::ClusterRole,
    timestamp::Timestamp,
    trust::{Clock, Granted, Identity, NodeState, Start, TrustedRoot},
};
use nix::time::{ClockId, clock_gettime};

use super::{plans::median, report::met};

/// All that a new plan costs its node.
const MOST: Duration = Duration::from_millis(20);

/// What was measured, in its order: what it is, how long each round took, and whether a new plan takes it.
struct Part {
    name: &'static str,
    times: Vec<Duration>,
    of_a_new_plan: bool,
}

/// The node `n2` of a fleet, which holds root and roster, and what it is sent: a plan in which every node does nothing,
/// each after the one before.
struct Node {
    me: Identity,
    clock: Clock,
    state: NodeState,
    plan: Signed,
    /// That `n1` has done its task.
    receipt: Signed,
}

impl Node {
    fn new(nodes: usize) -> anyhow::Result<Self> {
        anyhow::ensure!(nodes >= 2, "--nodes expected at least 2, found {nodes}");
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let (admin, own) = (made::fresh_key(), [made::fresh_key(), made::fresh_key()]);
        let keys = own.iter().map(made::public).chain((2..nodes).map(|_| made::public(&made::fresh_key())));
        let listed = keys.enumerate().map(|(n, key)| made::node(&format!("n{}", n + 1), key, ClusterRole::Worker));
        let root = made::root(now, vec![made::signer("ada", made::public(&admin), SignerRole::Admin)]);
        let roster = made::roster(&root, now, listed.collect());
        let plan = made::plan(&roster, now, 1);
        let receipt = made::signed(DocumentKind::Receipt, &made::receipt(&plan, "n1.check"), &[&own[0]]);
        let [root, roster, plan] = [
            made::signed(DocumentKind::Root, &root, &[&admin]),
            made::signed(DocumentKind::Roster, &roster, &[&admin]),
            made::signed(DocumentKind::Plan, &plan, &[&admin]),
        ];
        let me = Identity { node: made::name("n2"), key: made::public(&own[1]).fingerprint(), arch: Arch::Aarch64 };
        let clock = Clock { now: now.plus(Duration::from_secs(5)), synchronised: true };
        let state = NodeState::new(TrustedRoot::first(&root, &root.digest())?, now);
        let (state, _) = state.accept_roster(clock, &roster)?;
        Ok(Self { me, clock, state, plan, receipt })
    }

    fn granted(&self) -> Granted {
        Granted::new(self.plan.digest(), made::task_id("n2.check"), vec![self.receipt.clone()])
    }

    fn accept(&self, state: &NodeState, plan: &Signed) -> anyhow::Result<NodeState> {
        let accepted = state.accept_plan(self.clock, &self.me, plan)?;
        accepted.work?.context("the plan has no work for this node")?;
        Ok(accepted.state)
    }

    fn may_start(&self, state: &mut NodeState, granted: &mut Granted) -> anyhow::Result<()> {
        match state.may_start(self.clock, &self.me, granted) {
            Start::Now(_) => Ok(()),
            Start::Wait(why) => anyhow::bail!("the task waits: {why}"),
            Start::Never(why) => Err(why.into()),
        }
    }
}

/// Measures it for a plan of so many nodes.
pub(crate) fn measure(nodes: usize, rounds: usize) -> anyhow::Result<String> {
    anyhow::ensure!(rounds > 0, "--rounds expected at least 1, found 0");
    let node = Node::new(nodes)?;
    let line = lines::encode(&ToExecutor::Request(Request::Plan(node.plan.clone())))?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let disk = Disk::open(folder.path())?;
    let (mut file, _) = StateFile::open(&disk)?;
    file.store(&disk, &node.state, None)?;
    let mut held = node.accept(&node.state, &node.plan)?;
    let mut proved = node.granted();
    let grant = lines::encode(&ToExecutor::Request(Request::LeaseRenewed { grant: 1, lease_seconds: 60 }))?;

    let mut parts = vec![
        part("the agent's line is read", rounds, || lines::decode::<ToExecutor>(&line[..line.len() - 1]))?,
        part("the plan is verified: signatures, form, roster, tasks", rounds, || node.accept(&node.state, &node.plan))?,
        part("the state is written twice", rounds, || {
            // Between two plans: the file of a state that has none is another one.
            file.store(&disk, &held, None)
        })?,
        part("a grant: the receipts prove the order, and the rule is asked", rounds, || {
            node.may_start(&mut held, &mut node.granted())
        })?,
    ];
    parts.iter_mut().for_each(|part| part.of_a_new_plan = true);
    node.may_start(&mut held, &mut proved)?;
    parts.push(part("the same plan again", rounds, || node.accept(&held, &node.plan))?);
    parts.push(part("a lease is renewed", rounds, || lines::decode::<ToExecutor>(&grant[..grant.len() - 1]))?);
    parts.push(part("the rule is asked again", rounds, || node.may_start(&mut held, &mut proved))?);
    Ok(report(nodes, node.plan.bytes.len(), &parts))
}

/// Does it so often, and takes the processor time of this thread; what comes out is dropped outside of it.
fn part<T, E>(name: &'static str, rounds: usize, mut act: impl FnMut() -> Result<T, E>) -> anyhow::Result<Part>
where
    anyhow::Error: From<E>,
{
    let mut times = Vec::new();
    for _ in 0..rounds {
        let before = processor_time()?;
        let made = act()?;
        times.push(processor_time()? - before);
        drop(made);
    }
    Ok(Part { name, times, of_a_new_plan: false })
}

fn processor_time() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn report(nodes: usize, bytes: usize, parts: &[Part]) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let of = |part: &Part| median(&part.times).unwrap_or_default();
    let mut text = format!("a plan of {nodes} nodes, {bytes} bytes, on one of them\n\n");
    text.push_str("| processor time, median | ms |\n|---|---|\n");
    for part in parts {
        let _ = writeln!(text, "| {} | {:.3} |", part.name, ms(of(part)));
    }
    let sum = parts.iter().filter(|part| part.of_a_new_plan).map(of).sum();
    let _ = writeln!(
        text,
        "\na new plan with its grant, the first four: {:.1} ms, goal at most {} ms: {}",
        ms(sum),
        MOST.as_millis(),
        met(sum <= MOST)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_goes_all_the_way_and_only_what_a_new_one_takes_is_judged() {
        let text = measure(3, 1).unwrap();
        assert!(text.starts_with("a plan of 3 nodes"), "{text}");
        assert!(text.contains("goal at most 20 ms"), "{text}");
        let part = |of_a_new_plan| Part { name: "x", times: vec![Duration::from_millis(15)], of_a_new_plan };
        assert!(report(3, 1, &[part(true), part(false)]).contains("15.0 ms, goal at most 20 ms: met"));
        assert!(report(3, 1, &[part(true), part(true)]).contains("30.0 ms, goal at most 20 ms: missed"));
    }
}
