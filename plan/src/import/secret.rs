//! Which values may be secrets, by their names and forms: where it is not sure, they count as some.

use serde_json::Value;

/// Parts of names whose values may be secrets.
const WORDS: [&str; 8] = ["secret", "password", "passwd", "token", "credential", "apikey", "api-key", "private"];

/// Whether a value of that name may be a secret. Paths, numbers, times and truths are none: what a path leads to is not
/// read.
pub fn may_be_secret(name: &str, value: &str) -> bool {
    if has_user(value) || value.contains("-----BEGIN") {
        return true;
    }
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is_named = WORDS.iter().any(|word| name.contains(word)) || name == "auth" || name.ends_with("-key");
    is_named && !is_harmless(value)
}

fn is_harmless(value: &str) -> bool {
    let is_time = || value.bytes().all(|b| b.is_ascii_digit() || b"hmsu.".contains(&b)) && value.len() < 16;
    value.is_empty() || value.starts_with('/') || matches!(value, "true" | "false") || is_time()
}

/// Whether somewhere in it an address has a user before its host, as in `https://user:password@host`.
fn has_user(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let host = rest.split(['/', '?', '#', ' ', ',', '"']).next().unwrap_or(rest);
        host.contains('@')
    })
}

/// The value as it may be told, or none. In a value that has parts every part is looked at.
pub fn mask(name: &str, value: &Value) -> Option<Value> {
    let is_safe = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !may_be_secret(name, text),
        Value::Array(values) => values.iter().all(|value| mask(name, value).is_some()),
        Value::Object(entries) => entries.iter().all(|(key, value)| mask(key, value).is_some()),
    };
    is_safe.then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_masked_and_what_leads_to_one_is_not() {
        for (name, value) in [
            ("oidc-client-secret", "hunter2"),
            ("token", "abcdef.0123456789abcdef"),
            ("HTTPS_PROXY", "http://ada:hunter2@proxy.lab:3128"),
            ("etcd-servers", "https://a.lab:2379,https://u:p@b.lab:2379"),
            ("REGISTRY_PASSWORD", "12345678901234567890"),
            ("aws-key", "AKIA"),
            ("anything", "-----BEGIN PRIVATE KEY-----"),
        ] {
            assert!(may_be_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("service-account-signing-key-file", "/etc/kubernetes/pki/sa.key"),
            ("enable-bootstrap-token-auth", "true"),
            ("service-account-max-token-expiration", "24h0m0s"),
            ("v", "2"),
            ("oidc-issuer-url", "https://login.lab/realms/ada"),
            ("audit-log-path", "-"),
        ] {
            assert!(!may_be_secret(name, value), "{name}");
        }
    }

    #[test]
    fn a_part_that_may_be_a_secret_masks_the_whole() {
        assert!(mask("evictionHard", &json!({ "memory.available": "100Mi" })).is_some());
        assert!(mask("headers", &json!({ "a": [{ "token": "abc" }] })).is_none());
        assert!(mask("urls", &json!(["https://u:p@h"])).is_none());
    }
}
