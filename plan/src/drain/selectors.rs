//! Finds which of many selectors take a pod, without asking each of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Operator, Pod, Selector};

/// Selectors, and what each stands for.
#[derive(Debug, Clone)]
pub(super) struct Selectors<'a, T> {
    all: Vec<(&'a Selector, T)>,
    /// By a namespace, and a label that all pods have which the selector takes.
    by_label: BTreeMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    /// Those that ask for no label by its value, by namespace.
    others: BTreeMap<&'a str, Vec<usize>>,
}

/// Stands for every namespace; no namespace has this name.
const EVERYWHERE: &str = "";

impl<'a, T> Selectors<'a, T> {
    pub(super) fn new() -> Self {
        Self { all: Vec::new(), by_label: BTreeMap::new(), others: BTreeMap::new() }
    }

    /// Adds a selector over the pods of these namespaces; none is all.
    pub(super) fn add(
        &mut self,
        namespaces: Option<impl IntoIterator<Item = &'a str>>,
        selector: &'a Selector,
        item: T,
    ) {
        let Selector::All(requirements) = selector else { return };
        let at = self.all.len();
        self.all.push((selector, item));
        let namespaces: BTreeSet<&str> = match namespaces {
            Some(names) => names.into_iter().collect(),
            None => BTreeSet::from([EVERYWHERE]),
        };
        let labelled = requirements.iter().find(|r| r.operator == Operator::In);
        for namespace in namespaces {
            let Some(requirement) = labelled else {
                self.others.entry(namespace).or_default().push(at);
                continue;
            };
            let values: BTreeSet<&str> = requirement.values.iter().map(String::as_str).collect();
            for value in values {
                self.by_label.entry((namespace, &requirement.key, value)).or_default().push(at);
            }
        }
    }

    /// What those stand for that take the pod: first of those that ask for no label by its value.
    pub(super) fn of<'s>(&'s self, pod: &'s Pod) -> impl Iterator<Item = &'s T> {
        let namespaces = [pod.key.namespace.as_str(), EVERYWHERE];
        let others = namespaces.into_iter().filter_map(|namespace| self.others.get(namespace)).flatten();
        let labels = namespaces
            .into_iter()
            .flat_map(|namespace| pod.labels.iter().map(move |(key, value)| (namespace, key.as_str(), value.as_str())));
        let labelled = labels.filter_map(|label| self.by_label.get(&label)).flatten();
        let asked = others.chain(labelled).filter_map(|at| self.all.get(*at));
        asked.filter(|(selector, _)| selector.takes(&pod.labels)).map(|(_, item)| item)
    }
}
