//! The kernel's command line, as words.

use hostler_plan::form::REPEATED_ARGUMENTS;

/// The longest line that the kernels of both processors take, without the byte that ends it (`COMMAND_LINE_SIZE`).
pub(super) const LONGEST: usize = 2047;

/// The words of a line. What stands in double quotes is one, as the kernel has it.
pub(super) fn words(line: &str) -> Vec<&str> {
    let (mut words, mut start, mut is_quoted) = (Vec::new(), None, false);
    for (at, c) in line.char_indices() {
        is_quoted ^= c == '"';
        match (c.is_whitespace() && !is_quoted, start) {
            (true, Some(from)) => {
                words.push(&line[from..at]);
                start = None;
            }
            (false, None) => start = Some(at),
            (true, None) | (false, Some(_)) => {}
        }
    }
    words.extend(start.map(|from| &line[from..]));
    words
}

/// What stands in front of the `=`. The kernel takes `-` and `_` in a name for the same.
fn key(word: &str) -> String {
    word.split('=').next().unwrap_or(word).replace('-', "_")
}

fn is_repeated(argument: &str) -> bool {
    REPEATED_ARGUMENTS.contains(&key(argument).as_str())
}

/// Whether an argument counts in a line.
fn counts(words: &[&str], argument: &str) -> bool {
    if is_repeated(argument) || !argument.contains('=') {
        return words.contains(&argument);
    }
    words.iter().rev().find(|word| key(word) == key(argument)) == Some(&argument)
}

/// Those of the arguments that do not count in a line.
pub(super) fn lacking<'a>(line: &str, arguments: &'a [String]) -> Vec<&'a str> {
    let words = words(line);
    arguments.iter().map(String::as_str).filter(|argument| !counts(&words, argument)).collect()
}

/// A word of the line that switches off what an argument switches on.
pub(super) fn opposing<'l>(line: &'l str, arguments: &[String]) -> Option<&'l str> {
    let controllers: Vec<&str> = arguments.iter().filter_map(|a| a.strip_prefix("cgroup_enable=")).collect();
    let disables = |word: &&str| {
        let disabled = word.strip_prefix("cgroup_disable=");
        disabled.is_some_and(|list| list.split(',').any(|controller| controllers.contains(&controller)))
    };
    words(line).into_iter().find(disables)
}

/// A line in which all arguments count, and what became of each of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub line: String,
    /// Such as `panic=30 instead of panic=10`.
    pub said: Vec<String>,
}

/// The line with all arguments; none where they count in it already. Every other word stays where it is.
pub(super) fn with(line: &str, arguments: &[String]) -> Option<Changed> {
    let lacking = lacking(line, arguments);
    if lacking.is_empty() {
        return None;
    }
    let mut words = words(line);
    let mut said = Vec::new();
    for argument in lacking {
        let other = words.iter().rposition(|word| key(word) == key(argument)).filter(|_| !is_repeated(argument));
        match other {
            Some(at) => {
                said.push(format!("{argument} instead of {}", words[at]));
                words[at] = argument;
            }
            None => {
                said.push(argument.to_owned());
                words.push(argument);
            }
        }
    }
    Some(Changed { line: words.join(" "), said })
}

