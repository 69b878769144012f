//! Evictions that are asked for together.

use std::{
    sync::{Condvar, Mutex},
    time::Duration,
};

use super::{cluster, json, status};
use crate::{
    host::{Cluster as _, Eviction, PodKey},
    testing::{ApiServer, Asked},
};

fn key(name: &str) -> PodKey {
    PodKey { namespace: "shop".into(), name: name.into(), uid: format!("uid-{name}") }
}

#[test]
fn all_are_on_their_way_before_the_first_is_answered_and_each_has_its_own_answer() {
    let (arrived, all_are_here) = (Mutex::new(0), Condvar::new());
    let server = ApiServer::start(move |asked: &Asked| {
        let mut here = arrived.lock().unwrap();
        *here += 1;
        all_are_here.notify_all();
        let (here, late) = all_are_here.wait_timeout_while(here, Duration::from_secs(20), |here| *here < 3).unwrap();
        drop(here);
        match asked.path.as_str() {
            _ if late.timed_out() => status(500, "the others did not come"),
            path if path.contains("/gone/") => status(404, "pods \"gone\" not found"),
            path if path.contains("/busy/") => status(429, "too many requests"),
            _ => json(&serde_json::json!({ "kind": "Status", "status": "Success", "code": 201 })),
        }
    });
    let keys = [key("busy"), key("goes"), key("gone")];
    let answers = cluster(&server).evict_all(&keys.iter().collect::<Vec<_>>());
    assert_eq!(answers, [Eviction::Busy { retry_after: None }, Eviction::Accepted, Eviction::Gone]);
    for asked in server.asked() {
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let name = body["metadata"]["name"].as_str().unwrap();
        assert!(asked.path.contains(&format!("/{name}/eviction")), "{}", asked.path);
        assert_eq!(body["deleteOptions"]["preconditions"]["uid"], format!("uid-{name}"));
    }
}
