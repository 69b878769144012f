//! Hostler's own account: made with an administrator's credentials, which serve nothing else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{json as answer, nodes, status};
use crate::{
    host::{
        Cluster as _, ClusterError,
        kube::{Identity, KubeCluster},
    },
    testing::{Answer, ApiServer, Asked},
};

/// A cluster's objects by path, and what its administrator's file may not do.
#[derive(Default)]
struct Objects {
    held: BTreeMap<String, Value>,
    forbidden: Option<&'static str>,
    /// What the account's rules are said to be.
    rules: Value,
    /// Tokens that were given.
    tokens: usize,
    /// Tokens before this one are refused.
    oldest: usize,
    /// The life of tokens in seconds.
    life: i64,
}

fn server(objects: &Arc<Mutex<Objects>>) -> ApiServer {
    let objects = Arc::clone(objects);
    ApiServer::start(move |asked| objects.lock().unwrap().answer(asked))
}

impl Objects {
    fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { life: 3600, ..Self::default() }))
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap();
        if path == "/readyz" {
            return Answer::Body(200, "ok".into());
        }
        if asked.authorization == "Bearer admins-own" {
            self.of_admin(asked, path)
        } else {
            self.of_account(asked, path)
        }
    }

    fn of_admin(&mut self, asked: &Asked, path: &str) -> Answer {
        if self.forbidden.is_some_and(|word| path.contains(word)) {
            return status(403, "User \"kubernetes-admin\" cannot do that");
        }
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        match asked.method.as_str() {
            "POST" if path.ends_with("/token") => {
                self.tokens += 1;
                let token = format!("token-{}", self.tokens);
                let expires = "2030-01-01T00:00:00Z";
                answer(&json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
                    "spec": { "audiences": [], "expirationSeconds": self.life },
                    "status": { "token": token, "expirationTimestamp": expires } }))
            }
            "POST" => {
                let name = body["metadata"]["name"].as_str().unwrap();
                self.held.insert(format!("{path}/{name}"), body.clone());
                answer(&body)
            }
            "PATCH" => {
                let held = self.held.get_mut(path).unwrap();
                held["rules"] = body["rules"].clone();
                held["metadata"]["annotations"] = body["metadata"]["annotations"].clone();
                answer(held)
            }
            "GET" => self.held.get(path).map_or_else(|| status(404, "not found"), answer),
            other => panic!("the administrator's credentials were used to {other} {path}"),
        }
    }

    fn of_account(&mut self, asked: &Asked, path: &str) -> Answer {
        let number: usize = asked.authorization.strip_prefix("Bearer token-").unwrap().parse().unwrap();
        if number < self.oldest {
            return status(401, "Unauthorized");
        }
        match path {
            "/api/v1/nodes" => nodes(1, "", &[]),
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews" => answer(&json!({ "metadata": {}, "spec": {},
                "status": { "incomplete": false, "nonResourceRules": [], "resourceRules": self.rules } })),
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
                answer(&json!({ "metadata": {}, "spec": {}, "status": { "allowed": false } }))
            }
            other => panic!("the account asked for {other}"),
        }
    }
}

fn reached(server: &ApiServer) -> KubeCluster {
    KubeCluster::new(server.kubeconfig(), Identity::OwnAccount).unwrap()
}

