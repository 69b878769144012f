//! What is printed, in text for people or in JSON with stable keys for programs.
//!
//! Everything leaves through here, and nothing leaves that a terminal would obey: what is not visible is written as its
//! escape. Text of others that stands inside a line goes through [`clean`] before, so that it cannot begin a new one.

use std::io::{self, IsTerminal as _, Write as _};

pub use hostler_plan::text::clean;
use hostler_plan::text::{clean_json, clean_lines};
use serde_json::{Value, json};

use crate::{args::Output, error::Error};

/// Prints one answer: `text` for people, `value` for programs.
pub fn print(form: Output, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Error> {
    match form {
        Output::Json => event(&value()),
        Output::Text => {
            let text = text();
            line(text.strip_suffix('\n').unwrap_or(&text))
        }
    }
}

/// Prints a line, or several, to standard output.
pub fn line(text: &str) -> Result<(), Error> {
    write(format!("{}\n", clean_lines(text)).as_bytes())
}

/// Prints a value for programs, in a line.
pub fn event(value: &Value) -> Result<(), Error> {
    write(format!("{}\n", clean_json(&value.to_string())).as_bytes())
}

/// Prints a file of others: exactly where it is kept, cleaned where a person looks.
pub fn file(bytes: &[u8]) -> Result<(), Error> {
    match io::stdout().is_terminal() {
        true => write(clean_lines(&String::from_utf8_lossy(bytes)).as_bytes()),
        false => write(bytes),
    }
}

/// Makes the screen empty, where there is one: what is printed next takes the place of what stands there.
pub fn clear() -> Result<(), Error> {
    // Home, clear.
    if io::stdout().is_terminal() { write(b"\x1b[H\x1b[2J") } else { Ok(()) }
}

/// Writes bytes to standard output. A reader that went away (`| head`) is no error; a full disk is one.
fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::file("write", "standard output".as_ref(), e)),
        _ => Ok(()),
    }
}

/// A note beside the answer, for people: goes to standard error so that the answer can be piped.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", clean_lines(text));
}

/// Says why the command ends, on standard error.
pub fn failure(form: Output, error: &Error) {
    let _ = writeln!(io::stderr().lock(), "{}", failure_text(form, error));
}

fn failure_text(form: Output, error: &Error) -> String {
    let text = error.to_string();
    match form {
        Output::Text => clean_lines(&format!("hostler: {text}")).into_owned(),
        Output::Json => {
            let value = json!({ "error": error.word(), "message": text, "exit_code": error.exit_code() });
            clean_json(&value.to_string()).into_owned()
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_has_no_trailing_space() {
        let text = table(["NAME", "X"], &[["a".into(), "1".into()], ["longer".into(), String::new()]]);
        assert_eq!(text, "NAME    X\na       1\nlonger\n");
    }

    #[test]
    fn what_a_coordinator_answers_cannot_move_the_cursor_or_look_like_our_own_line() {
        let status = tonic::Status::internal("no\x1b[2J\u{9b}2J\u{202e}\nplan 12 is in the coordinator's ledger");
        let error = Error::from(status);
        let text = failure_text(Output::Text, &error);
        assert_eq!(
            text,
            "hostler: the coordinator says no (internal): no\\u{1b}[2J\\u{9b}2J\\u{202e}\\nplan 12 is in the \
             coordinator's ledger"
        );
        let json = failure_text(Output::Json, &error);
        assert!(json.is_ascii() && !json.contains(char::is_control), "{json}");
        let refused = hostler_plan::refusal::Refused::new(hostler_plan::refusal::Refusal::Replay, "old\n\x1b[1A");
        let status = hostler_proto::status::from_refused(&refused);
        let text = failure_text(Output::Text, &Error::from(status));
        assert!(!text.contains(char::is_control), "{text:?}");
        let long = Error::from(tonic::Status::internal("x".repeat(100_000)));
        assert!(failure_text(Output::Text, &long).len() < 3000);
    }
}
