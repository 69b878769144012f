//! The agent's own `/metrics`, for those who scrape their nodes themselves; nothing of it exists unless
//! `metrics_listen` is set. The series are those that the coordinator serves for this node, without `instance`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::fact::Reading;
use tokio::{net::TcpListener, sync::Mutex, time::Instant};

/// Two Prometheus servers that ask at once are given one reading; a person who asks again sees a new one.
const FRESH: Duration = Duration::from_secs(1);
/// An address may come up later than the agent, and a port may be let go of.
const BIND_AGAIN: Duration = Duration::from_secs(30);

/// Serves what `read` gives until this is dropped. A node is tended without its metrics: an address that cannot be had
/// is said once and tried again.
pub(crate) async fn serve<R: Future<Output = Option<Reading>> + Send>(
    address: SocketAddr,
    read: impl Fn() -> R + Send + Sync + 'static,
) {
    let mut said = SayOnce::default();
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                let text = format!(
                    "cannot serve /metrics on {address}: {error}; trying again, stop what uses it or set metrics_listen"
                );
                if said.is_news(&text) {
                    tracing::warn!("{text}");
                }
            }
        }
        tokio::time::sleep(BIND_AGAIN).await;
    };
    if let Ok(actual) = listener.local_addr() {
        tracing::info!("serving /metrics on {actual}");
    }
    let (read, last) = (Arc::new(read), Arc::new(Mutex::new(None)));
    hostler_daemon::http::serve(listener, move || text(read.clone(), last.clone())).await;
}

/// When it was read, and its text.
type Last = Mutex<Option<(Instant, String)>>;

async fn text<R: Future<Output = Option<Reading>>>(read: Arc<impl Fn() -> R>, last: Arc<Last>) -> Option<String> {
    let mut last = last.lock().await;
    let fresh = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
    if let Some((_, text)) = fresh {
        return Some(text.clone());
    }
    let text = read().await?.exposition(&[]);
    *last = Some((Instant::now(), text.clone()));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_facts::{Facts, Now, Source};
    use hostler_fixtures::recorded;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// One reading of a recorded machine, as `hostler-agent facts --root` takes it.
    fn reading() -> Reading {
        let machine = recorded::machine("pi5-nvme");
        let mut facts = Facts::new(Source::recorded(&machine).unwrap());
        facts.tick(Now { elapsed: Duration::ZERO, unix_ms: recorded::UNIX_MS });
        facts.wait_for_helpers(Duration::from_secs(20)).clone()
    }

    #[tokio::test]
    async fn a_text_is_that_of_the_facts_command_and_is_read_once_for_all_who_ask_together() {
        let wanted = reading().exposition(&[]);
        assert!(wanted.contains("\nhostler_rpi_throttled_state ") && wanted.contains("\nnvme_critical_warning{"));
        let reads = Arc::new(AtomicU64::new(0));
        let counted = reads.clone();
        let read = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Some(reading()))
        });
        let last = Arc::new(Last::default());
        let (one, other) = tokio::join!(text(read.clone(), last.clone()), text(read.clone(), last.clone()));
        assert_eq!((one.as_deref(), other.as_deref()), (Some(&*wanted), Some(&*wanted)));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        // Older than that it is read again.
        last.lock().await.as_mut().unwrap().0 = Instant::now().checked_sub(FRESH).unwrap();
        text(read, last).await.unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }
}
