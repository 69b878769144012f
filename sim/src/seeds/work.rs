//! What machines do: tick, lose power, take grants, perform steps.

use std::sync::Arc;

use hostler_plan::{
    document::Outcome,
    health::{Level, Rule},
    step::{AwaitReady, Step, k3s, kubeadm},
    version::Version,
};

use super::{
    Millis,
    coordinator::timestamp,
    machine::{Ended, Machine, Owner, TaskKey},
    network::{FromNode, ToNode},
    run::{Event, NODE_TICK, World},
};

/// What follows from a step.
enum Progress {
    /// The next half of a step comes after that many milliseconds.
    Next(Millis, Millis),
    /// Ask again later.
    Again,
    /// The machine went down with it.
    Gone,
    Failed(Outcome),
}

impl World {
    pub(super) fn node_tick(&mut self, node: usize) -> Result<(), String> {
        self.after(NODE_TICK, NODE_TICK, Event::NodeTick(node));
        if !self.machines[node].up {
            return Ok(());
        }
        if self.random.chance(self.profile.crashes) {
            self.power_off(node, 20_000, 200_000);
            self.summary.power_losses += 1;
            return Ok(());
        }
        if self.random.chance(self.profile.breaks) {
            self.disconnect(node);
            return Ok(());
        }
        if self.machines[node].connection.is_none() {
            return if self.coordinator.up { self.connect(node) } else { Ok(()) };
        }
        let boot = self.machines[node].boot;
        for (key, grant) in self.machines[node].performing.clone() {
            self.send_to_coordinator(node, &FromNode::Renew { key, grant, boot });
        }
        let receipts = &self.machines[node].receipts;
        let again: Vec<(TaskKey, Ended)> =
            receipts.iter().filter(|(_, e)| !e.acknowledged).map(|(k, e)| (*k, e.clone())).collect();
        for (key, ended) in again {
            self.send_to_coordinator(node, &FromNode::Receipt { key, ended });
        }
        self.illnesses(node);
        if self.machines[node].mute_until <= self.now {
            self.send_to_coordinator(node, &FromNode::Health(self.machines[node].vitals()));
        }
        // Two servers that read are enough to disagree.
        let reads = self.machines[node].is_server && self.machines[node].is_ready() && node < 2;
        if reads {
            let conditions = self.machines.iter().map(Machine::condition).collect();
            self.send_to_coordinator(node, &FromNode::Readings(conditions));
        }
        Ok(())
    }

    /// Hardware breaks, gets hot or is not known for a while, or its facts stop to come.
    fn illnesses(&mut self, node: usize) {
        if self.machines[node].sick.is_some() || !self.random.chance(self.profile.illnesses) {
            return;
        }
        let level = [Level::Degraded, Level::Critical, Level::Unknown][self.random.index(3)];
        match self.random.index(6) {
            0 => self.machines[node].mute_until = self.now + self.random.between(30_000, 500_000),
            1 => self.machines[node].disk_errors += 1,
            _ => self.fall_ill(node, Rule::PiTemperature, level, 400_000),
        }
    }

    fn fall_ill(&mut self, node: usize, rule: Rule, level: Level, longest: Millis) {
        self.machines[node].fall_ill(timestamp(self.now).unix_milliseconds(), rule, level);
        self.summary.illnesses += 1;
        self.after(20_000, longest, Event::Recovered(node));
    }

    /// Work may leave a node worse than it was, for a while or until somebody looks.
    fn sicken(&mut self, node: usize) {
        if !self.random.chance(self.profile.sickening_work) {
            return;
        }
        match self.random.index(4) {
            0 => self.machines[node].disk_errors += 1,
            1 => self.machines[node].mute_until = self.now + self.random.between(30_000, 500_000),
            _ => self.fall_ill(node, Rule::Memory, Level::Degraded, 600_000),
        }
    }

    /// The machine goes dark; what it was at is interrupted.
    fn power_off(&mut self, node: usize, shortest: Millis, longest: Millis) {
        self.disconnect(node);
        let machine = &mut self.machines[node];
        machine.up = false;
        machine.ready_since = None;
        for (key, _) in std::mem::take(&mut machine.performing) {
            if !machine.rebooting.contains_key(&key) {
                self.invariants.end(key, false);
            }
        }
        self.after(shortest, longest, Event::PowerBack(node));
    }

    pub(super) fn power_back(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        machine.up = true;
        machine.boot += 1;
        if machine.restarting && machine.rebooting.is_empty() {
            // The power went away in the middle of an upgrade: either binary may be the one that starts.
            machine.version = if self.random.chance(500) { self.versions.new } else { machine.version };
        }
        machine.restarting = false;
        machine.note_readiness(self.now);
        for (key, (_, grant)) in std::mem::take(&mut self.machines[node].rebooting) {
            self.sicken(node);
            self.finish(node, key, grant, vec!["host.reboot"], Outcome::Succeeded {});
        }
        Ok(())
    }

