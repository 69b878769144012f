//! Inventories and variables as YAML.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use serde_saphyr::{Spanned, budget, options};

use super::{Inventory, InventoryError, MAX_DEPTH, Place, Source, Variable, Variables};

type Values = Option<BTreeMap<String, Spanned<Value>>>;

/// A group as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupTable {
    hosts: Option<BTreeMap<String, Spanned<Values>>>,
    children: Option<BTreeMap<String, Option<GroupTable>>>,
    vars: Values,
}

/// Reads it with a bound on everything that a few bytes can make much of.
fn parse<T: DeserializeOwned>(source: &Source<'_>) -> Result<T, InventoryError> {
    let bounded = options! {
        budget: budget! { max_depth: 64, max_events: 400_000, max_aliases: 256, max_anchors: 64 },
    };
    serde_saphyr::from_str_with_options(source.text, bounded).map_err(|e| {
        let line = e.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        let message = e.without_snippet().to_string();
        let message = message.lines().next().unwrap_or_default().to_owned();
        InventoryError { place: Place { file: source.name.to_owned(), line }, message }
    })
}

pub(super) fn inventory(source: &Source<'_>, into: &mut Inventory) -> Result<(), InventoryError> {
    let groups: BTreeMap<String, Option<GroupTable>> = parse(source)?;
    for (name, table) in groups {
        group(source, &name, table, 0, into)?;
    }
    Ok(())
}

fn group(
    source: &Source<'_>,
    name: &str,
    table: Option<GroupTable>,
    depth: usize,
    into: &mut Inventory,
) -> Result<(), InventoryError> {
    let place = |line: usize| Place { file: source.name.to_owned(), line };
    if depth > MAX_DEPTH {
        let message = format!("expected at most {MAX_DEPTH} groups in each other, found {name:?} deeper");
        return Err(InventoryError { place: place(1), message });
    }
    into.groups.entry(name.to_owned()).or_default();
    let Some(GroupTable { hosts, children, vars }) = table else { return Ok(()) };
    for (host, variables) in hosts.into_iter().flatten() {
        into.host(&host, &place(line_of(&variables)))?;
        let members = &mut into.groups.entry(name.to_owned()).or_default().hosts;
        if !members.contains(&host) {
            members.push(host.clone());
        }
        let read = placed(source, variables.value);
        into.host_variables.entry(host).or_default().extend(read);
    }
    let read = placed(source, vars);
    into.groups.entry(name.to_owned()).or_default().variables.extend(read);
    for (child, table) in children.into_iter().flatten() {
        group(source, &child, table, depth + 1, into)?;
        let children = &mut into.groups.entry(name.to_owned()).or_default().children;
        if !children.contains(&child) {
            children.push(child);
        }
    }
    Ok(())
}

/// Variables of a group or of a host, in a file of their own.
pub(super) fn variables(source: &Source<'_>) -> Result<Variables, InventoryError> {
    let read: Values = parse(source)?;
    Ok(placed(source, read))
}

fn placed(source: &Source<'_>, values: Values) -> Variables {
    let placed = values.into_iter().flatten().map(|(name, value)| {
        let place = Place { file: source.name.to_owned(), line: line_of(&value) };
        (name, Variable { value: value.value, place })
    });
    placed.collect()
}

fn line_of<T>(value: &Spanned<T>) -> usize {
    usize::try_from(value.referenced.line()).unwrap_or(1).max(1)
}
