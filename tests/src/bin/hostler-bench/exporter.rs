//! Debian's prometheus-node-exporter with its default collectors, asked as a Prometheus asks: gzip, keep-alive.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;

use hostler_tests::process::Process;

/// Where Debian's package puts it.
pub(crate) const PROGRAM: &str = "/usr/bin/prometheus-node-exporter";

/// How often it is asked: the most usual scrape interval of its dashboards.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);

const PATIENCE: Duration = Duration::from_secs(20);

/// The largest answer that is read; real ones have 10 to 30 KB.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// A running exporter and our connection to it.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub process: Process,
    connection: BufReader<TcpStream>,
    request: String,
    pub scrapes: u64,
    pub answer_bytes: u64,
    pub request_bytes: u64,
}

impl Exporter {
    /// Starts it on a free port; `None` where it is not installed.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !Path::new(PROGRAM).exists() {
            return Ok(None);
        }
        // Free a moment ago; whoever takes it in between makes the start fail with a clear message.
        let address = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()?;
        let mut command = Command::new(PROGRAM);
        command.arg(format!("--web.listen-address={address}")).stdout(Stdio::null());
        let process = Process::start(&mut command, &folder.join("exporter.log"))?;
        let connect = async {
            loop {
                match TcpStream::connect(address) {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let stream = tokio::time::timeout(PATIENCE, connect).await;
        let stream = stream.with_context(|| format!("the exporter does not listen at {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Prometheus/2.53.3\r\n\
             Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n\
             Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
        );
        let connection = BufReader::new(stream);
        Ok(Some(Self { process, connection, request, scrapes: 0, answer_bytes: 0, request_bytes: 0 }))
    }

    /// Asks once.
    pub(crate) fn scrape(&mut self) -> anyhow::Result<()> {
        self.connection.get_mut().write_all(self.request.as_bytes()).context("the exporter is gone")?;
        let answer = read_answer(&mut self.connection)?;
        anyhow::ensure!(answer.is_gzip, "the exporter's answer was expected in gzip, found it without");
        self.scrapes += 1;
        self.request_bytes += self.request.len() as u64;
        self.answer_bytes += answer.bytes;
        Ok(())
    }
}

/// An answer of HTTP/1.1, measured and thrown away.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// With the head and the frames of its chunks.
    bytes: u64,
    is_gzip: bool,
}

fn read_answer(from: &mut impl BufRead) -> anyhow::Result<Answer> {
    let (mut bytes, mut length, mut is_gzip, mut is_chunked) = (0, None, false, false);
    let status = line(from, &mut bytes)?;
    anyhow::ensure!(status.starts_with("HTTP/1.1 200"), "the exporter answers {:?}, expected 200", status.trim_end());
    loop {
        let header = line(from, &mut bytes)?.to_ascii_lowercase();
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match (name, value.trim()) {
            ("content-length", value) => length = Some(value.parse().context("a broken content-length")?),
            ("content-encoding", value) => is_gzip = value == "gzip",
            ("transfer-encoding", value) => is_chunked = value == "chunked",
            _ => {}
        }
    }
    if is_chunked {
        loop {
            let head = line(from, &mut bytes)?;
            let size = u64::from_str_radix(head.trim_end(), 16).context("a broken chunk")?;
            // The chunk and the end of its line.
            skip(from, size + 2, &mut bytes)?;
            if size == 0 {
                break;
            }
        }
    } else {
        skip(from, length.context("the exporter's answer has no length")?, &mut bytes)?;
    }
    Ok(Answer { bytes, is_gzip })
}

fn line(from: &mut impl BufRead, bytes: &mut u64) -> anyhow::Result<String> {
    let mut text = String::new();
    let length = from.take(16 << 10).read_line(&mut text).context("the exporter's answer broke off")?;
    anyhow::ensure!(length > 0, "the exporter's answer broke off");
    *bytes += length as u64;
    Ok(text)
}

fn skip(from: &mut impl BufRead, length: u64, bytes: &mut u64) -> anyhow::Result<()> {
    anyhow::ensure!(length <= MAX_ANSWER_BYTES, "the exporter's answer has {length} bytes, which is not believed");
    let skipped = std::io::copy(&mut from.take(length), &mut std::io::sink())?;
    anyhow::ensure!(skipped == length, "the exporter's answer broke off");
    *bytes += length;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_they_say_so_that_the_connection_can_be_used_again() {
        let chunked =
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd";
        let both = format!("{chunked}{plain}");
        let mut from = both.as_bytes();
        assert_eq!(read_answer(&mut from).unwrap(), Answer { bytes: chunked.len() as u64, is_gzip: true });
        assert_eq!(read_answer(&mut from).unwrap(), Answer { bytes: plain.len() as u64, is_gzip: false });
        assert!(read_answer(&mut from).is_err(), "nothing is left");
    }

    #[test]
    fn broken_answers_are_errors() {
        for text in [
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert!(read_answer(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
