//! Writes a fleet file with remarks that say where each thing comes from.

use hostler_plan::{
    import::{Entry, FileDraft, Table},
    text::clean,
};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Value};

/// A table with more entries stands on its own.
const MOST_IN_A_LINE: usize = 2;

/// The file as text; `head` says in a sentence where it comes from.
pub fn write(draft: &FileDraft, head: &str) -> String {
    let mut document = DocumentMut::new();
    for Entry { key, value, from } in &draft.top {
        document.insert(key, remarked(self::value(value), from));
    }
    let mut position = 0;
    for table in &draft.tables {
        put(document.as_table_mut(), table, &mut position);
    }
    let mut nodes = ArrayOfTables::new();
    for node in &draft.nodes {
        position += 1;
        let mut written = toml_edit::Table::new();
        written.set_position(Some(position));
        written.decor_mut().set_prefix(remark(&node.from));
        for Entry { key, value, from } in &node.entries {
            written.insert(key, remarked(self::value(value), from));
        }
        nodes.push(written);
    }
    if !nodes.is_empty() {
        document.insert("nodes", Item::ArrayOfTables(nodes));
    }
    format!("{}{document}", remarks(draft, head))
}

/// What stands above everything.
fn remarks(draft: &FileDraft, head: &str) -> String {
    let mut text = format!("# {}\n", clean(head));
    if !draft.unsaid.is_empty() {
        text.push_str("#\n# What it does not say, or what to know of it:\n");
        draft.unsaid.iter().for_each(|sentence| text.push_str(&format!("# - {}\n", clean(sentence))));
    }
    text.push('\n');
    text
}

fn remark(from: &str) -> String {
    if from.is_empty() { "\n".to_owned() } else { format!("\n# {}\n", clean(from)) }
}

fn remarked(mut value: Value, from: &str) -> Item {
    if !from.is_empty() {
        value.decor_mut().set_suffix(format!(" # {}", clean(from)));
    }
    Item::Value(value)
}

/// Puts a table where its name says; tables on the way to it are not written where they hold nothing.
fn put(root: &mut toml_edit::Table, table: &Table, position: &mut isize) {
    let Some(place) = descend(root, &table.path) else { return };
    *position += 1;
    place.set_implicit(false);
    place.set_position(Some(*position));
    place.decor_mut().set_prefix(remark(&table.from));
    for Entry { key, value, from } in &table.entries {
        let Some(entries) = value.as_table().filter(|entries| entries.len() > MOST_IN_A_LINE) else {
            place.insert(key, remarked(self::value(value), from));
            continue;
        };
        *position += 1;
        let mut below = toml_edit::Table::new();
        below.set_position(Some(*position));
        entries.iter().for_each(|(key, value)| drop(below.insert(key, Item::Value(self::value(value)))));
        place.insert(key, Item::Table(below));
    }
}

fn descend<'t>(root: &'t mut toml_edit::Table, path: &[String]) -> Option<&'t mut toml_edit::Table> {
    let mut place = root;
    for part in path {
        let item = place.entry(part).or_insert_with(|| {
            let mut table = toml_edit::Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        place = item.as_table_mut()?;
    }
    Some(place)
}

fn value(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        // No settings of a cluster have one; as a text it is what a person wrote.
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => Value::Array(values.iter().map(self::value).collect::<Array>()),
        toml::Value::Table(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.as_str(), self::value(value)));
            Value::InlineTable(entries.collect::<InlineTable>())
        }
    }
}
