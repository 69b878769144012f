//! Just enough HTTP/1.1 to serve `/metrics`, for the coordinator and the agent: one request per connection, small
//! heads, short patience, no TLS. What is served is the caller's text in the Prometheus text format 0.0.4.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
};

/// Connections at the same time: a few Prometheus servers and a person. Others wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// A request of Prometheus has about 300 bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// A peer that takes longer than this for its request or our answer is cut off; Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// The text format's line of the head, as Prometheus wants it.
const CONTENT: &str = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";

/// Serves what `text` gives at the time of each request, until this is dropped. Without a text the answer is 503.
pub async fn serve<F, T>(listener: TcpListener, text: F)
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Option<String>> + Send,
{
    serve_within(listener, text, CONNECTIONS, PATIENCE).await;
}

async fn serve_within<F, T>(listener: TcpListener, text: F, connections: usize, patience: Duration)
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Option<String>> + Send,
{
    let permits = Arc::new(Semaphore::new(connections));
    let text = Arc::new(text);
    // Dropped with this future, and with it every connection that is still open.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: leave room for others to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let text = text.clone();
        connections.spawn(async move {
            // Whoever went away needs no answer.
            let _ = tokio::time::timeout(patience, answer(stream, &*text)).await;
            drop(permit);
        });
    }
}

/// One answer, before it is written.
struct Answer {
    status: &'static str,
    /// Further lines of the head, each with its end.
    head: &'static str,
    body: String,
    /// Whether the body goes out, or only its length.
    whole: bool,
}

impl Answer {
    fn refusal(status: &'static str, body: &str) -> Self {
        Self { status, head: "Content-Type: text/plain; charset=utf-8\r\n", body: body.to_owned(), whole: true }
    }
}

/// Answers the one request of a connection.
pub async fn answer<S, F, T>(mut stream: S, text: &F) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn() -> T,
    T: Future<Output = Option<String>>,
{
    let mut head = Vec::new();
    let too_long = loop {
        if head.windows(4).any(|w| w == b"\r\n\r\n") {
            break false;
        }
        if head.len() > MAX_HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            break true;
        }
    };
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default();
    let path = words.next().map(|target| target.split('?').next().unwrap_or_default());
    let mut answer = match (method, path) {
        _ if too_long => Answer::refusal("400 Bad Request", "expected a small HTTP request\n"),
        ("GET" | "HEAD", Some("/metrics")) => match text().await {
            Some(body) => Answer { status: "200 OK", head: CONTENT, body, whole: true },
            None => Answer::refusal("503 Service Unavailable", "there are no metrics now, try again\n"),
        },
        ("GET" | "HEAD", Some(_)) => Answer::refusal("404 Not Found", "metrics are at /metrics\n"),
        (_, None) => Answer::refusal("400 Bad Request", "expected a small HTTP request\n"),
        _ => Answer {
            head: "Content-Type: text/plain; charset=utf-8\r\nAllow: GET, HEAD\r\n",
            ..Answer::refusal("405 Method Not Allowed", "only GET and HEAD are served here\n")
        },
    };
    answer.whole = method != "HEAD";
    respond(&mut stream, &answer).await
}

async fn respond<S: AsyncWrite + Unpin>(stream: &mut S, answer: &Answer) -> std::io::Result<()> {
    let Answer { status, head, body, whole } = answer;
    let head = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    if *whole {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use std::net::SocketAddr;

    /// Serves that text, or nothing, until the test ends.
    async fn served(text: Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, move || async move { text.map(str::to_owned) }));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_served_and_everything_else_is_refused_by_name() {
        let address = served(Some("up 1\n")).await;
        let found = ask(address, "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with("\r\n\r\nup 1\n"), "{found}");
        assert!(found.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 5\r\n"));
        let found = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n").await;
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.contains("Content-Length: 5\r\n"), "{found}");
        assert!(found.ends_with("\r\n\r\n"), "a head alone: {found}");
        for (request, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("HEAD /metricsx HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("hello\r\n\r\n", "400 Bad Request"),
        ] {
            let found = ask(address, request).await;
            assert!(found.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{request}: {found}");
        }
        let found = ask(address, "DELETE /metrics HTTP/1.1\r\n\r\n").await;
        assert!(found.contains("\r\nAllow: GET, HEAD\r\n"), "{found}");
        assert!(ask(served(None).await, "GET /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
    }

    #[tokio::test]
    async fn a_head_without_end_is_cut_off() {
        let address = served(Some("up 1\n")).await;
        // One byte beyond the limit: what stays unread would turn the answer into a reset.
        let found = ask(address, &"x".repeat(MAX_HEAD_BYTES + 1)).await;
        assert!(found.starts_with("HTTP/1.1 400 "), "{found}");
    }

    #[tokio::test]
    async fn silent_peers_are_cut_off_and_their_places_are_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(100);
        tokio::spawn(serve_within(listener, || async { Some("up 1\n".to_owned()) }, 2, patience));
        let began = tokio::time::Instant::now();
        let mut silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let found = ask(address, "GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(found.ends_with("up 1\n") && began.elapsed() >= patience, "after {:?}", began.elapsed());
        let mut rest = String::new();
        assert_eq!(silent[0].read_to_string(&mut rest).await.unwrap_or(0), 0);
    }
}
