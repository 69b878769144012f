//! One line for each machine: a bar where a person looks, lines elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, stderr},
    sync::{Arc, Mutex, PoisonError},
};

use hostler_plan::text::clean;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{args::Output, install::SshHost, output::note};

/// All machines of a command.
pub(super) struct Screen {
    lines: BTreeMap<SshHost, Arc<Line>>,
}

/// What is said of one machine.
pub(super) struct Line {
    host: SshHost,
    width: usize,
    bar: Option<ProgressBar>,
    /// Programs read the answer alone.
    silent: bool,
    last: Mutex<String>,
}

impl Screen {
    pub(super) fn new(output: Output, hosts: &[SshHost]) -> Self {
        let width = hosts.iter().map(|h| h.as_str().chars().count()).max().unwrap_or_default();
        let all = (output == Output::Text && stderr().is_terminal()).then(MultiProgress::new);
        let style = || ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let line = |host: &SshHost| {
            let bar = all.as_ref().map(|all| all.add(ProgressBar::new_spinner().with_style(style())));
            Arc::new(Line {
                host: host.clone(),
                width,
                bar,
                silent: output == Output::Json,
                last: Mutex::new(String::new()),
            })
        };
        Self { lines: hosts.iter().map(|host| (host.clone(), line(host))).collect() }
    }

    /// The line of one of them.
    pub(super) fn line(&self, host: &SshHost) -> Option<Arc<Line>> {
        self.lines.get(host).cloned()
    }

    /// Says something of one of them.
    pub(super) fn say(&self, host: &SshHost, text: &str) {
        if let Some(line) = self.lines.get(host) {
            line.say(text);
        }
    }

    /// Leaves the bars as they stand.
    pub(super) fn end(self) {
        let mut has_bars = false;
        for bar in self.lines.values().filter_map(|line| line.bar.as_ref()) {
            bar.abandon();
            has_bars = true;
        }
        if has_bars {
            // The cursor stands behind the last bar.
            note("");
        }
    }
}

impl Line {
    /// Shows it, unless it stands there already.
    pub(super) fn say(&self, text: &str) {
        let text = clean(text.trim());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.silent || *last == *text {
            return;
        }
        last.clone_from(&text.clone().into_owned());
        let line = format!("{:<width$}  {text}", self.host.as_str(), width = self.width);
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None => note(&line),
        }
    }

    /// What a machine says of itself while it is worked on.
    pub(super) fn heard(&self, word: &str, rest: &str) {
        match word {
            "step" => self.say(rest),
            "waits" => self.say(format!("waits {rest}").trim()),
            _ => {}
        }
    }
}
