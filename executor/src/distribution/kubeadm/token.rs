//! Bootstrap tokens: Secrets in `kube-system`,
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{
    document::PlanRef,
    id::{Epoch, NodeName, Seq},
    timestamp::Timestamp,
};
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};

use crate::host::{Administrator, Applying, ClusterError, Noted};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// The node that a token was made for: kubeadm itself binds none to a name.
const JOINS: &str = "hostler.dev/joins";

/// By which plan: `EPOCH SEQ DIGEST UNTIL`, where nothing begins by the plan after that time.
const PLAN: &str = "hostler.dev/plan";

/// How the token is described that `kubeadm init` makes unasked at every run. Left to itself kubeadm lets it count for
/// a day, and with a configuration it describes it by nothing.
pub(crate) const OF_INIT: &str = "made by kubeadm init for nobody";

/// For which node, by which plan, and until when that may begin something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admission {
    pub noted: Noted,
    pub until: Timestamp,
}

impl Admission {
    fn of(secret: &Value) -> Option<Self> {
        let annotations = &secret["metadata"]["annotations"];
        let subject = NodeName::new(annotations[JOINS].as_str()?).ok()?;
        let mut words = annotations[PLAN].as_str()?.split(' ');
        let epoch = Epoch(words.next()?.parse().ok()?);
        let plan = PlanRef { seq: Seq(words.next()?.parse().ok()?), digest: words.next()?.parse().ok()? };
        let until = words.next()?.parse().ok()?;
        Some(Self { noted: Noted { subject, epoch, plan }, until })
    }

    fn text(&self) -> String {
        let Noted { epoch, plan, .. } = &self.noted;
        format!("{} {} {} {}", epoch, plan.seq, plan.digest, self.until.whole_seconds())
    }
}

/// Makes a token for one node until `expires`, with nothing else that it could be used for, and gives its text.
pub(crate) fn make(
    administrator: &dyn Administrator,
    admission: &Admission,
    expires: Timestamp,
) -> Result<String, ClusterError> {
    let (id, secret) = (letters(6), letters(16));
    administrator.apply(&object(admission, &id, &secret, expires), Applying::Really)?;
    Ok(format!("{id}.{secret}"))
}

fn object(admission: &Admission, id: &str, secret: &str, expires: Timestamp) -> Value {
    let joins = &admission.noted.subject;
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("bootstrap-token-{id}"),
            "namespace": "kube-system",
            "annotations": { JOINS: joins.as_str(), PLAN: admission.text() },
        },
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "description": format!("made by hostler for {joins}"),
            "token-id": id,
            "token-secret": secret,
            "expiration": expires.whole_seconds().to_string(),
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    })
}

/// Ends what plans that are over let in, whether the node came or not, and lets what may still be used count on: a plan
/// that waits for a node's power needs no other signature because a token ran out. Gives how many still count.
pub(crate) fn tidy(
    administrator: &dyn Administrator,
    now: Timestamp,
    lifetime: Duration,
    is_over: impl Fn(&Noted) -> bool,
) -> Result<usize, ClusterError> {
    let mut counting = 0;
    for secret in secrets(administrator)? {
        let Some(admission) = Admission::of(&secret) else { continue };
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        if is_over(&admission.noted) {
            administrator.delete(&format!("{SECRETS}/{name}"))?;
            tracing::info!("the join token of {} was revoked: its plan is over", admission.noted.subject);
            continue;
        }
        counting += 1;
        let field = |field: &str| {
            let bytes = STANDARD.decode(secret["data"][field].as_str()?).ok()?;
            String::from_utf8(bytes).ok()
        };
        let (Some(id), Some(text)) = (field("token-id"), field("token-secret")) else { continue };
        let expires = field("expiration").and_then(|text| text.parse::<Timestamp>().ok());
        let next = now.plus(lifetime).min(admission.until);
        // Written again only in its second half.
        if expires.is_some_and(|expires| expires < now.plus(lifetime / 2) && expires < next.whole_seconds()) {
            administrator.apply(&object(&admission, &id, &text, next), Applying::Really)?;
        }
    }
    Ok(counting)
}

/// The Secrets of all tokens that were made for a node.
pub(crate) fn of_node(administrator: &dyn Administrator, joins: &NodeName) -> Result<Vec<String>, ClusterError> {
    names(administrator, |secret| secret["metadata"]["annotations"][JOINS] == joins.as_str())
}

/// The Secrets of the tokens that `kubeadm init` made unasked.
pub(crate) fn of_init(administrator: &dyn Administrator) -> Result<Vec<String>, ClusterError> {
    names(administrator, |secret| {
        let description = STANDARD.decode(secret["data"]["description"].as_str().unwrap_or_default());
        description.is_ok_and(|text| text == OF_INIT.as_bytes())
    })
}

/// Ends tokens.
pub(crate) fn remove(administrator: &dyn Administrator, secrets: &[String]) -> Result<(), ClusterError> {
    secrets.iter().try_for_each(|secret| administrator.delete(&format!("{SECRETS}/{secret}")))
}

/// Ends every token that was made for a node, and gives how many there were.
pub(crate) fn revoke(administrator: &dyn Administrator, joins: &NodeName) -> Result<usize, ClusterError> {
    let tokens = of_node(administrator, joins)?;
    remove(administrator, &tokens)?;
    Ok(tokens.len())
}

