//! Modes with connections, streams and frames: how much of a coordinator one node can take.

use std::time::Duration;

use hostler_plan::id::Digest;
use hostler_proto::v1::{self, FromAgent, from_agent::Message as Up, to_agent::Message};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    flood::{Kind, speak, tls_as},
    ready::{Stream, hello},
    scene::{Mode, Scene, THIEF, ending, mode, noted, refused, tell},
};

pub(crate) fn modes() -> Vec<Mode> {
    [hellos(), streams(), frames()].into_iter().flatten().collect()
}

fn hellos() -> Vec<Mode> {
    vec![
        mode("no hello", "a stream begins with a hello", |s| {
            Box::pin(async move { first(s, Up::LeaseRenewal(v1::LeaseRenewal::default())).await })
        }),
        mode("a hello again", "a stream begins with one hello", |s| {
            Box::pin(async move {
                let (mut stream, _) = s.granted().await;
                stream.send(Up::Hello(hello())).await;
                refused(&mut stream, "expected hello once").await
            })
        }),
        mode("a boot id that is none", "ids are typed", |s| {
            Box::pin(async move { first(s, Up::Hello(v1::Hello { boot_id: "\u{1b}[2J".into(), ..hello() })).await })
        }),
        mode("a version of 1.5 MiB with escape sequences", "a version is cleaned and cut", |s| {
            Box::pin(async move {
                let agent_version = "\u{1b}[2J\n".repeat(300_000);
                let mut stream = s.says(v1::Hello { agent_version, ..hello() }).await;
                stream.grant().await;
                let shown = s.detail("a").await.map_err(|status| status.to_string())?.summary.unwrap().agent_version;
                match shown.len() <= 256 && !shown.contains(char::is_control) {
                    true => Ok(format!("shown in {} bytes", shown.len())),
                    false => Err(format!("shown in {} bytes", shown.len())),
                }
            })
        }),
        mode("20,000 lost receipts asked for", "64 are looked for", |s| {
            Box::pin(async move {
                let lost = (0..20_000_u32).map(|n| Digest::of(&n.to_be_bytes()).to_string()).collect();
                let mut stream = s.says(v1::Hello { lost_receipts: lost, ..hello() }).await;
                let own =
                    stream.expect(|m| if let Message::Welcome(w) = m { Some(w.own_receipts.len()) } else { None });
                match own.await {
                    0 => Ok("none of them is here".to_owned()),
                    more => Err(format!("{more} were sent")),
                }
            })
        }),
        mode("all numbers as high as they can be", "numbers are words", |s| {
            Box::pin(async move {
                let (root_version, roster_version, epoch, seq) = (u64::MAX, u64::MAX, u64::MAX, u64::MAX);
                let receipt_counter = u64::MAX;
                let hello = v1::Hello { root_version, roster_version, epoch, seq, receipt_counter, ..hello() };
                let mut stream = s.says(hello).await;
                let grant = stream.grant().await;
                Scene::settle(&mut stream, &grant).await?;
                Ok("it is granted its own work and no more".to_owned())
            })
        }),
    ]
}

/// A first message that ends the stream.
async fn first(scene: &Scene, message: Up) -> Result<String, String> {
    let (node, chain) = &scene.ready.nodes[THIEF];
    let mut agent = scene.ready.fleet.agent(node, chain).await;
    let (to, receiver) = tokio::sync::mpsc::channel(1);
    to.send(FromAgent { message: Some(message) }).await.unwrap();
    let mut from = match agent.attach(ReceiverStream::new(receiver)).await {
        Ok(from) => from.into_inner(),
        Err(status) => return Ok(status.message().to_owned()),
    };
    match tokio::time::timeout(Duration::from_secs(20), from.message()).await {
        Ok(Err(status)) => Ok(status.message().to_owned()),
        other => Err(format!("expected an end, found {other:?}")),
    }
}