    pub(super) fn hear(&mut self, node: usize, connection: u64, message: ToNode) -> Result<(), String> {
        let machine = &mut self.machines[node];
        if !machine.up || machine.connection != Some(connection) {
            return Ok(());
        }
        match message {
            ToNode::Acknowledged { key } => {
                if let Some(ended) = machine.receipts.get_mut(&key) {
                    ended.acknowledged = true;
                }
                Ok(())
            }
            ToNode::Grant { key, grant } => {
                let known = &self.plans[key.0];
                if known.plan.seq > machine.highest {
                    machine.highest = known.plan.seq;
                    machine.open = known.plan.keeps_valid.iter().map(|b| b.digest).collect();
                    machine.open.insert(known.digest);
                } else if !machine.open.contains(&known.digest) {
                    return Ok(());
                }
                if let Some(ended) = machine.receipts.get_mut(&key) {
                    ended.acknowledged = false;
                } else if machine.rebooting.contains_key(&key) {
                    // Already on its way down.
                } else if let Some(current) = machine.performing.get_mut(&key) {
                    *current = grant.max(*current);
                } else {
                    self.invariants.begin(key, grant)?;
                    machine.performing.insert(key, grant);
                    let boot = machine.boot;
                    self.after(10, 500, Event::Work { node, boot, key, step: 0, begun: self.now });
                }
                Ok(())
            }
        }
    }

    fn finish(&mut self, node: usize, key: TaskKey, grant: u64, begun: Vec<&'static str>, outcome: Outcome) {
        self.invariants.end(key, outcome.is_success());
        let machine = &mut self.machines[node];
        machine.performing.remove(&key);
        machine.counter += 1;
        let ended = Ended { grant, outcome, begun, counter: machine.counter, acknowledged: false };
        machine.receipts.insert(key, ended.clone());
        self.send_to_coordinator(node, &FromNode::Receipt { key, ended });
    }

    /// Begins step `step`, which `begun` tells when it is waited for already.
    pub(super) fn work(
        &mut self,
        node: usize,
        boot: u64,
        key: TaskKey,
        step: usize,
        begun: Millis,
    ) -> Result<(), String> {
        let machine = &self.machines[node];
        let Some(&grant) = machine.performing.get(&key) else { return Ok(()) };
        if !machine.up || machine.boot != boot {
            return Ok(());
        }
        let known = Arc::clone(&self.plans[key.0]);
        let task = &known.plan.tasks[key.1];
        let ops: Vec<&'static str> = task.steps.iter().take(step / 2 + 1).map(Step::op).collect();
        let Some(doing) = task.steps.get(step / 2) else {
            self.finish(node, key, grant, ops, Outcome::Succeeded {});
            return Ok(());
        };
        // Machines like to die when something is asked of them.
        if self.random.chance(self.profile.crashes * 3) {
            self.power_off(node, 20_000, 200_000);
            self.summary.power_losses += 1;
            return Ok(());
        }
        let subject = self.machines.iter().position(|m| m.name == task.subject).ok_or("no such subject")?;
        let next = Event::Work { node, boot, key, step: step + 1, begun: self.now };
        let result = if step.is_multiple_of(2) {
            self.begin_step(subject, doing, key, grant)
        } else {
            self.end_step(subject, doing, begun)
        };
        match result {
            Progress::Next(low, high) => self.after(low, high, next),
            Progress::Again => self.after(2_000, 2_000, Event::Work { node, boot, key, step, begun }),
            Progress::Gone => {}
            Progress::Failed(outcome) => self.finish(node, key, grant, ops, outcome),
        }
        Ok(())
    }

