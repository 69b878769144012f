//! Bootstrap tokens: Secrets in `kube-system`,
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{id::NodeName, timestamp::Timestamp};
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};

use crate::host::{Administrator, Applying, ClusterError};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// The node that a token was made for: kubeadm itself binds none to a name.
const JOINS: &str = "hostler.dev/joins";

/// How the token is described that `kubeadm init` makes unasked at every run. Left to itself kubeadm lets it count for
/// a day, and with a configuration it describes it by nothing.
pub(crate) const OF_INIT: &str = "made by kubeadm init for nobody";

/// Makes a token for one node until `expires`, with nothing else that it could be used for, and gives its text.
pub(crate) fn make(
    administrator: &dyn Administrator,
    joins: &NodeName,
    expires: Timestamp,
) -> Result<String, ClusterError> {
    let (id, secret) = (letters(6), letters(16));
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("bootstrap-token-{id}"),
            "namespace": "kube-system",
            "annotations": { JOINS: joins.as_str() },
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
    });
    administrator.apply(&object, Applying::Really)?;
    Ok(format!("{id}.{secret}"))
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
    let path = format!("{SECRETS}?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken");
    let text = administrator.get(&path)?.unwrap_or_default();
    let list: Value = serde_json::from_str(&text).map_err(|e| ClusterError::Refused {
        action: "list bootstrap tokens".into(),
        reason: format!("its answer cannot be read: {e}"),
    })?;
    let secrets = list["items"].as_array().into_iter().flatten().filter(|secret| is_wanted(secret));
    Ok(secrets.filter_map(|secret| secret["metadata"]["name"].as_str()).map(str::to_owned).collect())
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
    use super::*;
    use crate::testing::TestAdministrator;

    #[test]
    fn a_token_has_the_form_that_kubernetes_takes_and_no_other_use() {
        let cluster = TestAdministrator::default();
        let (w1, w2) = (NodeName::new("w1").unwrap(), NodeName::new("w2").unwrap());
        let expires = crate::build_time();
        let token = make(&cluster, &w1, expires).unwrap();
        let (id, secret) = token.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(token.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.'), "{token}");
        assert_ne!(make(&cluster, &w2, expires).unwrap(), token);
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
