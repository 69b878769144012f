//! Writes YAML that every reader takes for what was meant.
//!
//! YAML 1.1, as Kubernetes' own programs read it (sigs.k8s.io/yaml), takes `yes`, `1e3`, `0x1`, `~`, `012` and dates
//! for something else than text. So every text is quoted, with JSON's escapes; a key is, unless it can only be a text.

use std::fmt::Write as _;

/// A value as YAML has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    Bool(bool),
    Integer(i64),
    /// Finite: readers disagree about the others.
    Float(f64),
    Text(String),
    List(Vec<Yaml>),
    /// In the order in which it is written; each key once.
    Map(Vec<(String, Yaml)>),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Yaml::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Yaml::Text(text)
    }
}

impl From<bool> for Yaml {
    fn from(value: bool) -> Self {
        Yaml::Bool(value)
    }
}

impl From<i64> for Yaml {
    fn from(value: i64) -> Self {
        Yaml::Integer(value)
    }
}

impl<T: Into<Yaml>> From<Vec<T>> for Yaml {
    fn from(values: Vec<T>) -> Self {
        Yaml::List(values.into_iter().map(Into::into).collect())
    }
}

impl<const N: usize> From<[(&str, Yaml); N]> for Yaml {
    fn from(entries: [(&str, Yaml); N]) -> Self {
        Yaml::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

impl From<&toml::Value> for Yaml {
    /// A date becomes its text, and a number that is none the text that names it.
    fn from(value: &toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Yaml::Text(text.clone()),
            toml::Value::Integer(number) => Yaml::Integer(*number),
            toml::Value::Float(number) if number.is_finite() => Yaml::Float(*number),
            toml::Value::Float(number) => Yaml::Text(number.to_string()),
            toml::Value::Boolean(value) => Yaml::Bool(*value),
            toml::Value::Datetime(time) => Yaml::Text(time.to_string()),
            toml::Value::Array(values) => Yaml::List(values.iter().map(Into::into).collect()),
            toml::Value::Table(table) => table.into(),
        }
    }
}

impl From<&toml::Table> for Yaml {
    fn from(table: &toml::Table) -> Self {
        Yaml::Map(table.iter().map(|(key, value)| (key.clone(), value.into())).collect())
    }
}

impl Yaml {
    /// An entry of a map, over one of that name; nothing happens to what is no map.
    pub fn set(&mut self, key: &str, value: Yaml) {
        let Yaml::Map(entries) = self else { return };
        match entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => entries.push((key.to_owned(), value)),
        }
    }

    /// Every entry of `over`, over what is there: maps in maps are put together, everything else is replaced.
    pub fn put_over(&mut self, over: Yaml) {
        let (Yaml::Map(entries), Yaml::Map(new)) = (&mut *self, &over) else {
            *self = over;
            return;
        };
        for (key, value) in new {
            match entries.iter_mut().find(|(known, _)| known == key) {
                Some((_, old)) => old.put_over(value.clone()),
                None => entries.push((key.clone(), value.clone())),
            }
        }
    }
}

/// The documents of one file, divided by `---`.
pub fn write(documents: &[Yaml]) -> String {
    let mut text = String::new();
    for (i, document) in documents.iter().enumerate() {
        if i > 0 {
            text.push_str("---\n");
        }
        block(&mut text, document, 0);
    }
    text
}

/// A value that begins a line, `indent` blanks from its beginning.
fn block(text: &mut String, value: &Yaml, indent: usize) {
    match value {
        Yaml::Map(entries) if !entries.is_empty() => {
            for (i, (name, value)) in entries.iter().enumerate() {
                if i > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                key(text, name);
                text.push(':');
                behind(text, value, indent + 2);
            }
        }
        Yaml::List(values) if !values.is_empty() => {
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str("- ");
                block(text, value, indent + 2);
            }
        }
        Yaml::Map(_) | Yaml::List(_) | Yaml::Bool(_) | Yaml::Integer(_) | Yaml::Float(_) | Yaml::Text(_) => {
            scalar(text, value);
            text.push('\n');
        }
    }
}

/// A value behind its key: on lines of its own where it has parts.
fn behind(text: &mut String, value: &Yaml, indent: usize) {
    let parts = match value {
        Yaml::Map(entries) => !entries.is_empty(),
        Yaml::List(values) => !values.is_empty(),
        Yaml::Bool(_) | Yaml::Integer(_) | Yaml::Float(_) | Yaml::Text(_) => false,
    };
    text.push_str(if parts { "\n" } else { " " });
    text.push_str(&" ".repeat(if parts { indent } else { 0 }));
    block(text, value, indent);
}