#[test]
fn the_account_is_made_once_and_everything_else_is_asked_with_its_token() {
    let objects = Objects::new();
    let server = server(&objects);
    let cluster = reached(&server);
    cluster.nodes().unwrap();
    cluster.nodes().unwrap();
    let asked = server.asked();
    let listed = asked.iter().filter(|a| a.path.starts_with("/api/v1/nodes") && a.path.contains("limit=100"));
    assert_eq!(listed.map(|a| a.authorization.as_str()).collect::<Vec<_>>(), ["Bearer token-1"; 2], "{asked:?}");
    assert_eq!(server.count("POST", "/token"), 1, "one token for both");
    let kinds: Vec<String> =
        objects.lock().unwrap().held.values().map(|o| o["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        kinds,
        ["Namespace", "ServiceAccount", "ClusterRoleBinding", "ClusterRoleBinding", "ClusterRole", "ClusterRole"]
    );
    let token = asked.iter().find(|a| a.path.contains("/token")).unwrap();
    assert!(token.body.contains("\"expirationSeconds\":3600"), "{}", token.body);
    // Another server finds it all.
    let made = server.count("POST", "/clusterroles");
    reached(&server).nodes().unwrap();
    assert_eq!(server.count("POST", "/clusterroles"), made);
}

#[test]
fn what_an_admin_took_away_stays_away_and_is_named_and_only_higher_revisions_are_written_over() {
    let objects = Objects::new();
    let server = server(&objects);
    reached(&server).nodes().unwrap();
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/hostler-act";
    objects.lock().unwrap().held.get_mut(path).unwrap()["rules"] = json!([]);
    // The server says of the account what its roles say, evictions apart.
    objects.lock().unwrap().rules = json!([
        { "verbs": ["*"], "apiGroups": ["*"], "resources": ["nodes", "nodes/status", "pods", "events", "daemonsets",
            "replicationcontrollers", "persistentvolumes", "persistentvolumeclaims", "deployments", "replicasets",
            "statefulsets", "jobs", "cronjobs", "horizontalpodautoscalers", "poddisruptionbudgets", "csinodes",
            "volumeattachments", "evictions", "evictionrequests"] },
        { "verbs": ["create"], "apiGroups": [""], "resources": ["pods/eviction"], "resourceNames": ["one"] },
    ]);
    assert_eq!(reached(&server).missing_rights().unwrap(), ["create pods/eviction"]);
    let beyond = reached(&server).rights_beyond().unwrap();
    assert!(
        beyond.contains(&"* nodes".to_owned()) && !beyond.contains(&"create pods/eviction".to_owned()),
        "{beyond:?}"
    );
    objects.lock().unwrap().rules.as_array_mut().unwrap().extend([
        json!({ "verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectrulesreviews"] }),
        json!({ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets", "nodes"] }),
    ]);
    let more = reached(&server).rights_beyond().unwrap();
    assert_eq!(more.len(), beyond.len() + 2, "get and list secrets, and nothing that is needed or its own: {more:?}");
    let rules = |objects: &Mutex<Objects>| objects.lock().unwrap().held[path]["rules"].as_array().unwrap().len();
    assert_eq!(rules(&objects), 0, "it was not given back");
    let annotate = |key: &str, value: &str| {
        objects.lock().unwrap().held.get_mut(path).unwrap()["metadata"]["annotations"][key] = json!(value);
    };
    annotate("rbac.authorization.kubernetes.io/autoupdate", "false");
    annotate("hostler.dev/revision", "0");
    reached(&server).nodes().unwrap();
    assert_eq!(rules(&objects), 0, "an admin said that nobody updates it");
    annotate("rbac.authorization.kubernetes.io/autoupdate", "true");
    reached(&server).nodes().unwrap();
    assert!(rules(&objects) > 0, "the rules of an older version are replaced");
}

#[test]
fn without_an_account_the_administrators_credentials_do_nothing_in_its_place() {
    for forbidden in ["/clusterroles", "/token"] {
        let objects = Objects::new();
        objects.lock().unwrap().forbidden = Some(forbidden);
        let server = server(&objects);
        let error = reached(&server).nodes().unwrap_err();
        assert!(matches!(error, ClusterError::NoAccount { .. }), "{error:?}");
        assert!(error.to_string().contains("apply /usr/share/hostler/cluster-access.yaml"), "{error}");
        assert_eq!(server.count("GET", "/api/v1/nodes"), 0, "nobody listed nodes");
    }
}

#[test]
fn a_file_that_changed_and_leads_nowhere_is_tried_once_while_the_token_still_counts() {
    let (objects, broken) = (Objects::new(), ApiServer::start(|_| Answer::Body(503, "no".into())));
    let server = server(&objects);
    let file = server.kubeconfig();
    let cluster = KubeCluster::new(file.clone(), Identity::OwnAccount).unwrap();
    cluster.nodes().unwrap();
    std::fs::copy(broken.kubeconfig(), &file).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    for _ in 0..3 {
        cluster.nodes().unwrap();
    }
    assert_eq!(broken.asked().len(), 1);
}

#[test]
fn a_token_is_renewed_in_time_and_after_it_was_refused() {
    let objects = Objects::new();
    let server = server(&objects);
    let cluster = reached(&server);
    cluster.nodes().unwrap();
    objects.lock().unwrap().oldest = 2;
    let refused = cluster.nodes().unwrap_err();
    assert!(matches!(&refused, ClusterError::Silent(why) if why.contains("401")), "it may pass: {refused}");
    cluster.nodes().unwrap();
    assert_eq!(server.count("POST", "/token"), 2);
    // One without any life left is never used twice.
    objects.lock().unwrap().life = 0;
    let cluster = reached(&server);
    cluster.nodes().unwrap();
    let before = server.count("POST", "/token");
    cluster.nodes().unwrap();
    assert!(server.count("POST", "/token") > before);
    assert!(server.asked().iter().all(|a| !a.path.contains("token-") && !a.body.contains("token-")));
    assert!(!format!("{cluster:?}").contains("token-"), "a token stands in no message");
}
