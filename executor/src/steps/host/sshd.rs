//! `sshd.set`: who may log in by ssh and how. sshd reads it before it is in place; only what it takes gets there. An
//! admin who could no longer get in is refused before.

use std::{path::Path, time::Duration};

use hostler_plan::step::machine::{RootLogin, SetSshd};

use crate::{
    host::{Host, HostFile, text},
    steps::action::{Action, Check, StepContext, StepError},
};

const CONFIG: &str = "/etc/ssh/sshd_config";
/// Of several values sshd takes the first one, and the files of this folder before its own.
const OURS: &str = "/etc/ssh/sshd_config.d/01-hostler.conf";
const INCLUDES: &str = "/etc/ssh/sshd_config.d/*.conf";
/// What is tried before anything is in place.
const TRIED: &str = "/run/hostler-sshd-tried.conf";
/// Debian's name of it.
const UNIT: &str = "ssh.service";
const QUICK: Duration = Duration::from_secs(60);

impl Action for SetSshd {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let host = context.host();
        let Some(config) = readable(host, CONFIG) else {
            return Ok(unfit("sshd", format!("no {CONFIG}; install openssh-server first")));
        };
        let includes = |line: &str| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|word| word.eq_ignore_ascii_case("include")) && words.any(|file| file == INCLUDES)
        };
        if !config.lines().any(includes) {
            return Ok(unfit(&format!("Include {INCLUDES} in {CONFIG}"), "no such line; write it at the top".into()));
        }
        if !self.password_authentication && !somebody_has_a_key(self.root_login, host)? {
            let found = "none that has one in ~/.ssh/authorized_keys: without passwords nobody would get in; put \
                         a key there first";
            return Ok(unfit("an account that may log in with a key", found.into()));
        }
        let wanted = settings(self);
        let in_force = host.run(&["sshd", "-T"], QUICK)?;
        let missing: Vec<&str> = wanted.lines().skip(1).filter(|line| !is_in(line, &in_force)).collect();
        let is_written = host.read_file(Path::new(OURS))? == Some(root_file(&wanted));
        match (is_written, missing.as_slice()) {
            (true, []) => {
                Ok(Check::Done(format!("sshd has {}", wanted.lines().skip(1).collect::<Vec<_>>().join(", "))))
            }
            (true, [missing, ..]) => {
                let found = format!("another value that is read before {OURS}; see `grep -r` in {CONFIG}.d");
                Ok(unfit(missing, found))
            }
            (false, _) => {
                context.observe("change", format!("{OURS}: {}", wanted.lines().skip(1).collect::<Vec<_>>().join(", ")));
                Ok(Check::Ready)
            }
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let (host, wanted) = (context.host(), settings(self));
        let tried = format!("{wanted}Include {CONFIG}\n");
        host.write_file(Path::new(TRIED), &HostFile { mode: 0o600, ..root_file(&tried) })?;
        let judged = host.run(&["sshd", "-t", "-f", TRIED], QUICK);
        host.remove(Path::new(TRIED))?;
        judged.map_err(|error| StepError::from(error).with("; nothing was changed"))?;
        host.write_file(Path::new(OURS), &root_file(&wanted))?;
        host.run(&["systemctl", "try-reload-or-restart", "--", UNIT], QUICK)?;
        Ok(())
    }
}

fn unfit(expected: &str, found: String) -> Check {
    Check::Mismatch { expected: expected.to_owned(), found }
}

fn settings(step: &SetSshd) -> String {
    let passwords = if step.password_authentication { "yes" } else { "no" };
    let root = match step.root_login {
        RootLogin::No => "no",
        RootLogin::Keys => "prohibit-password",
    };
    format!(
        "# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n\
         PasswordAuthentication {passwords}\nKbdInteractiveAuthentication {passwords}\nPermitRootLogin {root}\n"
    )
}

fn root_file(content: &str) -> HostFile {
    HostFile { content: content.into(), mode: 0o644, uid: 0, gid: 0 }
}

/// Whether a line is among what `sshd -T` prints, in lower case and with an old word for keys alone.
fn is_in(line: &str, in_force: &str) -> bool {
    let plain = |line: &str| line.to_ascii_lowercase().replace("without-password", "prohibit-password");
    in_force.lines().any(|found| plain(found.trim()) == plain(line))
}

/// Whether an account that may log in has a key for it.
fn somebody_has_a_key(root_login: RootLogin, host: &dyn Host) -> Result<bool, StepError> {
    for line in readable(host, "/etc/passwd").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, user, _, _, home, shell] = fields.as_slice() else { continue };
        let may = !(shell.ends_with("nologin") || shell.ends_with("false"))
            && (*user != "0" || root_login == RootLogin::Keys);
        let keys = if may { readable(host, &format!("{home}/.ssh/authorized_keys")) } else { None };
        let is_key = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if keys.is_some_and(|keys| keys.lines().any(is_key)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A file as text. One that is a link, or none, says nothing.
fn readable(host: &dyn Host, path: &str) -> Option<String> {
    text(host, path).ok().flatten()
}
