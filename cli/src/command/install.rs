//! `hostler node install`, `remove-agent` and `image`: from a machine to a node and back.

mod enrol;
mod image;
mod listed;
mod remove;
mod screen;

use std::{collections::BTreeMap, io::BufRead as _, sync::Arc};

pub(super) use enrol::install;
use hostler_plan::{
    document::SignerRole,
    text::{clean, count},
    trust::Duty,
};
pub(super) use image::image;
pub(super) use remove::remove_agent;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Admin,
    args::Reach,
    error::Error,
    install::{Found, Limits, Rights, SshHost},
};

/// What became of each machine: what was sought of it, or one sentence.
type Each<T> = BTreeMap<SshHost, Result<T, String>>;

/// Does something with each machine, so many at once. Each has its own limits: a slow one delays no other.
fn with_each<T: Send + 'static, R: Send + 'static, F>(
    machines: impl IntoIterator<Item = (SshHost, T)>,
    at_once: u32,
    work: impl Fn(SshHost, T) -> F,
) -> JoinSet<(SshHost, R)>
where
    F: Future<Output = R> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_once as usize));
    let mut set = JoinSet::new();
    for (host, machine) in machines {
        let (places, working) = (places.clone(), work(host.clone(), machine));
        set.spawn(async move {
            // Never closed: whoever waits gets a place.
            let _place = places.acquire_owned().await;
            (host, working.await)
        });
    }
    set
}

/// All of them, when the last one has ended.
async fn all<R: Send + 'static>(mut set: JoinSet<(SshHost, R)>) -> Result<BTreeMap<SshHost, R>, Error> {
    let mut done = BTreeMap::new();
    while let Some(one) = set.join_next().await {
        let (host, result) =
            one.map_err(|e| Error::Failed(format!("a part of this command failed: {e}; run it again")))?;
        done.insert(host, result);
    }
    Ok(done)
}

/// The machines that were named, none twice.
fn distinct(reach: &Reach) -> Result<Vec<SshHost>, Error> {
    let mut hosts = reach.hosts.clone();
    hosts.sort();
    hosts.dedup();
    match hosts.len() == reach.hosts.len() {
        true => Ok(hosts),
        false => Err(Error::Usage("expected each machine once, found one twice; name it once".to_owned())),
    }
}

fn limits(reach: &Reach) -> Limits {
    Limits { whole: reach.timeout }
}

/// Tokens are made in one go here, with this key alone.
fn check_alone(admin: &Admin) -> Result<(), Error> {
    if admin.session().role != SignerRole::Admin {
        return Err(Error::Usage(format!(
            "expected an admin, found {} with another role; only admins let machines in",
            clean(&admin.session().signer)
        )));
    }
    match Duty::Admission.needed(admin.trust_store().root()) {
        1 => Ok(()),
        needed => Err(Error::Usage(format!(
            "a token of this fleet needs {}, and this command makes one for each machine by itself; make them with \
             `hostler token create`, and put each join string into /etc/hostler/join (docs/two-signers.md)",
            count(needed as usize, "key")
        ))),
    }
}

/// The password for sudo, where one of the machines asks for it: asked for once, and sent over standard input alone.
fn password(reach: &Reach, rights: &BTreeMap<SshHost, Rights>) -> Result<Option<Arc<String>>, Error> {
    let asking: Vec<&str> = rights.iter().filter(|(_, r)| **r == Rights::Password).map(|(h, _)| h.as_str()).collect();
    if asking.is_empty() {
        return Ok(None);
    }
    let typed = match reach.sudo_password_stdin {
        true => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line.trim_end_matches(['\r', '\n']).to_owned())
        }
        false => rpassword::prompt_password(format!("Password for sudo on {}: ", asking.join(", "))),
    };
    match typed {
        Ok(typed) if !typed.is_empty() && !typed.contains('\n') => Ok(Some(Arc::new(typed))),
        Ok(_) => Err(Error::Usage("expected a password for sudo, found an empty line; try again".to_owned())),
        Err(e) => Err(Error::Usage(format!(
            "sudo on {} asks for a password, and nobody can be asked here ({e}); use --sudo-password-stdin",
            asking.join(", ")
        ))),
    }
}

fn rights<'a>(found: impl Iterator<Item = &'a Found>) -> BTreeMap<SshHost, Rights> {
    found.map(|f| (f.host.clone(), f.rights)).collect()
}
