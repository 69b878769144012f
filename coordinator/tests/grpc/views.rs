//! What a server reads of the cluster, from the question of a viewer to the answer, and who cannot get in between.

use std::{collections::BTreeSet, time::Instant};

use hostler_fixtures::{self as made, signed_bytes};
use hostler_plan::{
    document::{DocumentKind, RosterStatus, Signed, View},
    id::Nonce,
    step::ClusterRole::{Server, Worker},
};
use hostler_proto::v1::{self, from_agent, to_agent::Message};
use tonic::{Code, Status};

use crate::ready::{Ready, Stream, hello, ready};

/// The servers a and b and the worker w.
async fn fleet() -> Ready {
    let mut ready = ready(&["a", "b", "w"]).await;
    let [(a, _), (b, _), (w, _)] = ready.nodes.as_slice() else { panic!("three nodes") };
    let active = |node, role| (node, role, RosterStatus::Active);
    ready.roster = ready.fleet.approve(&[active(a, Server), active(b, Server), active(w, Worker)]).await;
    ready
}

async fn open(ready: &Ready, node: usize) -> Stream {
    let (node, chain) = &ready.nodes[node];
    Stream::open(&ready.fleet, node, chain, v1::Hello { root_version: 1, ..hello() }).await
}

fn asked() -> Nonce {
    Nonce::from_bytes([7; 32])
}

async fn ask(ready: &Ready, nodes: &[&str]) -> Result<v1::GetViewReply, Status> {
    let mut viewer = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
    let nodes = nodes.iter().map(ToString::to_string).collect();
    let request = viewer.with_session(v1::GetViewRequest { nodes, nonce: asked().to_string() });
    viewer.client.get_view(request).await.map(tonic::Response::into_inner)
}

async fn question(stream: &mut Stream) -> v1::ViewQuestion {
    stream.expect(|m| if let Message::View(question) = m { Some(question) } else { None }).await
}

fn view(ready: &Ready, server: &str) -> View {
    made::view(&ready.roster, server, &asked())
}

/// As that node signs it.
fn signed(ready: &Ready, view: &View, by: usize) -> Signed {
    signed_bytes(DocumentKind::View, view.written(), &[&ready.nodes[by].0.key])
}

async fn answers(stream: &Stream, number: u64, signed: Signed) {
    let answer = v1::ViewAnswer { number, view: Some(signed.into()), not_shown: String::new() };
    stream.send(from_agent::Message::View(answer)).await;
}

#[tokio::test]
async fn a_server_that_the_question_is_not_about_is_asked_first_and_its_words_are_carried_exactly() {
    let ready = fleet().await;
    let (_a, mut b) = (open(&ready, 0).await, open(&ready, 1).await);
    let good = signed(&ready, &view(&ready, "b"), 1);
    let serve = async {
        let asks = question(&mut b).await;
        assert_eq!((asks.nodes, asks.nonce), (vec!["a".to_owned(), "w".to_owned()], asked().to_string()));
        answers(&b, asks.number, good.clone()).await;
        // Twice, and to a question that nobody asked.
        answers(&b, asks.number, good.clone()).await;
        answers(&b, 99, good.clone()).await;
    };
    let (reply, ()) = tokio::join!(ask(&ready, &["a", "w"]), serve);
    assert_eq!(Signed::from(reply.unwrap().view.unwrap()), good);
}

#[tokio::test]
async fn a_lie_of_one_server_keeps_no_true_word_of_another_away() {
    let ready = fleet().await;
    let (mut a, mut b, w) = (open(&ready, 0).await, open(&ready, 1).await, open(&ready, 2).await);
    let good = signed(&ready, &view(&ready, "b"), 1);
    let mut altered = signed(&ready, &view(&ready, "a"), 0);
    let last = altered.bytes.len() - 2;
    altered.bytes[last] ^= 1;
    let old = made::view(&ready.roster, "a", &Nonce::from_bytes([6; 32]));
    for lie in [
        altered,
        signed(&ready, &old, 0),
        signed(&ready, &view(&ready, "a"), 1),
        signed(&ready, &view(&ready, "w"), 2),
        Signed { bytes: b"{}".to_vec(), signatures: Vec::new() },
    ] {
        let serve = async {
            let number = question(&mut a).await.number;
            // It was not asked, whatever it says.
            answers(&w, number, signed(&ready, &view(&ready, "w"), 2)).await;
            answers(&a, number, lie).await;
            assert_eq!(question(&mut b).await.number, number);
            answers(&b, number, good.clone()).await;
        };
        let (reply, ()) = tokio::join!(ask(&ready, &["w"]), serve);
        assert_eq!(Signed::from(reply.unwrap().view.unwrap()), good);
    }
}

#[tokio::test]
async fn who_gets_no_view_is_told_why_and_soon() {
    let ready = fleet().await;
    let _w = open(&ready, 2).await;
    assert_eq!(ask(&ready, &["w"]).await.unwrap().not_shown, "no server of the cluster is connected");

    let (mut a, mut b) = (open(&ready, 0).await, open(&ready, 1).await);
    let serve = async {
        let number = question(&mut a).await.number;
        question(&mut b).await;
        let not_shown = "the API server does not answer: connection refused\n".to_owned();
        b.send(from_agent::Message::View(v1::ViewAnswer { number, view: None, not_shown })).await;
    };
    let began = Instant::now();
    let (reply, ()) = tokio::join!(ask(&ready, &["w"]), serve);
    let reply = reply.unwrap();
    let said: BTreeSet<&str> = reply.not_shown.split("; ").collect();
    let b = "b: the API server does not answer: connection refused\\n";
    assert_eq!((reply.view, said), (None, BTreeSet::from([b, "a has not answered in 5 s"])));
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_question_that_is_none_is_refused() {
    let ready = fleet().await;
    let many: Vec<String> = (0..65).map(|n| format!("w{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (nodes, found) in [(&[][..], "found 0"), (&many, "found 65"), (&["W_1"], "W_1")] {
        let refused = ask(&ready, nodes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(found), "{refused}");
    }
}
