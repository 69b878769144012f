//! The facts of the machine, read again and again for the network side.

use std::{sync::Arc, thread, time::Duration};

use hostler_plan::fact::Reading;
use tokio::sync::mpsc;

use crate::host::{Host, Waker};

/// What a report tells.
#[derive(Debug)]
pub struct Report {
    pub reading: Reading,
    /// Whether this machine has credentials for an API server.
    pub serves: bool,
}

/// Reads the facts again and again, at once and then at an interval, on a thread that sleeps in between.
///
/// It sleeps and not the link: a long timer of the link's runtime is sorted into ever finer parts of its wheel, and
/// each time the thread wakes up for nothing. That made most of an idle agent's context switches.
pub struct Reports {
    host: Arc<dyn Host>,
    interval: Duration,
    /// Ends the thread's sleep, and with it the thread.
    waker: Waker,
    reports: mpsc::Receiver<Report>,
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reports").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Reports {
    pub fn every(interval: Duration, host: Arc<dyn Host>) -> Self {
        let (sender, reports) = mpsc::channel(1);
        let waker = Waker::new();
        let (reader, ended) = (host.clone(), waker.clone());
        let read = move || {
            loop {
                let report = Report { reading: reader.read_facts(reader.now()), serves: reader.cluster().is_some() };
                if sender.blocking_send(report).is_err() || ended.wait(interval) {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("facts".into()).spawn(read) {
            tracing::warn!("starting the thread that reads facts failed: {error}; trying again");
        }
        Self { host, interval, waker, reports }
    }

    /// The next report when it is due. Nothing is lost when the caller stops waiting.
    pub async fn next(&mut self) -> Report {
        loop {
            if let Some(report) = self.reports.recv().await {
                return report;
            }
            // There is no thread: none could be had, or a reader panicked, which costs a report and not the connection.
            tokio::time::sleep(self.interval).await;
            *self = Self::every(self.interval, self.host.clone());
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.waker.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Weak, mpsc as plain};

    use super::*;
    use crate::testing::Machine;

    const LONG: Duration = Duration::from_secs(3600);

    fn machine() -> Arc<Machine> {
        Arc::new(Machine::new(crate::build_time()))
    }

    /// Waits until the thread has let go of its machine.
    fn gone(machine: Weak<Machine>) {
        let (sender, receiver) = plain::channel();
        thread::spawn(move || {
            while machine.strong_count() > 0 {
                thread::yield_now();
            }
            sender.send(())
        });
        receiver.recv_timeout(Duration::from_secs(30)).expect("the thread ends with its reports");
    }

    #[tokio::test]
    async fn the_first_report_comes_at_once_and_the_thread_ends_with_its_reports() {
        let machine = machine();
        let mut reports = Reports::every(LONG, machine.clone());
        let first = reports.next().await;
        assert!(!first.serves && first.reading.at_ms() > 0);
        let weak = Arc::downgrade(&machine);
        drop((machine, reports));
        gone(weak);
    }

    #[tokio::test]
    async fn reports_go_on_at_their_interval() {
        let mut reports = Reports::every(Duration::from_millis(1), machine());
        for _ in 0..3 {
            reports.next().await;
        }
    }
}
