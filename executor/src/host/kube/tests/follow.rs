//! Nodes are followed by a list and a watch.

use std::{
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use super::{cluster, node, nodes};
use crate::{
    host::{Cluster as _, Followed, FollowedNode, Shared, Waker},
    testing::{Answer, ApiServer, Asked},
};

/// Waits until what is followed is so.
fn until(
    (waker, followed): (&Waker, &Followed<FollowedNode>),
    what: &str,
    is_so: impl Fn(&Result<Vec<Shared<FollowedNode>>, String>) -> bool,
) {
    let began = Instant::now();
    loop {
        let found = followed.look(Instant::now(), |_| true).map(|(nodes, _)| nodes);
        if is_so(&found) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "expected {what}, found {found:?}");
        waker.wait(Duration::from_secs(1));
    }
}

fn event(kind: &str, object: &serde_json::Value) -> String {
    serde_json::json!({ "type": kind, "object": object }).to_string()
}

/// One that lists w1 and w2 in two pages, and whose first watch tells these lines, its later ones nothing.
fn watched(lines: mpsc::Receiver<String>) -> ApiServer {
    let lines = Mutex::new(Some(lines));
    ApiServer::start(move |asked: &Asked| match asked.path.as_str() {
        path if path.contains("watch=true") => match lines.lock().unwrap().take() {
            Some(lines) => Answer::Lines(lines),
            None => Answer::Never,
        },
        path if path.contains("continue=") => nodes(7, "", &[node("w2", 2, "True")]),
        _ => nodes(7, "page 2", &[node("w1", 1, "True")]),
    })
}

#[test]
fn changes_are_told_and_nothing_is_asked_for_them() {
    let (tell, lines) = mpsc::channel();
    let server = watched(lines);
    let (cluster, waker) = (cluster(&server), Waker::new());
    let following = cluster.follow(&waker).unwrap();
    let seen = (&waker, &following.nodes);
    let ready = |found: &Result<Vec<Shared<FollowedNode>>, String>| {
        found.as_ref().map_or(vec![], |nodes| nodes.iter().map(|n| n.condition.ready).collect())
    };
    until(seen, "two pages", |found| ready(found) == [true, true]);
    tell.send(event("MODIFIED", &node("w2", 8, "Unknown"))).unwrap();
    until(seen, "w2 silent", |found| ready(found) == [true, false]);
    tell.send(event("DELETED", &node("w1", 9, "True"))).unwrap();
    until(seen, "w1 gone", |found| ready(found) == [false]);
    let bookmark = serde_json::json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "resourceVersion": "12" } });
    tell.send(event("BOOKMARK", &bookmark)).unwrap();
    assert_eq!(server.asked().len(), 3, "two pages and one watch");
    drop(tell);
    let began = Instant::now();
    while server.count("GET", "watch=true") < 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "expected another watch");
        std::thread::yield_now();
    }
    let second = server.asked().pop().unwrap();
    assert!(second.path.contains("resourceVersion=12"), "it begins where the bookmark was: {}", second.path);
    assert_eq!(server.count("GET", "limit="), 2, "the nodes are not listed again");
}

#[test]
fn a_watch_that_broke_or_was_forgotten_ends_in_a_new_list_and_what_is_wrong_is_said() {
    let gone = serde_json::json!({ "kind": "Status", "code": 410, "message": "too old", "reason": "Expired" });
    for (line, says) in [(event("ERROR", &gone), None), ("<html>502</html>".to_owned(), Some("watch nodes"))] {
        let (tell, lines) = mpsc::channel();
        let server = watched(lines);
        let (cluster, waker) = (cluster(&server), Waker::new());
        let following = cluster.follow(&waker).unwrap();
        until((&waker, &following.nodes), "two nodes", |found| found.as_ref().is_ok_and(|nodes| nodes.len() == 2));
        tell.send(line).unwrap();
        if let Some(says) = says {
            let said = |found: &Result<_, String>| found.as_ref().is_err_and(|e| e.contains(says));
            until((&waker, &following.nodes), says, said);
        }
        let began = Instant::now();
        while server.count("GET", "continue=") < 2 {
            assert!(began.elapsed() < Duration::from_secs(20), "expected a new list");
            std::thread::yield_now();
        }
        until((&waker, &following.nodes), "two nodes again", |found| found.as_ref().is_ok_and(|n| n.len() == 2));
    }
}