fn scalar(text: &mut String, value: &Yaml) {
    let written = match value {
        Yaml::Bool(value) => write!(text, "{value}"),
        Yaml::Integer(number) => write!(text, "{number}"),
        // With its point or exponent: it stays a fraction.
        Yaml::Float(number) => write!(text, "{number:?}"),
        Yaml::List(_) => write!(text, "[]"),
        Yaml::Map(_) => write!(text, "{{}}"),
        Yaml::Text(value) => {
            quoted(text, value);
            Ok(())
        }
    };
    written.expect("a string takes whatever is written into it");
}

/// What YAML 1.1 takes for a truth or for nothing although it is letters (yaml.org/type/bool.html, null.html).
const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

fn key(text: &mut String, name: &str) {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && !WORDS.contains(&name.to_ascii_lowercase().as_str());
    if plain { text.push_str(name) } else { quoted(text, name) }
}

/// In double quotes; whatever is not printable ASCII as an escape that YAML 1.1 and 1.2 know.
fn quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(c),
            c if u32::from(c) <= 0xffff => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What YAML reads as something else than the text, where it stands without quotes.
    const TRAPS: &[&str] = &[
        "yes",
        "No",
        "ON",
        "off",
        "y",
        "N",
        "true",
        "False",
        "null",
        "~",
        "",
        " ",
        "1e3",
        "0x1",
        "0o17",
        "017",
        "012",
        "08",
        "1_000",
        "12:30:45",
        "190:20:30",
        ".inf",
        "-.INF",
        ".nan",
        "NaN",
        "2026-11-28",
        "2026-11-28T08:00:00Z",
        "+1",
        "-1",
        "1.",
        ".5",
        "1.0",
        "<<",
        "=",
        "!!str x",
        "&a",
        "*a",
        "- a",
        "? a",
        "a: b",
        "a #b",
        "#a",
        "%a",
        "@a",
        "`a",
        "{a}",
        "[a]",
        "|",
        ">",
        "---",
        "...",
        "'",
        "\"",
        "\\",
        "a\nb",
        "\n",
        "a\n",
        "\ta",
        "a\r\nb",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{0}",
        "\u{1b}[2J",
        "é",
        "🚆",
        "${x}",
        "$(id)",
        "abcdef.0123456789abcdef",
        "123456.0123456789012345",
    ];

    /// As kube's own reader has it.
    fn read(text: &str) -> serde_json::Value {
        serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn meant(value: &Yaml) -> serde_json::Value {
        match value {
            Yaml::Bool(value) => (*value).into(),
            Yaml::Integer(number) => (*number).into(),
            Yaml::Float(number) => (*number).into(),
            Yaml::Text(text) => text.as_str().into(),
            Yaml::List(values) => values.iter().map(meant).collect(),
            Yaml::Map(entries) => {
                serde_json::Value::Object(entries.iter().map(|(key, value)| (key.clone(), meant(value))).collect())
            }
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::sample::select(TRAPS).prop_map(str::to_owned),
            (proptest::sample::select(TRAPS), proptest::sample::select(TRAPS)).prop_map(|(a, b)| format!("{a}{b}")),
            "[0-9._:eExX+-]{0,12}",
            any::<String>(),
        ]
    }

    fn tree() -> impl Strategy<Value = Yaml> {
        let leaf = prop_oneof![
            text().prop_map(Yaml::Text),
            any::<bool>().prop_map(Yaml::Bool),
            any::<i64>().prop_map(Yaml::Integer),
            (-1e9..1e9).prop_map(Yaml::Float),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Yaml::List),
                proptest::collection::btree_map(text(), inner, 0..5)
                    .prop_map(|entries| Yaml::Map(entries.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn what_yaml_reads_as_something_else_stays_text() {
        for trap in TRAPS {
            let entries = vec![((*trap).to_owned(), Yaml::List(vec![(*trap).into(), (*trap).into()]))];
            let written = write(&[Yaml::Map(entries)]);
            assert_eq!(read(&written), serde_json::json!({ *trap: [trap, trap] }), "{written}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_as_the_same(value in tree()) {
            let written = write(std::slice::from_ref(&value));
            prop_assert!(written.is_ascii(), "{}", written);
            prop_assert_eq!(read(&written), meant(&value), "{}", written);
        }
    }

    #[test]
    fn a_person_can_read_it() {
        let arg = Yaml::from([("name", "v".into()), ("value", "2".into())]);
        let mut value = Yaml::from([
            ("kind", "ClusterConfiguration".into()),
            ("apiServer", [("extraArgs", Yaml::List(vec![arg])), ("certSANs", Yaml::List(Vec::new()))].into()),
            ("on", true.into()),
        ]);
        value.put_over([("apiServer", [("certSANs", vec!["k8s.lab"].into())].into()), ("port", 6443.into())].into());
        assert_eq!(
            write(&[value, Yaml::Map(Vec::new())]),
            "kind: \"ClusterConfiguration\"\napiServer:\n  extraArgs:\n    - name: \"v\"\n      value: \"2\"\n  \
             certSANs:\n    - \"k8s.lab\"\n\"on\": true\nport: 6443\n---\n{}\n"
        );
    }
}
