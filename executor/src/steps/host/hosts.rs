//! `hosts.ensure`: one line of `/etc/hosts` that is Hostler's own; what others wrote there stays.

use std::path::Path;

use hostler_plan::step::EnsureHost;

use crate::{
    host::HostFile,
    steps::action::{Action, Check, StepContext, StepError},
};

const HOSTS: &str = "/etc/hosts";

/// What ends each line of ours: hosts(5) reads nothing after a `#`.
const MARK: &str = "# hostler";

impl Action for EnsureHost {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let text = text(context)?;
        if let Some(foreign) = text.lines().find(|line| !is_ours(line) && contradicts(line, self)) {
            return Ok(Check::Mismatch {
                expected: format!("{} to be {}, or unknown, in {HOSTS}", self.name, self.address),
                found: format!("{:?}, which is not Hostler's line; remove it or the name from it", foreign.trim()),
            });
        }
        if with(&text, self) == text {
            return Ok(Check::Done(format!("{} is {} in {HOSTS}", self.name, self.address)));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let found = context.host().read_file(Path::new(HOSTS))?;
        let found = found.unwrap_or(HostFile { content: Vec::new(), mode: 0o644, uid: 0, gid: 0 });
        let content = with(&String::from_utf8_lossy(&found.content), self).into_bytes();
        Ok(context.host().write_file(Path::new(HOSTS), &HostFile { content, ..found })?)
    }
}

fn text(context: &StepContext<'_>) -> Result<String, StepError> {
    let found = context.host().read_file(Path::new(HOSTS))?;
    match found.map(|file| String::from_utf8(file.content)).transpose() {
        Ok(text) => Ok(text.unwrap_or_default()),
        Err(_) => Err(StepError::Failed(format!("{HOSTS} is not UTF-8; mend it first"))),
    }
}

fn is_ours(line: &str) -> bool {
    line.trim_end().ends_with(MARK)
}

/// The address and the names of a line.
fn parts(line: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let mut words = line.split('#').next()?.split_whitespace();
    Some((words.next()?, words))
}

fn names(line: &str, wanted: &EnsureHost) -> bool {
    parts(line).is_some_and(|(_, mut names)| names.any(|name| name.eq_ignore_ascii_case(wanted.name.as_str())))
}

fn contradicts(line: &str, wanted: &EnsureHost) -> bool {
    let address = parts(line).and_then(|(address, _)| address.parse().ok());
    names(line, wanted) && address != Some(wanted.address)
}

/// The text with our line for that name, once, and without an older one of ours.
fn with(text: &str, wanted: &EnsureHost) -> String {
    let line = format!("{} {} {MARK}", wanted.address, wanted.name);
    if text.lines().filter(|found| is_ours(found) && names(found, wanted)).eq([line.as_str()]) {
        return text.to_owned();
    }
    let kept = text.lines().filter(|found| !(is_ours(found) && names(found, wanted)));
    kept.chain([line.as_str()]).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(address: &str) -> EnsureHost {
        EnsureHost { name: "k8s.lab".parse().unwrap(), address: address.parse().unwrap() }
    }

    #[test]
    fn a_line_of_ours_is_written_once_and_what_others_wrote_stays() {
        let foreign = "127.0.0.1 localhost\n# k8s.lab was here\n10.0.0.9 other";
        let first = with(foreign, &wanted("10.0.0.10"));
        assert_eq!(first, format!("{foreign}\n10.0.0.10 k8s.lab # hostler\n"));
        assert_eq!(with(&first, &wanted("10.0.0.10")), first);
        let moved = with(&first, &wanted("10.0.0.20"));
        assert_eq!(moved, format!("{foreign}\n10.0.0.20 k8s.lab # hostler\n"));
        let doubled = format!("{first}10.0.0.10 k8s.lab # hostler\n");
        assert_eq!(with(&doubled, &wanted("10.0.0.10")), first);
    }

    #[test]
    fn a_foreign_line_contradicts_only_by_another_address_for_that_name() {
        let wanted = wanted("10.0.0.10");
        for (line, expected) in [
            ("10.0.0.10 k8s.lab", false),
            ("10.0.0.11 K8S.lab k8s", true),
            ("10.0.0.11 k8s # k8s.lab", false),
            ("# 10.0.0.11 k8s.lab", false),
            ("10.0.0.11 not-k8s.lab", false),
            ("", false),
        ] {
            assert_eq!(contradicts(line, &wanted), expected, "{line:?}");
        }
    }
}
