//! With what registries are asked: read from files of the admin's own, and sealed to each machine that asks. Nothing
//! that is said here says what is in such a file.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{
    document::{Artifact, Plan, Recipient, Roster},
    fleet::{Fleet, FleetNode},
    id::{Digest, NodeName},
    planner::credentials_name,
    registry::{Authorization, Credential, Credentials},
    step::ClusterRole,
};
use hostler_seal::seal_note;
use serde::Deserialize;

use crate::{
    Admin,
    artifact::{SEALED, sealed_path},
    error::Error,
    file::{read_text, write_whole},
    plan::upload_sealed,
};

/// A password and its user, or a token of a cloud, are far shorter.
const MAX_FILE_BYTES: usize = 64 << 10;

/// Longer than a fleet file lets any plan live.
const KEPT: Duration = Duration::from_secs(32 * 86_400);

/// What was sealed to the machines of a fleet.
#[derive(Debug, Default)]
pub struct Sealed {
    /// As plans name it.
    pub artifacts: BTreeMap<NodeName, Artifact>,
    contents: BTreeMap<Digest, Vec<u8>>,
}

impl Sealed {
    /// Seals what the fleet file names, to the nodes of the roster that will be the next one or of the newest, and says
    /// so in the fleet; nothing without a file.
    pub async fn of(
        fleet: &mut Fleet,
        file: Option<&Path>,
        admin: &mut Admin,
        next: Option<&Roster>,
    ) -> Result<Self, Error> {
        let Some(file) = file else { return Ok(Self::default()) };
        admin.refresh().await?;
        let roster = match next {
            Some(roster) => roster,
            None => admin.trust_store().require_roster()?.document(),
        };
        let sealed = seal(fleet, file, roster)?;
        fleet.sealed = sealed.artifacts.clone();
        Ok(sealed)
    }

    /// Keeps what the plan names, and uploads it: whoever signs or submits the plan may do so on another machine.
    pub async fn hand_in(&self, admin: &mut Admin, plan: &Plan, kept: &Path) -> Result<(), Error> {
        self.keep(plan, kept)?;
        upload_sealed(admin, plan, kept).await
    }

    /// Writes what the plan names to where artifacts are looked for, and forgets what no plan can name any more.
    pub fn keep(&self, plan: &Plan, kept: &Path) -> Result<(), Error> {
        let named = plan.artifacts.iter().filter_map(|a| Some((a, self.contents.get(&a.sha256)?)));
        for (artifact, content) in named {
            write_whole(&sealed_path(kept, &artifact.sha256), content, true)?;
        }
        for old in fs::read_dir(kept.join(SEALED)).into_iter().flatten().flatten() {
            let age = old.metadata().and_then(|found| found.modified()).map(|at| at.elapsed().unwrap_or_default());
            if age.is_ok_and(|age| age > KEPT) {
                let _ = fs::remove_file(old.path());
            }
        }
        Ok(())
    }
}

/// Seals to each machine that the roster lists what the fleet file lets it ask registries with.
pub fn seal(fleet: &Fleet, fleet_file: &Path, roster: &Roster) -> Result<Sealed, Error> {
    let folder = fleet_file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut read = BTreeMap::new();
    let mut sealed = Sealed::default();
    for node in fleet.nodes.iter().filter(|node| node.role != ClusterRole::Host) {
        let credentials = of(fleet, node, folder, &mut read)?;
        let Some(listed) = roster.active(&node.name).filter(|_| !credentials.credentials.is_empty()) else { continue };
        let key = listed.sealing_recipient().map_err(|e| Error::Failed(format!("{}: {e}", node.name)))?;
        let content = seal_one(key, &credentials)?;
        let sha256 = Digest::of(&content);
        let artifact = Artifact { name: credentials_name(&node.name), sha256, size: content.len() as u64, arch: None };
        sealed.artifacts.insert(node.name.clone(), artifact);
        sealed.contents.insert(sha256, content);
    }
    Ok(sealed)
}

fn seal_one(key: Recipient, credentials: &Credentials) -> Result<Vec<u8>, Error> {
    let text = serde_json::to_string(credentials).map_err(|e| Error::Failed(e.to_string()))?;
    seal_note(key, &text).map_err(|e| Error::Failed(format!("sealing the credentials of registries failed: {e}")))
}

/// What a machine may ask with; each file is read once.
fn of(
    fleet: &Fleet,
    node: &FleetNode,
    folder: &Path,
    read: &mut BTreeMap<PathBuf, Authorization>,
) -> Result<Credentials, Error> {
    let mut all = Credentials::default();
    for (name, registry) in fleet.machine(node).container_runtime.registries {
        for (url, file) in &registry.credentials {
            let file = folder.join(file);
            let authorization = match read.get(&file) {
                Some(known) => known.clone(),
                None => {
                    let new = authorization(&file)?;
                    read.insert(file, new.clone());
                    new
                }
            };
            all.credentials.push(Credential { registry: name.clone(), url: url.clone(), authorization });
        }
    }
    Ok(all)
}

/// A file of credentials.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
}

