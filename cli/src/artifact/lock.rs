//! The lock beside a fleet file: read and written so that nothing of what a person wrote in it is lost.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::error::Error;

/// What stands at the top of a new one.
const HEAD: &str = "\
# Files by content, written by `hostler artifact lock`; keep it in git beside the fleet file.
# Comments and keys that you write stay. What no node needs any more is yours to remove.

";

/// The order of the keys of an entry.
const KEYS: [&str; 13] = [
    "name",
    "kind",
    "package",
    "version",
    "kubernetes",
    "arch",
    "role",
    "to",
    "path",
    "url",
    "member",
    "sha256",
    "size",
];

/// One entry, as it is to stand there: its keys with their texts, without digest and size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub kind: String,
    pub package: Option<String>,
    pub version: Option<String>,
    /// Where it was said, or where it is not the version itself.
    pub kubernetes: Option<String>,
    /// `aarch64`, `x86_64` or `none`; none at all where it would be `none` by itself.
    pub arch: Option<String>,
    pub role: Option<String>,
    pub to: Option<String>,
    pub path: Option<String>,
    pub url: Option<String>,
    pub member: Option<String>,
    pub sha256: String,
    pub size: u64,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Updated,
    Same,
}

impl Change {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Updated => "updated",
            Change::Same => "same",
        }
    }
}

/// A lock that is being written.
#[derive(Debug)]
pub(super) struct Lock {
    /// What stands above the first entry and is about the whole.
    head: String,
    document: DocumentMut,
}

impl Lock {
    /// Reads one; `text` is none before the first.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Error> {
        let parsed: Result<DocumentMut, _> = text.unwrap_or(HEAD).parse();
        let mut document = parsed.map_err(|e| Error::Failed(format!("the lock is no TOML: {e}correct it by hand")))?;
        let mut head = String::new();
        match document.get_mut("artifacts").and_then(Item::as_array_of_tables_mut).and_then(|t| t.get_mut(0)) {
            Some(first) => head = take_head(first),
            // Nothing but comments.
            None => {
                document.trailing().as_str().unwrap_or_default().clone_into(&mut head);
                document.set_trailing("");
            }
        }
        Ok(Self { head, document })
    }

    /// Puts an entry in. One of its name, architecture and Kubernetes version gives way, and what a person wrote there
    /// stays. A version that has another digest than before is refused unless `replace`: releases do not change.
    pub(super) fn put(&mut self, entry: &Entry, of_kubernetes: bool, replace: bool) -> Result<Change, Error> {
        let tables = self.tables()?;
        let wanted = identity(entry, of_kubernetes);
        let Some(table) = tables.iter_mut().find(|table| identity_of(table, of_kubernetes) == wanted) else {
            let mut table = Table::new();
            write(&mut table, entry);
            tables.push(table);
            return Ok(Change::Added);
        };
        let text = |key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
        let same_version = entry.version.is_some() && text("version") == entry.version;
        let held = text("sha256").map(|hex| hex.trim_start_matches("sha256:").to_lowercase());
        if same_version && held.as_deref() != Some(&entry.sha256) && !replace {
            let (name, version) = (&entry.name, entry.version.as_deref().unwrap_or_default());
            return Err(Error::Failed(format!(
                "{name} {version} is locked with sha256 {}, found {}: a release does not change, so ask who made it; \
                 --replace takes the new one",
                held.unwrap_or_default(),
                entry.sha256
            )));
        }
        let before = table.to_string();
        write(table, entry);
        Ok(if table.to_string() == before { Change::Same } else { Change::Updated })
    }

    /// The whole text, its entries in order of name, Kubernetes version and architecture.
    pub(super) fn finish(mut self) -> Result<String, Error> {
        let tables = self.tables()?;
        let mut all: Vec<Table> = std::mem::take(tables).into_iter().collect();
        all.sort_by_key(order);
        for (position, table) in all.iter_mut().enumerate() {
            table.set_position(isize::try_from(position).ok());
            let decor = table.decor_mut();
            let comment =
                decor.prefix().and_then(|p| p.as_str()).unwrap_or_default().trim_start_matches('\n').to_owned();
            let gap = if position == 0 { "" } else { "\n" };
            decor.set_prefix(format!("{gap}{comment}"));
        }
        *tables = all.into_iter().collect::<ArrayOfTables>();
        Ok(format!("{}{}", self.head, self.document))
    }

    fn tables(&mut self) -> Result<&mut ArrayOfTables, Error> {
        let item = self.document.entry("artifacts").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        item.as_array_of_tables_mut().ok_or_else(|| {
            Error::Failed("the lock's artifacts are no [[artifacts]]; write each as a table of its own".to_owned())
        })
    }
}

/// What stands before the first entry and is about the whole: its comment up to the last empty line.
fn take_head(first: &mut Table) -> String {
    let decor = first.decor_mut();
    let prefix = decor.prefix().and_then(|p| p.as_str()).unwrap_or_default().to_owned();
    let at = prefix.rfind("\n\n").map_or(0, |i| i + 2);
    decor.set_prefix(&prefix[at..]);
    prefix[..at].to_owned()
}

fn identity(entry: &Entry, of_kubernetes: bool) -> [String; 3] {
    let kubernetes = entry.kubernetes.clone().or_else(|| entry.version.clone().filter(|_| of_kubernetes));
    [entry.name.clone(), arch(entry.arch.as_deref()), kubernetes.unwrap_or_default()]
}

fn identity_of(table: &Table, of_kubernetes: bool) -> [String; 3] {
    let text = |key: &str| table.get(key).and_then(Item::as_str);
    let kubernetes = text("kubernetes").or_else(|| text("version").filter(|_| of_kubernetes));
    [text("name").unwrap_or_default().to_owned(), arch(text("arch")), kubernetes.unwrap_or_default().to_owned()]
}

