//! Programs that take long, each as a unit of its own: the machine finishes what a process of ours began.

use std::time::Duration;

/// A program to be run as a unit.
#[derive(Debug, Clone, Copy)]
pub struct UnitRun<'a> {
    /// The unit's name, such as `hostler-package.service`. At most one runs at a time.
    pub unit: &'a str,
    /// What it is run for, in one line: whoever finds the unit knows by this whether it is the run that it wants.
    pub purpose: &'a str,
    /// By its argument list, never through a shell.
    pub arguments: &'a [&'a str],
    /// It is ended after this.
    pub limit: Duration,
    pub reach: Reach,
}

/// Whom a program that runs as a unit may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Everybody,
    /// Nobody over a network: what it needs lies on the machine.
    Nobody,
}

/// A unit that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// [`UnitRun::purpose`].
    pub purpose: String,
    pub state: StartedState,
}

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartedState {
    Running,
    Ended(RunEnd),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Its exit code; none when a signal or the time limit ended it.
    pub code: Option<i32>,
    /// How, in words: `exit code 1`, `signal 9`, `time limit`.
    pub how: String,
    /// The end of what one that failed printed, standard output and errors as they came: at most 64 KiB.
    pub output: String,
}

impl RunEnd {
    /// Whether it ended well.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}
