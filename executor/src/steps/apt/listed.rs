//! What dpkg says of the packages of this machine.

use std::collections::BTreeMap;

use super::{QUICK, StepContext, StepError};

const QUERY: [&str; 3] =
    ["dpkg-query", "--show", "--showformat=${Package}\\t${Architecture}\\t${db:Status-Abbrev}\\t${Version}\\n"];

/// The packages of the machine by name and architecture, installed or half so.
#[derive(Debug, Default)]
pub(super) struct Listed(BTreeMap<(String, String), (String, String)>);

impl Listed {
    pub(super) fn read(context: &StepContext<'_>) -> Result<Self, StepError> {
        Ok(Self::parse(&context.host().run(&QUERY, QUICK)?))
    }

    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let mut fields = line.split('\t');
            let (name, arch) = (fields.next()?, fields.next()?);
            let (status, version) = (fields.next()?, fields.next()?);
            Some(((name.to_owned(), arch.to_owned()), (status.trim_end().to_owned(), version.to_owned())))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    /// The version of a package that is there whole.
    pub(super) fn version(&self, package: &str, arch: &str) -> Option<&str> {
        let (status, version) = self.0.get(&(package.to_owned(), arch.to_owned()))?;
        is_whole(status).then_some(version.as_str())
    }

    /// Packages whose installation was cut off.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let begun = self.0.iter().filter(|(_, (status, _))| !is_whole(status) && !is_gone(status));
        begun.map(|((name, _), _)| name.clone()).collect()
    }
}

/// As dpkg-query(1) abbreviates it: what is wanted, what is, and an error.
fn is_whole(status: &str) -> bool {
    matches!(status, "ii" | "hi" | "ri" | "pi")
}

/// Not installed, or nothing of it but its settings.
fn is_gone(status: &str) -> bool {
    matches!(status.chars().nth(1), Some('n' | 'c') | None) && status.chars().count() < 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_there_is_not_there_and_is_named() {
        let text =
            "bash\tamd64\tii \t5.2\nheld\tall\thi \t1\ncut\tamd64\tiF \t2\nreinst\tamd64\tiHR\t3\ngone\tall\trc \t1\n";
        let listed = Listed::parse(text);
        assert_eq!(listed.version("bash", "amd64"), Some("5.2"));
        assert_eq!(listed.version("held", "all"), Some("1"));
        assert_eq!((listed.version("cut", "amd64"), listed.version("gone", "all")), (None, None));
        assert_eq!(listed.unfinished(), ["cut", "reinst"]);
    }
}