fn arch(text: Option<&str>) -> String {
    text.unwrap_or("none").to_owned()
}

fn order(table: &Table) -> [String; 4] {
    ["name", "kubernetes", "version", "arch"]
        .map(|key| table.get(key).and_then(Item::as_str).unwrap_or_default().to_owned())
}

/// Writes what was found; a key of which nothing was found stays as it is, but where the file is from.
fn write(table: &mut Table, entry: &Entry) {
    let size = i64::try_from(entry.size).unwrap_or(i64::MAX);
    let texts = [
        ("name", Some(&entry.name)),
        ("kind", Some(&entry.kind)),
        ("package", entry.package.as_ref()),
        ("version", entry.version.as_ref()),
        ("kubernetes", entry.kubernetes.as_ref()),
        ("arch", entry.arch.as_ref()),
        ("role", entry.role.as_ref()),
        ("to", entry.to.as_ref()),
        ("path", entry.path.as_ref()),
        ("url", entry.url.as_ref()),
        ("member", entry.member.as_ref()),
        ("sha256", Some(&entry.sha256)),
    ];
    for (key, text) in texts {
        match text {
            Some(text) if table.get(key).and_then(Item::as_str) != Some(text) => set(table, key, value(text)),
            None if ["path", "url", "member"].contains(&key) => drop(table.remove(key)),
            Some(_) | None => {}
        }
    }
    if table.get("size").and_then(Item::as_integer) != Some(size) {
        set(table, "size", value(size));
    }
    let place = |key: &str| KEYS.iter().position(|k| *k == key).unwrap_or(KEYS.len());
    table.sort_values_by(|a, _, b, _| place(a.get()).cmp(&place(b.get())));
}

/// Keeps the comment behind a value.
fn set(table: &mut Table, key: &str, mut new: Item) {
    let decor = table.get(key).and_then(Item::as_value).map(|old| old.decor().clone());
    if let (Some(decor), Some(new)) = (decor, new.as_value_mut()) {
        *new.decor_mut() = decor;
    }
    table.insert(key, new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runc(version: &str, sha256: &str) -> Entry {
        Entry {
            name: "runc".into(),
            kind: "program".into(),
            version: Some(version.into()),
            arch: Some("x86_64".into()),
            path: Some("runc".into()),
            sha256: sha256.into(),
            size: 7,
            ..Entry::default()
        }
    }

    const WRITTEN: &str = "\
# The lab's files.

# Asked for by Ann: do not go beyond 1.4.
[[artifacts]]
name = \"runc\"
version = \"v1.4.0\" # with the fix
arch = \"x86_64\"
role = \"worker\"
path = \"old\"
sha256 = \"aa\"
size = 1
";

    #[test]
    fn what_a_person_wrote_stays_and_the_order_is_that_of_the_names() {
        let mut lock = Lock::parse(Some(WRITTEN)).unwrap();
        assert_eq!(lock.put(&runc("v1.4.1", "bb"), false, false).unwrap(), Change::Updated);
        let bridge = Entry { name: "bridge".into(), ..runc("v1.8.0", "cc") };
        assert_eq!(lock.put(&bridge, false, false).unwrap(), Change::Added);
        let text = lock.finish().unwrap();
        assert_eq!(
            text,
            "\
# The lab's files.

[[artifacts]]
name = \"bridge\"
kind = \"program\"
version = \"v1.8.0\"
arch = \"x86_64\"
path = \"runc\"
sha256 = \"cc\"
size = 7

# Asked for by Ann: do not go beyond 1.4.
[[artifacts]]
name = \"runc\"
kind = \"program\"
version = \"v1.4.1\" # with the fix
arch = \"x86_64\"
role = \"worker\"
path = \"runc\"
sha256 = \"bb\"
size = 7
"
        );
        let mut again = Lock::parse(Some(&text)).unwrap();
        assert_eq!(again.put(&bridge, false, false).unwrap(), Change::Same);
        assert_eq!(again.finish().unwrap(), text, "the second time changes nothing");
    }

    #[test]
    fn the_first_entry_comes_below_the_head() {
        let mut lock = Lock::parse(None).unwrap();
        lock.put(&runc("v1.4.0", "aa"), false, false).unwrap();
        let text = lock.finish().unwrap();
        assert!(text.starts_with(&format!("{HEAD}[[artifacts]]\nname = \"runc\"\n")), "{text}");
        let mut again = Lock::parse(Some(&text)).unwrap();
        again.put(&Entry { name: "a".into(), ..runc("v1.4.0", "aa") }, false, false).unwrap();
        assert!(again.finish().unwrap().starts_with(&format!("{HEAD}[[artifacts]]\nname = \"a\"\n")));
    }

    #[test]
    fn a_release_that_changed_is_refused_and_another_version_of_kubernetes_stands_beside() {
        let mut lock = Lock::parse(Some(WRITTEN)).unwrap();
        let refused = lock.put(&runc("v1.4.0", "bb"), false, false).unwrap_err().to_string();
        assert!(refused.contains("runc v1.4.0 is locked with sha256 aa, found bb"), "{refused}");
        assert_eq!(lock.put(&runc("v1.4.0", "bb"), false, true).unwrap(), Change::Updated);
        let kubelet = |version| Entry { name: "kubelet".into(), ..runc(version, "dd") };
        assert_eq!(lock.put(&kubelet("v1.36.3"), true, false).unwrap(), Change::Added);
        assert_eq!(lock.put(&kubelet("v1.37.2"), true, false).unwrap(), Change::Added);
    }
}
