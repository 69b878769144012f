//! Questions to the person at the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use hostler_plan::text::clean;

use crate::error::Error;

/// Asks before something is changed. Without a terminal nobody can answer, so `--yes` is needed.
pub fn confirm(question: &str, yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(format!("{question}: expected an answer, found no terminal; use --yes")));
    }
    let mut screen = io::stderr().lock();
    let mut answer = String::new();
    let read = write!(screen, "{} [y/N] ", clean(question))
        .and_then(|()| screen.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|e| Error::file("read", "the terminal".as_ref(), e))?;
    let agreed = read > 0 && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if agreed { Ok(()) } else { Err(Error::NotConfirmed) }
}
