//! Settings as people write them: a file, every `*.toml` of the folder `<file>.d` in order of name, then the
//! environment. The last one that names a key wins.
//!
//! A program says with a type which keys there are: a structure of options that denies unknown fields. What each value
//! must be is the program's to check, with [`Written::wrong`] for what is no good.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::ErrorKind,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Config, ConfigError, Environment, File, FileFormat, Source as _};
use serde::de::DeserializeOwned;

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file or the environment holds something that is not a setting.
    #[error("settings in {place}: {reason}; correct or remove it there")]
    Fragment { place: String, reason: String },
    /// A value is no good.
    #[error("setting {key}: expected {expected}, found {found:?}; correct it in {place}")]
    Value { key: &'static str, expected: String, found: String, place: String },
    /// A file or folder is there and cannot be read, or the file that was asked for is not there.
    #[error("cannot read the settings in {file}: {reason}; correct it, or name another file with --config")]
    File { file: PathBuf, reason: String },
}

/// Where a program's settings stand.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Read when nobody names another file; it may be missing, a named one may not.
    pub file: &'static str,
    /// What stands before a key in the environment, without the underscore: `HOSTLER_AGENT`.
    pub prefix: &'static str,
    /// Reads the text of a file; why it is none, otherwise.
    pub text: fn(&[u8]) -> Result<String, String>,
}

/// Every value with the place that it came from.
#[derive(Debug)]
pub struct Written<T> {
    pub values: T,
    places: BTreeMap<String, String>,
}

impl Places {
    /// Reads `file`, or the usual one, its folder, and `environment`.
    pub fn read<T: DeserializeOwned>(
        self,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Written<T>, SettingsError> {
        let mut places = BTreeMap::new();
        let mut merged = Config::builder();
        let mut add = |place: String, source: Result<Config, ConfigError>| {
            let wrong = |e: ConfigError| SettingsError::Fragment { place: place.clone(), reason: e.to_string() };
            let source = source.map_err(wrong)?;
            // Each alone first: an unknown key is then reported with the place where it stands.
            source.clone().try_deserialize::<T>().map_err(wrong)?;
            places.extend(source.collect().map_err(wrong)?.into_keys().map(|key| (key, place.clone())));
            merged = std::mem::take(&mut merged).add_source(source);
            Ok(())
        };
        let main = file.unwrap_or(Path::new(self.file));
        let drop_ins = drop_ins(main)?.into_iter().map(|path| (path, false));
        for (path, may_be_missing) in std::iter::once((main.to_owned(), file.is_none())).chain(drop_ins) {
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(e) if may_be_missing && e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(SettingsError::File { file: path, reason: e.to_string() }),
            };
            let text = (self.text)(&bytes).map_err(|reason| SettingsError::File { file: path.clone(), reason })?;
            let source = Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build();
            add(path.display().to_string(), source)?;
        }
        let place = format!("the environment ({}_*)", self.prefix);
        let variables = self.variables(environment, &place)?;
        let source = Environment::with_prefix(self.prefix).try_parsing(true).source(Some(variables));
        add(place.clone(), Config::builder().add_source(source).build())?;
        let values = merged.build().and_then(Config::try_deserialize);
        let values = values.map_err(|e| SettingsError::Fragment { place, reason: e.to_string() })?;
        Ok(Written { values, places })
    }

    /// The variables that are ours; those of others may hold any bytes.
    fn variables(
        self,
        environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
        place: &str,
    ) -> Result<config::Map<String, String>, SettingsError> {
        let mut ours = config::Map::new();
        for (key, value) in environment {
            let Ok(key) = key.into().into_string() else { continue };
            if key.strip_prefix(self.prefix).is_some_and(|rest| rest.starts_with('_')) {
                let value = value.into().into_string().map_err(|found| SettingsError::Fragment {
                    place: place.to_owned(),
                    reason: format!("{key} expected UTF-8, found {found:?}"),
                })?;
                ours.insert(key, value);
            }
        }
        Ok(ours)
    }
}

impl<T> Written<T> {
    /// The error for a value that is no good.
    pub fn wrong(&self, key: &'static str, expected: impl Into<String>, found: impl ToString) -> SettingsError {
        let place = self.places.get(key).cloned().unwrap_or_default();
        SettingsError::Value { key, expected: expected.into(), found: found.to_string(), place }
    }

    /// A time in whole seconds, which must lie in `range` where it is written.
    pub fn seconds(
        &self,
        key: &'static str,
        written: Option<u64>,
        range: RangeInclusive<u64>,
        default: Duration,
    ) -> Result<Duration, SettingsError> {
        match written {
            None => Ok(default),
            Some(seconds) if range.contains(&seconds) => Ok(Duration::from_secs(seconds)),
            Some(other) => Err(self.wrong(key, format!("{} to {} seconds", range.start(), range.end()), other)),
        }
    }
}

