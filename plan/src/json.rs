//! Strict JSON: what every signed document is parsed with, after its bytes were verified.
//!
//! Two parsers that disagree about a document are two documents. So a key that stands twice, a number with a
//! fraction, nesting deeper than [`MAX_DEPTH`] and bytes after the end are errors; unknown keys are refused by the
//! types themselves (`deny_unknown_fields`).

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

/// Arrays and objects inside each other; our documents need 7.
pub const MAX_DEPTH: usize = 16;

/// Why bytes are not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid document: {0}")]
pub struct InvalidJson(String);

/// Parses `bytes` as one strict JSON value of type `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InvalidJson> {
    check(bytes)?;
    read(bytes)
}

/// Whether `bytes` are one strict JSON value, of whatever type.
pub(crate) fn check(bytes: &[u8]) -> Result<(), InvalidJson> {
    let mut scan = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut scan).and_then(|()| scan.end()).map_err(|e| InvalidJson(e.to_string()))
}

/// Reads what passed [`check`].
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InvalidJson> {
    serde_json::from_slice(bytes).map_err(|e| InvalidJson(e.to_string()))
}

/// Writes a document: two spaces of indent and a newline at the end, so that people can read what they sign.
pub fn write<T: Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).expect("documents hold only texts, integers and lists");
    bytes.push(b'\n');
    bytes
}

/// Walks a value and keeps nothing of it.
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
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
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, an integer, a truth value, a list or an object")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        Err(E::custom(format!("expected only integers, found {value}")))
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(Key(key)) = map.next_key::<Key>()? {
            map.next_value_seed(self.deeper()?)?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("key {twice:?} stands twice")));
            }
        }
        Ok(())
    }
}

/// A key as it stands in the bytes, where no escape stands in it.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

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
}
