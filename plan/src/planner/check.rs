//! Plans that only prove that plans arrive.

use crate::{
    step::{Noop, Step},
    text::count,
};

use super::{
    Draft, Request, Selection,
    select::{performs, resolve},
    task::{task, together},
};

pub(super) fn check(request: Request<'_>, draft: &mut Draft, selection: &Selection) {
    let mut nodes = Vec::new();
    for node in resolve(request, draft, selection) {
        let all = *selection == Selection::All;
        if all && request.roster.active(&node.name).is_none() {
            draft.skipped.push((node.name.clone(), "is not enrolled".to_owned()));
        } else if all && !request.state(&node.name).connected {
            draft.skipped.push((node.name.clone(), "is not connected".to_owned()));
        } else if performs(request, draft, node) {
            nodes.push(node.name.clone());
        }
    }
    draft.title = format!("Check that plans reach {} and are verified", count(nodes.len(), "node"));
    draft.tasks = nodes.iter().map(|n| task("check", n, n, Vec::new(), vec![Step::Noop(Noop {})])).collect();
    together(draft, nodes);
}
