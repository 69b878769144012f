//! Ansible's own form: groups in brackets, a host in each line with its variables behind it.

use serde_json::Value;

use super::{Inventory, InventoryError, Place, Source, Variable};

/// What the lines below a head are.
enum Section {
    Hosts(String),
    Children(String),
    Variables(String),
}

pub(super) fn inventory(source: &Source<'_>, into: &mut Inventory) -> Result<(), InventoryError> {
    let mut section = Section::Hosts("ungrouped".to_owned());
    for (number, line) in source.text.lines().enumerate() {
        let place = Place { file: source.name.to_owned(), line: number + 1 };
        let wrong = |message: String| InventoryError { place: place.clone(), message };
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = line.strip_prefix('[') {
            let Some((head, _)) = head.split_once(']') else {
                return Err(wrong(format!("expected [GROUP] with a bracket at its end, found {line:?}")));
            };
            section = match head.split_once(':') {
                None => Section::Hosts(head.to_owned()),
                Some((group, "children")) => Section::Children(group.to_owned()),
                Some((group, "vars")) => Section::Variables(group.to_owned()),
                Some((_, other)) => {
                    return Err(wrong(format!("expected [GROUP:children] or [GROUP:vars], found {other:?}")));
                }
            };
            let (Section::Hosts(group) | Section::Children(group) | Section::Variables(group)) = &section;
            into.groups.entry(group.clone()).or_default();
            continue;
        }
        match &section {
            Section::Hosts(group) => {
                let words = words(line).map_err(wrong)?;
                let Some((pattern, variables)) = words.split_first() else { continue };
                for host in range(pattern).map_err(|message| InventoryError { place: place.clone(), message })? {
                    into.host(&host, &place)?;
                    let of_group = &mut into.groups.entry(group.clone()).or_default().hosts;
                    if !of_group.contains(&host) {
                        of_group.push(host.clone());
                    }
                    for variable in variables {
                        let (name, value) = assigned(variable, &place)?;
                        into.host_variables.entry(host.clone()).or_default().insert(name, value);
                    }
                }
            }
            Section::Children(group) => {
                let name = line.split_whitespace().next().unwrap_or(line).to_owned();
                into.groups.entry(name.clone()).or_default();
                into.groups.entry(group.clone()).or_default().children.push(name);
            }
            Section::Variables(group) => {
                let (name, value) = assigned(line, &place)?;
                into.groups.entry(group.clone()).or_default().variables.insert(name, value);
            }
        }
    }
    Ok(())
}

fn assigned(text: &str, place: &Place) -> Result<(String, Variable), InventoryError> {
    let Some((name, value)) = text.split_once('=') else {
        let message = format!("expected NAME=VALUE, found {text:?}");
        return Err(InventoryError { place: place.clone(), message });
    };
    let value = value.trim();
    let unquoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value);
    // Ansible reads them as literals of Python.
    let value = match unquoted {
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        text => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
    };
    Ok((name.trim().to_owned(), Variable { value, place: place.clone() }))
}

/// Words with blanks between; a quoted part is one. A `#` that begins a word begins a remark.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match quote {
            Some(open) => {
                word.push(c);
                if c == open {
                    quote = None;
                }
            }
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            None if c == '#' && word.is_empty() => break,
            None => {
                if c == '"' || c == '\'' {
                    quote = Some(c);
                }
                word.push(c);
            }
        }
    }
    if quote.is_some() {
        return Err(format!("expected a quote at the end of {word:?}"));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// `node[01:10].lab` and `node[a:c]`: a name for each; anything else is one name.
fn range(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('[') else { return Ok(vec![pattern.to_owned()]) };
    let wrong = || format!("expected a range such as node[01:10], found {pattern:?}");
    let (range, after) = rest.split_once(']').ok_or_else(wrong)?;
    let (from, to) = range.split_once(':').ok_or_else(wrong)?;
    let named = |middle: String| format!("{before}{middle}{after}");
    if let (Ok(first), Ok(last)) = (from.parse::<usize>(), to.parse::<usize>()) {
        if first > last || last - first >= super::MAX_HOSTS {
            return Err(format!("{}, of at most {} hosts", wrong(), super::MAX_HOSTS));
        }
        let width = from.len();
        return Ok((first..=last).map(|number| named(format!("{number:0width$}"))).collect());
    }
    let letter = |text: &str| Some(text.chars().next()?).filter(|c| text.len() == 1 && c.is_ascii_alphabetic());
    let (first, last) = letter(from).zip(letter(to)).filter(|(first, last)| first <= last).ok_or_else(wrong)?;
    Ok((first..=last).map(|c| named(c.to_string())).collect())
}