    fn begin_step(&mut self, subject: usize, step: &Step, key: TaskKey, grant: u64) -> Progress {
        let now = self.now;
        let machine = &mut self.machines[subject];
        match step {
            Step::StageArtifact(_) => Progress::Next(500, 8_000),
            Step::Cordon(_) => {
                machine.cordon.get_or_insert(Owner::Hostler);
                Progress::Next(50, 500)
            }
            Step::Drain(_) => Progress::Next(1_000, 20_000),
            Step::UpgradeK3s(k3s::Upgrade { version, .. })
            | Step::EnsureKubelet(kubeadm::EnsureKubelet { version, .. }) => begin_upgrade(machine, *version, now),
            // The containers of a server's components are replaced, and its kubelet runs on.
            Step::UpgradeKubeadm(_) => Progress::Next(5_000, 60_000),
            Step::AwaitReady(_) => Progress::Next(500, 500),
            Step::Uncordon(_) => {
                if machine.cordon == Some(Owner::Hostler) {
                    machine.cordon = None;
                }
                Progress::Next(50, 500)
            }
            Step::OutOfService(_) if machine.up => {
                let reason = format!("{} is Ready, so it is not dead", machine.name);
                Progress::Failed(Outcome::Failed { reason })
            }
            Step::OutOfService(_) => Progress::Next(50, 500),
            Step::Reboot(_) => {
                machine.restarting = true;
                machine.rebooting.insert(key, (machine.boot, grant));
                self.power_off(subject, 5_000, 40_000);
                Progress::Gone
            }
            Step::Noop(_)
            | Step::EnsureFile(_)
            | Step::EnsureModule(_)
            | Step::EnsureSysctl(_)
            | Step::EnsurePackage(_)
            | Step::EnsureUnit(_)
            | Step::CurrentUnit(_)
            | Step::EnsureProgram(_)
            | Step::EnsureImages(_)
            | Step::InstallPackage(_)
            | Step::HoldPackage(_)
            | Step::SwapOff(_)
            | Step::EnsureHost(_)
            | Step::KernelArguments(_)
            | Step::BootKernel(_)
            | Step::FenceCloudInit(_)
            | Step::NamedInitiator(_)
            | Step::LastingNetwork(_)
            | Step::SetSshd(_)
            | Step::EnsureRegistry(_)
            | Step::ForgetRegistries(_)
            | Step::BootstrapKubeadm(_)
            | Step::AdmitToKubeadm(_)
            | Step::JoinKubeadm(_)
            | Step::RevokeKubeadm(_)
            | Step::ExpelFromKubeadm(_)
            | Step::ResetKubeadm(_)
            | Step::RenewKubeadm(_)
            | Step::ReachKubeadm(_)
            | Step::CertifyKubeadm(_)
            | Step::ConfigureKubeadm(_)
            | Step::ConfigureKubelet(_)
            | Step::Describe(_)
            | Step::RemoveNode(_)
            | Step::SnapshotEtcd(_)
            | Step::ReadCluster(_)
            | Step::ReadUpdates(_)
            | Step::InstallUpdates(_)
            | Step::RunsKernel(_)
            | Step::NoRemovedApis(_)
            | Step::ReceiveEtcd(_)
            | Step::StopEtcd(_)
            | Step::RestoreEtcd(_)
            | Step::StartEtcd(_)
            | Step::SeedEtcd(_)
            | Step::BareOfKubeadm(_)
            | Step::ForgetNodes(_)
            | Step::Apply(_)
            | Step::BootstrapK3s(_)
            | Step::AdmitToK3s(_)
            | Step::JoinK3s(_)
            | Step::AdoptCordon(_)
            | Step::ReleaseCordon(_) => begin_other(step),
        }
    }

    fn end_upgrade(&mut self, subject: usize, version: Version) -> Progress {
        let now = self.now;
        let fails = self.random.chance(self.profile.failing_upgrades);
        let breaks = self.random.chance(self.profile.breaking_upgrades);
        let machine = &mut self.machines[subject];
        machine.restarting = false;
        if machine.version == version {
            machine.note_readiness(now);
            return Progress::Next(10, 10);
        }
        if !fails {
            machine.version = version;
        }
        machine.broken = breaks;
        machine.note_readiness(now);
        self.sicken(subject);
        if breaks {
            self.after(60_000, 300_000, Event::Repaired(subject));
        }
        if fails {
            let reason = format!("runs {} after the restart, expected {version}", self.versions.old);
            return Progress::Failed(Outcome::Failed { reason });
        }
        Progress::Next(10, 10)
    }

    /// kubeadm's part of an upgrade may fail too, before its kubelet is touched.
    fn end_control_plane(&mut self, subject: usize) -> Progress {
        if !self.random.chance(self.profile.failing_upgrades) {
            return Progress::Next(10, 10);
        }
        let reason = format!("kubeadm upgrade on {} ended with exit code 1", self.machines[subject].name);
        Progress::Failed(Outcome::Failed { reason })
    }