/// The one line of a file; what is found instead where a machine would not boot by it, or would not read all of it.
pub(super) fn only_line(content: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(content).map_err(|_| "bytes that are no UTF-8".to_owned())?;
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    // A carriage return of an editor elsewhere is white space to the kernel.
    let line = line.trim_end();
    if line.trim().is_empty() {
        return Err("an empty first line, and the first line alone is read".to_owned());
    }
    if !rest.trim().is_empty() {
        let lines = 1 + rest.lines().filter(|line| !line.trim().is_empty()).count();
        return Err(format!("{lines} lines, of which the first alone is read; make one of them"));
    }
    let unseen = |c: char| c != '\t' && (c.is_control() || c == '\u{feff}');
    if line.contains(unseen) {
        return Err("characters that cannot be seen".to_owned());
    }
    match words(line).iter().any(|word| word.starts_with("root=")) {
        true => Ok(line),
        false => Err("no root= in it, from which the machine would boot".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup() -> Vec<String> {
        ["cgroup_memory=1", "cgroup_enable=memory"].map(str::to_owned).to_vec()
    }

    const BOOKWORM: &str = "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 \
                            fsck.repair=yes rootwait quiet splash plymouth.ignore-serial-consoles";

    #[test]
    fn arguments_are_added_once_and_everything_else_stays() {
        let changed = with(BOOKWORM, &cgroup()).unwrap();
        assert_eq!(changed.line, format!("{BOOKWORM} cgroup_memory=1 cgroup_enable=memory"));
        assert_eq!(changed.said, cgroup());
        assert_eq!(with(&changed.line, &cgroup()), None);
    }

    #[test]
    fn another_value_is_replaced_where_it_stands_and_a_further_console_is_another_one() {
        let wanted = ["panic=30", "console=ttyS0", "quiet"].map(str::to_owned);
        let changed = with("root=/dev/sda2 panic=5 console=tty1 panic=10 rw", &wanted).unwrap();
        assert_eq!(changed.line, "root=/dev/sda2 panic=5 console=tty1 panic=30 rw console=ttyS0 quiet");
        assert_eq!(changed.said, ["panic=30 instead of panic=10", "console=ttyS0", "quiet"]);
        let spelled = ["usb-storage.quirks=1".to_owned()];
        assert_eq!(with("root=a usb_storage.quirks=2", &spelled).unwrap().line, "root=a usb-storage.quirks=1");
    }

    #[test]
    fn of_several_values_the_last_one_counts() {
        let wanted = ["panic=30".to_owned()];
        assert_eq!(lacking("panic=30 x panic=10", &wanted), ["panic=30"]);
        assert_eq!(lacking("panic=10 x panic=30", &wanted), [""; 0]);
    }

    #[test]
    fn what_is_quoted_is_one_word_and_stays_as_it_is() {
        let line = "root=/dev/vda1 dyndbg=\"file drivers/usb/* +p\" rw";
        assert_eq!(words(line), ["root=/dev/vda1", "dyndbg=\"file drivers/usb/* +p\"", "rw"]);
        let changed = with(line, &["quiet".to_owned()]).unwrap();
        assert_eq!(changed.line, format!("{line} quiet"));
    }

    #[test]
    fn what_switches_it_off_is_found_in_a_list_too() {
        assert_eq!(opposing("a cgroup_disable=memory b", &cgroup()), Some("cgroup_disable=memory"));
        assert_eq!(opposing("cgroup_disable=cpu,memory", &cgroup()), Some("cgroup_disable=cpu,memory"));
        assert_eq!(opposing("cgroup_disable=cpu", &cgroup()), None);
        assert_eq!(opposing("cgroup_disable=memory", &["quiet".to_owned()]), None);
    }

    #[test]
    fn a_file_is_one_line_from_which_a_machine_boots() {
        for whole in ["root=a rw\n", "root=a rw", "root=a rw\r\n", "root=a rw \t\n\n\n"] {
            assert_eq!(only_line(whole.as_bytes()), Ok("root=a rw"), "{whole:?}");
        }
        for (found, bad) in [
            ("an empty first line", &b""[..]),
            ("an empty first line", b"\nroot=a\n"),
            ("2 lines", b"root=a\ncgroup_enable=memory\n"),
            ("no root=", b"quiet splash\n"),
            ("no UTF-8", b"root=\xff\n"),
            ("cannot be seen", b"\xef\xbb\xbfroot=a\n"),
            ("cannot be seen", b"root=a\0\0\0\n"),
        ] {
            let why = only_line(bad).unwrap_err();
            assert!(why.contains(found), "{found}: {why}");
        }
    }
}
