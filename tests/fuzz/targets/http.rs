//! What anybody on the network may send to `/metrics`.

#![no_main]

use std::sync::OnceLock;

use hostler_daemon::http::answer;
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{Builder, Runtime},
};

fuzz_target!(|input: &[u8]| {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().expect("a runtime"));
    runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let text = || std::future::ready(Some("hostler_up 1\n".to_owned()));
        let served = answer(theirs, &text);
        let asked = async {
            // The server may have hung up before it has read everything.
            let _ = ours.write_all(input).await;
            let _ = ours.shutdown().await;
            let mut said = Vec::new();
            let _ = ours.read_to_end(&mut said).await;
            said
        };
        let (_, said) = tokio::join!(served, asked);
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&said));
    });
});
