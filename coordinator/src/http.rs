//! Just enough HTTP/1.1 to serve `/metrics`: one request per connection, small heads, short patience.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{metrics::Metrics, service::SharedRef};

/// Connections at the same time: a few Prometheus servers and a person.
const CONNECTIONS: usize = 16;
/// A request of Prometheus has about 300 bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// A peer that takes longer than this for its request or our answer is cut off; Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// The text format's content type, as Prometheus wants it.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, shared: SharedRef) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let metrics = Arc::new(Metrics::new(shared));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: leave room for others to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            // Whoever went away needs no answer.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, &metrics)).await;
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if head.len() > MAX_HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            return respond(&mut stream, "400 Bad Request", "text/plain", "expected a small HTTP request\n").await;
        }
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    match (words.next(), words.next().map(|target| target.split('?').next().unwrap_or_default())) {
        (Some("GET"), Some("/metrics")) => match metrics.text().await {
            Some(text) => respond(&mut stream, "200 OK", CONTENT_TYPE, &text).await,
            None => {
                respond(&mut stream, "503 Service Unavailable", "text/plain", "the coordinator is stopping\n").await
            }
        },
        (Some("GET"), Some(_)) => {
            respond(&mut stream, "404 Not Found", "text/plain", "metrics are at /metrics\n").await
        }
        _ => respond(&mut stream, "405 Method Not Allowed", "text/plain", "only GET is served here\n").await,
    }
}

async fn respond(stream: &mut TcpStream, status: &str, content_type: &str, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