/// What such a file says, for the header of requests.
fn authorization(path: &Path) -> Result<Authorization, Error> {
    const FORM: &str = "user = \"…\" and password = \"…\", or token = \"…\", each value in quotes";
    let wrong = |place: &str, expected: &str, found: &str| {
        Error::Usage(format!("{}{place}: expected {expected}, found {found}; nothing was sent", path.display()))
    };
    let metadata = fs::metadata(path).map_err(|e| Error::file("read", path, e))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Usage(format!(
            "{}: expected credentials that only their owner can read, found mode {mode:04o}; run `chmod 600 {}`, and \
             change what others may have read",
            path.display(),
            path.display()
        )));
    }
    let text = read_text(path, MAX_FILE_BYTES)?;
    // What the reader says of it would show a part of it.
    let written: Written = toml::from_str(&text).map_err(|e| {
        let line = text[..e.span().map_or(0, |span| span.start.min(text.len()))].matches('\n').count() + 1;
        wrong(&format!(":{line}"), FORM, "something else, which is not shown")
    })?;
    let seen = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let value = match written {
        Written { user: Some(user), password: Some(password), token: None } => {
            if !seen(&user) || user.contains(':') {
                return Err(wrong("", "a user without ':' and in one line", "another one"));
            }
            if !seen(&password) {
                return Err(wrong("", "a password in one line", "none, or one of several lines"));
            }
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }
        Written { user: None, password: None, token: Some(token) } => format!("Bearer {token}"),
        Written { user, password, token } => {
            let keys = [("user", user.is_some()), ("password", password.is_some()), ("token", token.is_some())];
            let there: Vec<&str> = keys.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
            let found = match there.len() {
                0 => "nothing".to_owned(),
                3 => "all three".to_owned(),
                _ => format!("{} alone", there.join(" and ")),
            };
            return Err(wrong("", FORM, &found));
        }
    };
    Authorization::new(value).map_err(|e| Error::Usage(format!("{}: {e}; nothing was sent", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: impl AsRef<[u8]>, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.toml");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn header(content: impl AsRef<[u8]>) -> String {
        let (_folder, path) = file(content, 0o600);
        authorization(&path).unwrap().into()
    }

    fn basic(user_and_password: &str) -> String {
        format!("Basic {}", STANDARD.encode(user_and_password))
    }

    #[test]
    fn whatever_an_editor_wrote_is_read_as_it_was_meant() {
        assert_eq!(header("user = \"pull\"\npassword = 'hunter\"2'\n"), basic("pull:hunter\"2"));
        assert_eq!(header("user = \"pull\"\r\npassword = \"hunter2\"\r\n"), basic("pull:hunter2"));
        assert_eq!(header("\u{feff}user = \"jürg\"\npassword = \"pässwört “é” 漢\"\n"), basic("jürg:pässwört “é” 漢"));
        assert_eq!(header("# mine\npassword = \"a:b # c\\\\d\"\nuser = \"pull\""), basic("pull:a:b # c\\d"));
        assert_eq!(header("token = \"ghp_a.b-c~d+e/f==\"\n"), "Bearer ghp_a.b-c~d+e/f==");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_without_what_is_in_it() {
        let cases = [
            ("user = pull\npassword = hunter2\n", "hub.toml:1: expected user = \"…\" and password = \"…\", or token"),
            ("user = \"pull\"\npassword = hunter2\n", "hub.toml:2: expected user"),
            ("user = \"pull\"\npassword = 12345\n", "hub.toml:2: expected user"),
            ("hunter2", "hub.toml:1: expected user"),
            ("hunter2 = \"x\"\n", "hub.toml:1: expected user"),
            ("{\"auths\":{\"hunter2\":{}}}", "hub.toml:1: expected user"),
            ("", "found nothing; nothing was sent"),
            ("user = \"hunter2\"\n", "found user alone"),
            ("token = \"hunter2\"\nuser = \"hunter2\"\n", "found user and token alone"),
            ("token = \"hunter2\"\nuser = \"a\"\npassword = \"b\"\n", "found all three"),
            ("user = \"a:hunter2\"\npassword = \"b\"\n", "expected a user without ':'"),
            ("user = \"a\"\npassword = \"\"\n", "expected a password in one line, found none"),
            ("user = \"a\"\npassword = \"\"\"hunter2\nb\"\"\"\n", "or one of several lines"),
            ("token = \"hunter2 b\"\n", "a token of at most 16384 letters"),
            ("token = \"hunter2\\nX-Other: b\"\n", "a token of at most 16384 letters"),
        ];
        for (content, expected) in cases {
            let (_folder, path) = file(content, 0o600);
            let error = authorization(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2") && !error.contains("12345"), "{error}");
        }
        let (_folder, path) = file("user = \"pull\"\npassword = \"hunter2\"\n", 0o644);
        let error = authorization(&path).unwrap_err().to_string();
        assert!(error.contains("found mode 0644; run `chmod 600 "), "{error}");
        let error = authorization(Path::new("/nowhere/hub.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/hub.toml"), "{error}");
    }
}