    fn end_step(&mut self, subject: usize, step: &Step, begun: Millis) -> Progress {
        let now = self.now;
        match step {
            Step::Drain(_) => self.end_drain(subject),
            Step::UpgradeK3s(k3s::Upgrade { version, .. })
            | Step::EnsureKubelet(kubeadm::EnsureKubelet { version, .. }) => self.end_upgrade(subject, *version),
            Step::UpgradeKubeadm(_) => self.end_control_plane(subject),
            Step::AwaitReady(AwaitReady { version, for_seconds, timeout_seconds }) => {
                let machine = &self.machines[subject];
                let soaked = machine.ready_since.is_some_and(|since| now - since >= for_seconds * 1000);
                if soaked && version.is_none_or(|v| v == machine.version) {
                    Progress::Next(10, 10)
                } else if now - begun > timeout_seconds * 1000 {
                    Progress::Failed(Outcome::TimedOut { reason: format!("not Ready within {timeout_seconds} s") })
                } else {
                    Progress::Again
                }
            }
            Step::Noop(_)
            | Step::StageArtifact(_)
            | Step::EnsureFile(_)
            | Step::EnsureModule(_)
            | Step::EnsureSysctl(_)
            | Step::EnsurePackage(_)
            | Step::EnsureUnit(_)
            | Step::CurrentUnit(_)
            | Step::EnsureProgram(_)
            | Step::EnsureImages(_)
            | Step::InstallPackage(_)
            | Step::HoldPackage(_)
            | Step::SwapOff(_)
            | Step::EnsureHost(_)
            | Step::KernelArguments(_)
            | Step::BootKernel(_)
            | Step::FenceCloudInit(_)
            | Step::NamedInitiator(_)
            | Step::LastingNetwork(_)
            | Step::SetSshd(_)
            | Step::EnsureRegistry(_)
            | Step::ForgetRegistries(_)
            | Step::BootstrapKubeadm(_)
            | Step::AdmitToKubeadm(_)
            | Step::JoinKubeadm(_)
            | Step::RevokeKubeadm(_)
            | Step::ExpelFromKubeadm(_)
            | Step::ResetKubeadm(_)
            | Step::RenewKubeadm(_)
            | Step::ReachKubeadm(_)
            | Step::CertifyKubeadm(_)
            | Step::ConfigureKubeadm(_)
            | Step::ConfigureKubelet(_)
            | Step::Describe(_)
            | Step::RemoveNode(_)
            | Step::SnapshotEtcd(_)
            | Step::ReadCluster(_)
            | Step::ReadUpdates(_)
            | Step::InstallUpdates(_)
            | Step::RunsKernel(_)
            | Step::NoRemovedApis(_)
            | Step::ReceiveEtcd(_)
            | Step::StopEtcd(_)
            | Step::RestoreEtcd(_)
            | Step::StartEtcd(_)
            | Step::SeedEtcd(_)
            | Step::BareOfKubeadm(_)
            | Step::ForgetNodes(_)
            | Step::Apply(_)
            | Step::BootstrapK3s(_)
            | Step::AdmitToK3s(_)
            | Step::JoinK3s(_)
            | Step::Cordon(_)
            | Step::Uncordon(_)
            | Step::AdoptCordon(_)
            | Step::ReleaseCordon(_)
            | Step::OutOfService(_)
            | Step::Reboot(_) => Progress::Next(10, 10),
        }
    }

    fn end_drain(&mut self, subject: usize) -> Progress {
        if self.random.chance(self.profile.blocked_drains) {
            // The executor undoes its cordon when it still can.
            if self.random.chance(500) && self.machines[subject].cordon == Some(Owner::Hostler) {
                self.machines[subject].cordon = None;
            }
            let reason = "budget shop/web (needs 2, has 2) holds shop/web-2".to_owned();
            return Progress::Failed(Outcome::Blocked { reason, blockers: Vec::new() });
        }
        if !self.machines[subject].up {
            return Progress::Failed(Outcome::Unreachable { reason: "the subject is silent".to_owned() });
        }
        Progress::Next(10, 10)
    }
}

/// What a machine is made ready by before it is upgraded succeeds; the others have no place in these worlds.
fn begin_other(step: &Step) -> Progress {
    let prepares = matches!(
        step,
        Step::EnsureFile(_)
            | Step::EnsureModule(_)
            | Step::EnsureSysctl(_)
            | Step::EnsurePackage(_)
            | Step::EnsureUnit(_)
            | Step::CurrentUnit(_)
            | Step::EnsureProgram(_)
            | Step::EnsureImages(_)
            | Step::InstallPackage(_)
            | Step::HoldPackage(_)
            | Step::SwapOff(_)
            | Step::EnsureHost(_)
            | Step::KernelArguments(_)
            | Step::BootKernel(_)
            | Step::FenceCloudInit(_)
            | Step::NamedInitiator(_)
            | Step::LastingNetwork(_)
            | Step::SetSshd(_)
            | Step::EnsureRegistry(_)
            | Step::ForgetRegistries(_)
    );
    match prepares {
        true => Progress::Next(50, 5_000),
        false => Progress::Failed(Outcome::Failed { reason: format!("{} is not simulated here", step.op()) }),
    }
}

/// The program is replaced, and the node restarts with it; what runs that version already goes on.
fn begin_upgrade(machine: &mut Machine, version: Version, now: u64) -> Progress {
    if machine.version == version {
        return Progress::Next(50, 500);
    }
    machine.restarting = true;
    machine.note_readiness(now);
    Progress::Next(2_000, 20_000)
}
