//! Strict JSON: what every signed document is parsed with, after its bytes were verified.
//!
//! Two parsers that disagree about a document are two documents. So a key that stands twice, a number with a
//! fraction, nesting deeper than [`MAX_DEPTH`] and bytes after the end are errors; unknown keys are refused by the
//! types themselves (`deny_unknown_fields`); and a document that would be written otherwise than it was read, such as
//! one with a list where an object belongs, or without a key that may be null, is refused as well.

use std::{fmt, io};

use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Arrays and objects inside each other; our documents need 7.
pub const MAX_DEPTH: usize = 16;

/// Why bytes are not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid document: {0}")]
pub struct InvalidJson(String);

/// Parses `bytes` as a document: one strict JSON value of type `T`, exactly as `T` would be written.
pub fn parse<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, InvalidJson> {
    match as_written(bytes) {
        Some(document) => Ok(document),
        None => document(&value(bytes)?),
    }
}

/// The document, where `bytes` are the very ones that [`write`] makes of it. That alone proves the strict form: what is
/// written has no key twice, no fraction and nothing behind it. So the usual document is read once and compared while
/// it is written again; every other one is still to be read with all care.
pub(crate) fn as_written<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    let document = serde_json::from_slice(bytes).ok()?;
    let mut left = Compared(bytes);
    serde_json::to_writer_pretty(&mut left, &document).ok()?;
    (left.0 == b"\n").then_some(document)
}

/// Takes only what it expects: the bytes that are left.
struct Compared<'a>(&'a [u8]);

impl io::Write for Compared<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(written).ok_or(io::ErrorKind::InvalidData)?;
        Ok(written.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parses `bytes` as one strict JSON value of a type that may have gained fields since it was written: what lies on a
/// disk, and is no document.
pub fn parse_stored<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InvalidJson> {
    part(&value(bytes)?)
}

/// The one strict JSON value that `bytes` are.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, InvalidJson> {
    let mut scan = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut scan).map_err(|e| InvalidJson(e.to_string()))?;
    scan.end().map_err(|e| InvalidJson(e.to_string()))?;
    Ok(value)
}

/// What of a value belongs to `T`, whatever else it holds.
pub(crate) fn part<T: DeserializeOwned>(value: &Value) -> Result<T, InvalidJson> {
    T::deserialize(value).map_err(|e| InvalidJson(e.to_string()))
}

/// The document that a value is, if it would be written as this very value.
pub(crate) fn document<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T, InvalidJson> {
    let document = part(value)?;
    let written = serde_json::to_value(&document).map_err(|e| InvalidJson(e.to_string()))?;
    match difference(&written, value, "") {
        None => Ok(document),
        Some(place) => Err(InvalidJson(format!("{place} stands there in another form than it is written in"))),
    }
}

/// The first place in which two values differ, as a path.
fn difference(written: &Value, found: &Value, path: &str) -> Option<String> {
    let place = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    match (written, found) {
        (Value::Object(written), Value::Object(found)) => {
            let lost =
                written.keys().chain(found.keys()).find(|k| !written.contains_key(*k) || !found.contains_key(*k));
            lost.map(|key| place(key)).or_else(|| {
                written
                    .iter()
                    .zip(found)
                    .find_map(|((key, written), (_, found))| difference(written, found, &place(key)))
            })
        }
        (Value::Array(written), Value::Array(found)) if written.len() == found.len() => (written.iter().zip(found))
            .enumerate()
            .find_map(|(i, (written, found))| difference(written, found, &place(&i.to_string()))),
        (written, found) if written == found => None,
        _ if path.is_empty() => Some("all of it".to_owned()),
        _ => Some(path.to_owned()),
    }
}

/// Writes a document: two spaces of indent and a newline at the end, so that people can read what they sign.
pub fn write<T: Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).expect("documents hold only texts, integers and lists");
    bytes.push(b'\n');
    bytes
}

/// Writes a document that no person signs, without blanks.
pub fn write_dense<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents hold only texts, integers and lists")
}

/// Reads a value and minds every key.
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Strict, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format!("expected at most {MAX_DEPTH} levels of nesting, found more")));
        }
        Ok(Strict { depth: self.depth + 1 })
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, an integer, a truth value, a list or an object")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format!("expected only integers, found {value}")))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(values.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.deeper()?)?;
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("key {key:?} stands twice")));
            }
            values.insert(key, value);
        }
        Ok(values.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_json_is_refused() {
        let parse = |text: &str| parse::<serde_json::Value>(text.as_bytes());
        assert!(parse(r#"{"a":[1,{"b":"c"}],"d":null,"e":-1}"#).is_ok());
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            "[1.5]",
            "[1e3]",
            "{} {}",
            "{}x",
            "",
            "{\"a\":\"\u{0}\"}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("{}{}", "[".repeat(16), "]".repeat(16))).is_ok());
        assert!(parse(&format!("{}{}", "[".repeat(17), "]".repeat(17))).is_err());
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        name: String,
        other: Option<u32>,
        kinds: Vec<Kind>,
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Upgrade,
    }

    #[test]
    fn a_document_in_another_form_than_it_is_written_in_is_refused_at_its_place() {
        let parse = |text: &str| parse::<Form>(text.as_bytes());
        assert!(parse(r#"{"name":"a","other":null,"kinds":["upgrade"]}"#).is_ok());
        assert!(parse(r#" { "kinds" : [ ] , "other" : 7 , "name" : "\u0061" } "#).is_ok());
        for (bad, place) in [
            (r#"["a",null,["upgrade"]]"#, "all of it"),
            (r#"{"name":"a","kinds":["upgrade"]}"#, "other"),
            (r#"{"name":"a","other":null,"kinds":[{"upgrade":null}]}"#, "kinds.0"),
        ] {
            let refused = parse(bad).expect_err(bad).to_string();
            assert_eq!(
                refused,
                format!("not a valid document: {place} stands there in another form than it is written in")
            );
        }
    }

    #[test]
    fn what_is_read_at_once_is_what_is_read_with_care() {
        let form = Form { name: "a\u{e9}\"".into(), other: None, kinds: vec![Kind::Upgrade, Kind::Upgrade] };
        let bytes = write(&form);
        assert_eq!(as_written(&bytes), Some(form));
        let mut read = 0;
        for (at, byte) in (0..bytes.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut changed = bytes.clone();
            changed[at] = byte;
            if let Some(found) = as_written::<Form>(&changed) {
                assert_eq!(document(&value(&changed).unwrap()).as_ref(), Ok(&found), "byte {byte} at {at}");
                read += 1;
            }
        }
        assert!(read > bytes.len(), "another letter of a name is another document, found {read}");
        for at in 0..bytes.len() {
            assert_eq!(as_written::<Form>(&bytes[..at]), None, "cut at {at}");
        }
        assert_eq!(as_written::<Form>(&[bytes.as_slice(), b"\n"].concat()), None);
        // What is good in another form is not read at once.
        assert_eq!(as_written::<Form>(br#"{"name":"a","other":null,"kinds":["upgrade"]}"#), None);
        assert_eq!(as_written::<Value>(b"{\n  \"a\": 1,\n  \"a\": 1\n}\n"), None);
    }
}
