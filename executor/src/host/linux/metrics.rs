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

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// What is read of a program that answers so, and what it was asked.
    fn answered(answer: &'static [u8]) -> (Option<String>, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 64];
            let read = stream.read(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (read(port), served.join().unwrap())
    }

    #[test]
    fn metrics_are_the_body_of_an_answer_that_is_well() {
        let (text, asked) = answered(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nup 1\n");
        assert_eq!((text.as_deref(), asked.as_str()), (Some("up 1\n"), "GET /metrics HTTP/1.0\r\n\r\n"));
        for wrong in [&b"HTTP/1.0 404 Not Found\r\n\r\nup 1\n"[..], b"", b"HTTP/1.0 200 OK\r\n", b"\xff\xfe"] {
            assert_eq!(answered(wrong).0, None, "{wrong:?}");
        }
    }

    #[test]
    fn where_nobody_listens_there_are_none() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(read(port), None);
    }
}
