//! What is printed, in text for people or in JSON with stable keys for programs.

use std::io::{self, Write as _};

use serde_json::Value;

use crate::{args::Output, error::Error};

/// Prints one answer: `text` for people, `value` for programs.
pub fn print(form: Output, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Error> {
    match form {
        Output::Json => line(&value().to_string()),
        Output::Text => {
            let text = text();
            line(text.strip_suffix('\n').unwrap_or(&text))
        }
    }
}

/// Prints a line to standard output.
pub fn line(text: &str) -> Result<(), Error> {
    write(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output. A reader that went away (`| head`) is no error; a full disk is one.
pub fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::file("write", "standard output".as_ref(), e)),
        _ => Ok(()),
    }
}

/// A note beside the answer, for people: goes to standard error so that the answer can be piped.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table with a head line; columns as wide as their widest cell, two spaces between.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut add = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    };
    add(head);
    for row in rows {
        add(row.each_ref().map(String::as_str));
    }
    text
}

/// What a stranger wrote, safe for a terminal: control characters become visible.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_has_no_trailing_space() {
        let text = table(["NAME", "X"], &[["a".into(), "1".into()], ["longer".into(), String::new()]]);
        assert_eq!(text, "NAME    X\na       1\nlonger\n");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
