//! Metrics of a program on this machine, over plain HTTP on the loopback address.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// A program that is well answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// etcd's own have 100 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// The text of `/metrics`; none where nobody serves it there.
pub(super) fn read(port: u16) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    stream.set_write_timeout(Some(LIMIT)).ok()?;
    // HTTP 1.0: the answer is neither chunked nor compressed, and ends with the connection.
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).filter(|code| *code == "200").map(|_| text.to_owned())
}
