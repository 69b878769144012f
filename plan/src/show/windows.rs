//! The windows of a plan, and what begins in them.

use std::collections::BTreeMap;

use super::Page;
use crate::{
    document::{Window, WindowSet, WindowTask, Windows},
    text::span,
};

pub(super) fn show(page: &mut Page, windows: Option<&Windows>) {
    let sets = match windows {
        None => return,
        Some(Windows::AtOnce {}) => {
            return page.line("windows", "NONE IS WAITED FOR: it begins at once, whatever the fleet file says of them");
        }
        Some(Windows::Within { sets }) => sets,
    };
    for WindowSet { zone, windows, tasks } in sets {
        for window in windows {
            let Window { from, until, offset_minutes } = window;
            let (sign, offset) = (if *offset_minutes < 0 { '-' } else { '+' }, offset_minutes.unsigned_abs());
            let (opens, life) = (window.opens(), span(window.seconds()));
            let ahead = format!("UTC{sign}{:02}:{:02}", offset / 60, offset % 60);
            page.line("window", format!("{opens} {zone} ({ahead}): from {from} until {until}, for {life}"));
        }
        let mut by_need: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for WindowTask { task, seconds } in tasks {
            by_need.entry(*seconds).or_default().push(task.to_string());
        }
        for (seconds, tasks) in by_need {
            page.line("in them", format!("with {seconds} s left or more begin {}", tasks.join(", ")));
        }
    }
}
