//! Arguments of programs, as tables of the fleet file.

use std::collections::BTreeMap;

use super::problem::{Found, Location};

/// Arguments of a program in order: its name without the dashes, and its value. One may stand several times.
pub type Args = Vec<(String, String)>;

/// Reads `{ "name" = "value" }`; a number or a truth is written as the program reads it, and a list gives the argument
/// several times.
pub(super) fn args(found: &mut Found, of: &str, location: &Location, written: &BTreeMap<String, toml::Value>) -> Args {
    let mut args = Args::new();
    for (name, value) in written {
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !named {
            let hint = "write it without the dashes before it, such as \"v\" = \"2\"";
            found.error(location, format!("{of}: expected the name of an argument, found {name:?}; {hint}"));
            continue;
        }
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            match text(value) {
                Some(value) => args.push((name.clone(), value)),
                None => {
                    let hint = "write text, a number, true, false, or a list of them";
                    found.error(location, format!("{of}: argument {name:?} has the value {value}; {hint}"));
                }
            }
        }
    }
    args
}

fn text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()).filter(|text| !text.contains(['\n', '\0'])),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}
