//! The tasks of a plan: each list of steps once, and alike tasks of several nodes in one line that names them all.

use std::collections::BTreeMap;

use super::Page;
use crate::{
    document::Task,
    id::{NodeName, TaskId},
    step::Step,
};

/// What stands for the subject's name where alike tasks are told together.
const SUBJECT: &str = "NODE";

/// What is alike in tasks that are told together: everything but the subject, whose name stands as [`SUBJECT`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    id: String,
    node: String,
    after: Vec<String>,
    disrupts: bool,
    finishes: bool,
    /// The number of its list of steps.
    steps: usize,
}

impl Form {
    fn of(task: &Task, steps: usize) -> Self {
        let Task { id, node, subject, after, disrupts, finishes, steps: _ } = task;
        Self {
            id: relative(id, subject),
            node: if node == subject { SUBJECT.to_owned() } else { node.to_string() },
            after: after.iter().map(|id| relative(id, subject)).collect(),
            disrupts: *disrupts,
            finishes: *finishes,
            steps,
        }
    }

    /// In words, about `subject`: one name, or [`SUBJECT`].
    fn said(&self, subject: &str) -> String {
        let Self { id, node, after, disrupts, finishes, steps } = self;
        let name = |text: &str| match text.strip_prefix(SUBJECT) {
            Some(rest) => format!("{subject}{rest}"),
            None => text.to_owned(),
        };
        let after = match after.as_slice() {
            [] => "at once".to_owned(),
            after => format!("after {}", after.iter().map(|id| name(id)).collect::<Vec<_>>().join(", ")),
        };
        let disrupts = if *disrupts { format!("; {subject} may be unavailable from then on") } else { String::new() };
        let finishes = if *finishes { "; MAY STILL RUN AFTER THE PLAN ENDED" } else { "" };
        format!("{} on {} about {subject}: steps {steps}, {after}{disrupts}{finishes}", name(id), name(node))
    }
}

/// The id with the subject's name, where it is about it, as [`SUBJECT`]. Ids have no capital letters.
fn relative(id: &TaskId, subject: &NodeName) -> String {
    if id.subject() == subject { format!("{SUBJECT}.{}", id.operation()) } else { id.to_string() }
}

pub(super) fn show(page: &mut Page, tasks: &[Task]) {
    let mut lists: Vec<&[Step]> = Vec::new();
    // In the order of their first task; numbers count from 1.
    let mut groups: Vec<(Form, Vec<(usize, &NodeName)>)> = Vec::new();
    let mut places: BTreeMap<Form, usize> = BTreeMap::new();
    for (task, number) in tasks.iter().zip(1..) {
        let steps = match lists.iter().position(|list| *list == task.steps) {
            Some(place) => place,
            None => {
                lists.push(&task.steps);
                lists.len() - 1
            }
        };
        let form = Form::of(task, steps + 1);
        let place = *places.entry(form.clone()).or_insert_with(|| {
            groups.push((form, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push((number, &task.subject));
    }
    for (list, number) in lists.iter().zip(1..) {
        let mut lines = list.iter().flat_map(Step::said);
        page.line(&format!("steps {number}"), lines.next().unwrap_or_else(|| "none".to_owned()));
        page.more(lines);
    }
    for (form, of) in &groups {
        match of.as_slice() {
            [(number, subject)] => page.line(&format!("task {number}"), form.said(subject.as_str())),
            several => {
                let numbers: Vec<usize> = several.iter().map(|(number, _)| *number).collect();
                let names: Vec<&str> = several.iter().map(|(_, subject)| subject.as_str()).collect();
                let (numbers, names) = (ranges(&numbers), names.join(" "));
                page.line("tasks", format!("{numbers}: {}; {SUBJECT} is in turn {names}", form.said(SUBJECT)));
            }
        }
    }
}

/// Rising numbers, runs of equal distance in short: `1 to 4, 7, 10 to 31 by 3`.
fn ranges(numbers: &[usize]) -> String {
    let mut said = Vec::new();
    let mut rest = numbers;
    while let [first, ..] = rest {
        let by = rest.get(1).map_or(1, |second| second - first);
        let run = rest.windows(2).take_while(|pair| pair[1] - pair[0] == by).count() + 1;
        let (run, text) = match (run, by) {
            (run @ 3.., 1) => (run, format!("{first} to {}", rest[run - 1])),
            (run @ 3.., by) => (run, format!("{first} to {} by {by}", rest[run - 1])),
            _ => (1, first.to_string()),
        };
        said.push(text);
        rest = &rest[run..];
    }
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_folded_only_where_all_of_them_are_stated() {
        assert_eq!(ranges(&[1, 2, 3, 4, 7, 10, 13, 16]), "1 to 4, 7 to 16 by 3");
        assert_eq!(ranges(&[1, 2, 5]), "1, 2, 5");
        assert_eq!(ranges(&[3]), "3");
    }
}