fn streams() -> Vec<Mode> {
    vec![
        mode("its certificate used from two places", "the newest stream takes the place", |s| {
            Box::pin(async move {
                let (mut first, _) = s.granted().await;
                let (mut second, grant) = s.granted().await;
                let _ = ending(&mut first).await;
                Scene::settle(&mut second, &grant).await?;
                Ok("the first was closed".to_owned())
            })
        }),
        mode("100 streams, each in the place of the last", "a node has one stream", |s| {
            Box::pin(async move {
                let mut kept: Vec<Stream> = Vec::new();
                for _ in 0..100 {
                    kept.push(s.says(hello()).await);
                }
                let mut last = kept.pop().unwrap();
                let grant = last.grant().await;
                Scene::settle(&mut last, &grant).await?;
                let streams = s
                    .metrics()
                    .await
                    .lines()
                    .find(|l| l.starts_with("hostler_coordinator_streams "))
                    .map(str::to_owned);
                match streams.as_deref() {
                    Some("hostler_coordinator_streams 2") => Ok("two nodes have a stream".to_owned()),
                    other => Err(format!("{other:?}")),
                }
            })
        }),
        mode("it reads nothing of what it is told", "what waits has bytes, then the stream is cut", |s| {
            Box::pin(async move {
                let stream = s.says(hello()).await;
                for _ in 0..2_000 {
                    // Each is answered, and nobody takes the answers.
                    let receipt = v1::SignedDocument { content: vec![0; 100], signatures: Vec::new() };
                    if !tell(&stream, Up::Receipt(receipt)).await {
                        return Ok("cut".to_owned());
                    }
                }
                Ok("its own answers wait in its own window".to_owned())
            })
        }),
        mode("a message of 3 MiB", "a message has at most 2 MiB", |s| {
            Box::pin(async move {
                let (mut stream, _) = s.granted().await;
                let sentence = "x".repeat(3 << 20);
                tell(&stream, Up::Progress(v1::Progress { sentence, ..v1::Progress::default() })).await;
                match ending(&mut stream).await {
                    Err(status) => Ok(status.message().to_owned()),
                    Ok(()) => Err("it was taken".to_owned()),
                }
            })
        }),
        mode("50,000 messages that hold nothing", "what holds nothing costs nothing", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                for _ in 0..50_000 {
                    stream.to.send(FromAgent { message: None }).await.map_err(|_| "the stream ended".to_owned())?;
                }
                Scene::settle(&mut stream, &grant).await?;
                Ok("passed over".to_owned())
            })
        }),
        noted(
            0,
            mode("2,000 renewals of its lease", "a renewal writes nothing", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    for _ in 0..2_000 {
                        Scene::settle(&mut stream, &grant).await?;
                    }
                    Ok("answered one by one".to_owned())
                })
            }),
        ),
    ]
}

/// HTTP/2 spoken wrongly with a node's certificate, until the coordinator or the flood ends it.
async fn frames_of(scene: &Scene, kind: Kind) -> Result<String, String> {
    let (node, chain) = &scene.ready.nodes[THIEF];
    let address = scene.ready.fleet.coordinator().addresses.agents;
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let identity = Some(crate::fleet::identity(node, chain));
    let stream = tls_as(tcp, scene.ready.fleet.pin, identity).await.unwrap();
    // A stranger is closed after some seconds, whatever it says.
    match tokio::time::timeout(Duration::from_secs(40), speak(kind, stream)).await {
        Ok(ended) => Ok(format!("closed: {ended:?}")),
        Err(_) => Err("it is never closed".to_owned()),
    }
}

fn frames() -> Vec<Mode> {
    vec![
        mode("calls that are reset as soon as they are made", "strangers have a few seconds", |s| {
            Box::pin(async move { frames_of(s, Kind::RapidReset).await })
        }),
        mode("headers continued without end", "headers have at most 8 KiB", |s| {
            Box::pin(async move { frames_of(s, Kind::HeaderBomb).await })
        }),
        mode("a frame of 16 MiB", "a frame has at most 16 KiB", |s| {
            Box::pin(async move { frames_of(s, Kind::HugeFrame).await })
        }),
        mode("settings again and again", "strangers have a few seconds", |s| {
            Box::pin(async move { frames_of(s, Kind::Settings).await })
        }),
        mode("pings again and again", "strangers have a few seconds", |s| {
            Box::pin(async move { frames_of(s, Kind::Pings).await })
        }),
    ]
}