/// The files of `<file>.d` that end in `.toml`, sorted by name. No folder is no drop-ins; one that cannot be read is an
/// error, because somebody's settings are in it.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".d");
    let folder = PathBuf::from(folder);
    let failed = |e: std::io::Error| SettingsError::File { file: folder.clone(), reason: e.to_string() };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Keys {
        host: Option<String>,
        port: Option<u16>,
    }

    const PLACES: Places = Places {
        file: "/nowhere/hostler/x.toml",
        prefix: "HOSTLER_X",
        text: |bytes| String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string()),
    };

    /// Reads `x.toml` of a new folder, after `make` put things there.
    fn read(make: impl FnOnce(&Path), environment: &[(&str, &str)]) -> Result<Written<Keys>, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.toml"), "").unwrap();
        make(folder.path());
        PLACES.read(Some(&folder.path().join("x.toml")), environment.iter().copied())
    }

    fn write(folder: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(folder.join("x.toml.d")).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn the_last_place_wins_and_is_remembered() {
        let made = |folder: &Path| {
            write(folder, "x.toml", "host = \"a\"\nport = 1\n");
            write(folder, "x.toml.d/20.toml", "port = 3\n");
            write(folder, "x.toml.d/10.toml", "host = \"b\"\nport = 2\n");
            write(folder, "x.toml.d/note.txt", "not = \"read\"\n");
        };
        let written = read(made, &[("HOSTLER_XY_PORT", "9"), ("PATH", "y")]).unwrap();
        assert_eq!(written.values, Keys { host: Some("b".into()), port: Some(3) });
        assert!(written.wrong("port", "another", 3).to_string().contains("x.toml.d/20.toml"));
        let written = read(made, &[("HOSTLER_X_PORT", "4"), ("HOSTLER_X_HOST", "12")]).unwrap();
        assert_eq!(
            written.values,
            Keys { host: Some("12".into()), port: Some(4) },
            "a number is text where text is due"
        );
        assert!(written.wrong("port", "another", 4).to_string().contains("the environment (HOSTLER_X_*)"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let text = |result: Result<Written<Keys>, SettingsError>| result.unwrap_err().to_string();
        let found = text(read(|f| write(f, "x.toml", "hst = \"a\""), &[]));
        assert!(found.contains("x.toml: ") && found.contains("hst") && found.contains("`host`"), "{found}");
        let found = text(read(|f| write(f, "x.toml.d/10.toml", "prt = 1"), &[]));
        assert!(found.contains("x.toml.d/10.toml") && found.contains("prt"), "{found}");
        let found = text(read(|_| {}, &[("HOSTLER_X_COLOUR", "red")]));
        assert!(found.contains("environment (HOSTLER_X_*)") && found.contains("colour"), "{found}");
    }

    #[test]
    fn what_is_no_toml_or_of_another_kind_is_refused_with_its_place() {
        for bad in ["host = ", "port = \"soon\"", "port = 70000", "[host]\na = 1"] {
            let found = read(|f| write(f, "x.toml.d/bad.toml", bad), &[]).unwrap_err().to_string();
            assert!(found.contains("x.toml.d/bad.toml"), "{bad}: {found}");
        }
    }

    #[test]
    fn what_is_there_and_cannot_be_read_is_refused() {
        // A file in the folder's place, because no permission stops a test that root runs.
        let found = read(|f| std::fs::write(f.join("x.toml.d"), "").unwrap(), &[]).unwrap_err().to_string();
        assert!(found.contains("cannot read the settings in") && found.contains("x.toml.d"), "{found}");
        let found = read(
            |f| {
                std::fs::create_dir_all(f.join("x.toml.d/10.toml")).unwrap();
            },
            &[],
        );
        assert!(found.unwrap_err().to_string().contains("10.toml"), "a folder where a file is due");
        let found = read(|f| std::fs::remove_file(f.join("x.toml")).unwrap(), &[]).unwrap_err().to_string();
        assert!(found.contains("x.toml") && found.contains("--config"), "{found}");
    }

    #[test]
    fn only_the_usual_file_may_be_missing() {
        let none: [(&str, &str); 0] = [];
        assert_eq!(PLACES.read::<Keys>(None, none).unwrap().values, Keys::default());
    }

    #[test]
    fn the_environment_of_others_may_hold_any_bytes_and_ours_may_not() {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = || OsString::from_vec(vec![0xff]);
        let read = |key: OsString| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("x.toml"), "").unwrap();
            PLACES.read::<Keys>(Some(&folder.path().join("x.toml")), [(key, bytes())])
        };
        assert_eq!(read("LESS".into()).unwrap().values, Keys::default());
        assert_eq!(read(bytes()).unwrap().values, Keys::default());
        assert!(read("HOSTLER_X_HOST".into()).unwrap_err().to_string().contains("HOSTLER_X_HOST expected UTF-8"));
    }
}
