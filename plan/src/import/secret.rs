//! Which values may be secrets, by their names and forms: where it is not sure, they count as some.

use serde_json::Value;

/// Parts of names whose values may be secrets.
const WORDS: [&str; 11] = [
    "secret",
    "pass",
    "pwd",
    "token",
    "credential",
    "apikey",
    "api-key",
    "private",
    "encryptionkey",
    "encryption-key",
    "bearer",
];

/// How names end whose values lead to a file.
const LEADS: [&str; 3] = ["-file", "-path", "-dir"];

/// How names end whose values are numbers and times of people's choice.
const MEASURES: [&str; 15] = [
    "-expiration",
    "-ttl",
    "-seconds",
    "-minutes",
    "-hours",
    "-days",
    "-timeout",
    "-period",
    "-interval",
    "-duration",
    "-size",
    "-limit",
    "-count",
    "-port",
    "-syncs",
];

/// Whether a value of that name may be a secret. Truths are none, nor are paths and numbers where the name says that it
/// is one: what a path leads to is not read.
pub fn may_be_secret(name: &str, value: &str) -> bool {
    if has_user(value) || is_proof(value) {
        return true;
    }
    let name = words(name);
    let is_named = WORDS.iter().any(|word| name.contains(word)) || name == "auth" || name.ends_with("-key");
    is_named && !is_harmless(&name, value)
}

/// `clientSecretFile` and `client_secret_file` as `client-secret-file`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut follows_small = false;
    for c in name.chars() {
        if follows_small && c.is_ascii_uppercase() {
            words.push('-');
        }
        follows_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        words.push(if c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    words
}

fn is_harmless(name: &str, value: &str) -> bool {
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    let is_measure = || value.bytes().all(|b| b.is_ascii_digit() || b"hmsu.".contains(&b)) && value.len() < 16;
    value.is_empty()
        || matches!(value, "true" | "false")
        || value.starts_with('/') && ends(&LEADS)
        || ends(&MEASURES) && is_measure()
}

/// Whether it proves who somebody is by its form alone: a key, a JSON Web Token, the value of a header.
fn is_proof(value: &str) -> bool {
    value.contains("-----BEGIN") || value.contains("eyJ") || value.to_ascii_lowercase().contains("bearer ")
}

/// Whether somewhere in it an address has a user before its host, as in `https://user:password@host`. A password may
/// hold whatever ends a host.
fn has_user(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| rest.split_whitespace().next().is_some_and(|rest| rest.contains('@')))
}

/// The value as it may be told, or none. In a value that has parts every part is looked at.
pub fn mask(name: &str, value: &Value) -> Option<Value> {
    let is_safe = match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => !may_be_secret(name, &number.to_string()),
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
            ("client-secret", "/Zm9vYmFy+base64"),
            ("dbPassword", "1234"),
            ("pin-token", "123456"),
            ("db-pass", "hunter2"),
            ("DB_PWD", "hunter2"),
            ("passphrase", "hunter2"),
            ("encryptionKey", "c2VjcmV0"),
            ("bearer", "hunter2"),
            ("header", "Authorization: Bearer hunter2"),
            ("anything", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"),
            ("HTTP_PROXY", "http://ada:hun/ter2@proxy.lab:3128"),
            ("HTTP_PROXY", "http://ada:hun,t?r#2@proxy.lab:3128"),
        ] {
            assert!(may_be_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("service-account-signing-key-file", "/etc/kubernetes/pki/sa.key"),
            ("enable-bootstrap-token-auth", "true"),
            ("service-account-max-token-expiration", "24h0m0s"),
            ("concurrent-serviceaccount-token-syncs", "5"),
            ("tokenTTL", "10m"),
            ("clientSecretFile", "/etc/oidc/secret"),
            ("tokenSeconds", "3600"),
            ("secret-dir", "/etc/secrets"),
            ("oidc-groups-claim", "http://a.lab/x mail@b.lab"),
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
        assert!(mask("password", &json!(1234)).is_none());
        assert!(mask("maxPods", &json!(50)).is_some());
    }
}