fn names(administrator: &dyn Administrator, is_wanted: impl Fn(&Value) -> bool) -> Result<Vec<String>, ClusterError> {
    let wanted = secrets(administrator)?.into_iter().filter(is_wanted);
    Ok(wanted.filter_map(|secret| secret["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// Every bootstrap token's Secret.
fn secrets(administrator: &dyn Administrator) -> Result<Vec<Value>, ClusterError> {
    let path = format!("{SECRETS}?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken");
    let text = administrator.get(&path)?.unwrap_or_default();
    let mut list: Value = serde_json::from_str(&text).map_err(|e| ClusterError::Refused {
        action: "list bootstrap tokens".into(),
        reason: format!("its answer cannot be read: {e}"),
    })?;
    Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// So many of the letters and digits of a token, each as likely.
fn letters(count: usize) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut made = String::with_capacity(count);
    while made.len() < count {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        // 252 is the largest multiple of 36 in a byte: what is above would favour some.
        let fair = bytes.iter().filter(|byte| **byte < 252).map(|byte| char::from(LETTERS[usize::from(*byte) % 36]));
        made.extend(fair.take(count - made.len()));
    }
    made
}

#[cfg(test)]
mod tests {
    use hostler_plan::id::Digest;

    use super::*;
    use crate::testing::TestAdministrator;

    fn admission(joins: &NodeName, seq: u64, until: Timestamp) -> Admission {
        let plan = PlanRef { seq: Seq(seq), digest: Digest::of(&[u8::try_from(seq).unwrap()]) };
        Admission { noted: Noted { subject: joins.clone(), epoch: Epoch(3), plan }, until: until.whole_seconds() }
    }

    /// As the API server keeps it: texts become bytes.
    fn keep(cluster: &TestAdministrator, id: &str) -> Value {
        let mut secret = cluster.object(&format!("{SECRETS}/bootstrap-token-{id}")).unwrap();
        let texts = secret["stringData"].take();
        let data = texts.as_object().unwrap().iter();
        let data: serde_json::Map<String, Value> =
            data.map(|(key, text)| (key.clone(), STANDARD.encode(text.as_str().unwrap()).into())).collect();
        secret["data"] = data.into();
        cluster.put(secret.clone());
        secret
    }

    #[test]
    fn a_token_ends_with_its_plan_and_counts_on_while_that_may_begin_something() {
        let cluster = TestAdministrator::default();
        let (now, minutes) = (crate::build_time().whole_seconds(), |n: u64| Duration::from_secs(60 * n));
        let (w1, w2) = (NodeName::new("w1").unwrap(), NodeName::new("w2").unwrap());
        let until = now.plus(minutes(20));
        let (over, open) = (admission(&w1, 1, until), admission(&w2, 2, until));
        let mut ids = Vec::new();
        for admission in [&over, &open] {
            let token = make(&cluster, admission, now.plus(minutes(15))).unwrap();
            ids.push(token[..6].to_owned());
            let kept = keep(&cluster, &token[..6]);
            assert_eq!(Admission::of(&kept).as_ref(), Some(admission));
        }
        let is_over = |noted: &Noted| *noted == over.noted;
        let expires = || cluster.object(&format!("{SECRETS}/bootstrap-token-{}", ids[1])).unwrap();
        let text = |secret: &Value| secret["stringData"]["expiration"].as_str().map(str::to_owned);
        assert_eq!(tidy(&cluster, now.plus(minutes(5)), minutes(15), is_over).unwrap(), 1);
        assert_eq!((of_node(&cluster, &w1).unwrap().len(), of_node(&cluster, &w2).unwrap().len()), (0, 1));
        assert_eq!(text(&expires()), None, "it is not written again in its first half");
        assert_eq!(tidy(&cluster, now.plus(minutes(14)), minutes(15), is_over).unwrap(), 1);
        let longer = expires();
        assert_eq!(text(&longer), Some(until.to_string()), "no longer than the plan");
        let secret = &longer["stringData"];
        assert_eq!((secret["token-id"].as_str(), secret.get("usage-bootstrap-signing")), (Some(&*ids[1]), None));
        assert_eq!(secret["token-secret"].as_str().unwrap().len(), 16);
        keep(&cluster, &ids[1]);
        assert_eq!(tidy(&cluster, now.plus(minutes(19)), minutes(15), |_| true).unwrap(), 0);
        assert_eq!(of_node(&cluster, &w2).unwrap().len(), 0);
    }

    #[test]
    fn a_token_has_the_form_that_kubernetes_takes_and_no_other_use() {
        let cluster = TestAdministrator::default();
        let (w1, w2) = (NodeName::new("w1").unwrap(), NodeName::new("w2").unwrap());
        let expires = crate::build_time();
        let make = |node: &NodeName| make(&cluster, &admission(node, 1, expires), expires);
        let token = make(&w1).unwrap();
        let (id, secret) = token.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(token.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.'), "{token}");
        assert_ne!(make(&w2).unwrap(), token);
        let object = cluster.object(&format!("{SECRETS}/bootstrap-token-{id}")).unwrap();
        assert_eq!(object["stringData"].get("usage-bootstrap-signing"), None);
        assert_eq!(of_node(&cluster, &w1).unwrap(), [format!("bootstrap-token-{id}")]);
        remove(&cluster, &of_node(&cluster, &w1).unwrap()).unwrap();
        assert_eq!((of_node(&cluster, &w1).unwrap().len(), of_node(&cluster, &w2).unwrap().len()), (0, 1));
    }

    #[test]
    fn the_token_that_init_makes_unasked_is_told_by_its_description() {
        let cluster = TestAdministrator::default();
        let secret = |description: &str| {
            json!({ "kind": "Secret", "data": { "description": STANDARD.encode(description) },
            "metadata": { "namespace": "kube-system", "name": description.len().to_string() } })
        };
        cluster.put(secret(OF_INIT));
        cluster.put(secret("of a person"));
        assert_eq!(of_init(&cluster).unwrap().len(), 1);
    }
}
