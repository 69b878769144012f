//! What becomes of the pods and volumes of a dead node that a plan gives up, for the person who is to sign that: no
//! budget is asked, nothing is stopped in order, and what lay on the node alone is lost until it returns.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    document::{Leaving, NodeState, NodeView, Place, PodView, Prospect, Stays},
    step::Loss,
    text::{age, and_more, clean, count},
    timestamp::Timestamp,
};

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Nobody starts it again.
    Lost,
    /// What takes its place can run nowhere else.
    Down,
    Waits,
    Unknown,
    Moves,
    Ends,
    /// It comes back with the node.
    Returns,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Fate::Lost => "lost",
            Fate::Down => "down",
            Fate::Waits => "waits",
            Fate::Unknown => "unknown",
            Fate::Moves => "moves",
            Fate::Ends => "ends",
            Fate::Returns => "returns",
        }
    }

    /// Behind a number of pods.
    fn of_pods(self) -> &'static str {
        match self {
            Fate::Lost => "lost for ever",
            Fate::Down => "down until the node is back",
            Fate::Waits => "waiting for room",
            Fate::Unknown => "unknown where to",
            Fate::Moves => "started elsewhere",
            Fate::Ends => "removed for good",
            Fate::Returns => "back with the node",
        }
    }
}

/// Writes so many lines at most, or one about every pod.
pub(super) fn write(text: &mut String, node: &NodeView, at: Timestamp, (explain, most): (bool, usize)) {
    let _ = writeln!(text, "  {}: {}", node.node, summary(node, at));
    let lines: Vec<String> = node.pods.iter().filter_map(|pod| line(pod, explain)).collect();
    for line in lines.iter().take(most) {
        let _ = writeln!(text, "    {line}");
    }
    if lines.len() > most {
        let _ = writeln!(text, "    … {} more; --explain shows every pod", count(lines.len() - most, "line"));
    }
    for volume in node.attached.iter().take(most) {
        let (name, driver) = (&volume.volume, &volume.driver);
        let _ = writeln!(text, "    volume   {name} is detached at once, whoever still writes to it (driver {driver})");
    }
    if node.attached.len() > most {
        let _ = writeln!(text, "    … {} more", count(node.attached.len() - most, "volume"));
    }
    if node.left_out.pods > 0 {
        let _ = writeln!(text, "    … {} more that no view has room for", count(node.left_out.pods, "pod"));
    }
}

fn summary(node: &NodeView, at: Timestamp) -> String {
    let state = match node.state {
        NodeState::Ready => "READY, so it is not dead; ".to_owned(),
        NodeState::NotReady => "not Ready; ".to_owned(),
        NodeState::Silent { since } => format!("silent for {}; ", age(at.since(since).as_secs())),
        NodeState::Absent => return "THE CLUSTER HAS NO NODE OF THIS NAME".to_owned(),
    };
    let mut fates: BTreeMap<Fate, usize> = BTreeMap::new();
    for pod in &node.pods {
        *fates.entry(fate(pod).0).or_default() += 1;
    }
    let fates: Vec<String> = fates.into_iter().map(|(fate, pods)| format!("{pods} {}", fate.of_pods())).collect();
    let pods = count(node.pods.len() + node.left_out.pods as usize, "pod");
    let volumes = count(node.attached.len(), "volume");
    let fates = if fates.is_empty() { String::new() } else { format!(": {}", fates.join(", ")) };
    format!("{state}{pods} removed at once{fates}; {volumes} detached")
}

/// What is to be known of a pod; in short only what does not simply start elsewhere, or loses something.
fn line(pod: &PodView, explain: bool) -> Option<String> {
    let (fate, why) = fate(pod);
    let lost = match &pod.prospect {
        Prospect::Leaves(leaving) => losses(leaving),
        Prospect::Going { .. } | Prospect::Stays(_) => None,
    };
    let is_plain = matches!(fate, Fate::Moves | Fate::Ends | Fate::Returns) && lost.is_none();
    if is_plain && !explain {
        return None;
    }
    let owner = match &pod.owner {
        Some(owner) => format!("{} {}", owner.kind, owner.name),
        None => "no controller".to_owned(),
    };
    let why: Vec<String> = [Some(why), lost].into_iter().flatten().filter(|why| !why.is_empty()).collect();
    Some(format!("{:<8} {} ({owner}): {}", fate.word(), pod.pod, clean(&why.join("; "))))
}

/// What is gone with the node's disk, or stays on it.
fn losses(leaving: &Leaving) -> Option<String> {
    let lost = leaving.loses.iter().filter_map(|loss| match loss {
        Loss::EmptyDirDisk | Loss::EmptyDirMemory => Some(loss.to_string()),
        // Said by its fate.
        Loss::Unmanaged => None,
    });
    let lost: Vec<String> = lost.collect();
    (!lost.is_empty()).then(|| format!("its {} is lost", lost.join(" and its ")))
}

fn fate(pod: &PodView) -> (Fate, String) {
    let leaving = match &pod.prospect {
        Prospect::Stays(Stays::DaemonSet | Stays::Mirror) => return (Fate::Returns, "it belongs to the node".into()),
        Prospect::Stays(Stays::Finalizer(name)) => {
            return (Fate::Ends, format!("nothing of it runs any more; finalizer {name} keeps the object"));
        }
        Prospect::Going { until } => return (Fate::Ends, format!("it was to be gone by {until}")),
        Prospect::Leaves(leaving) => leaving,
    };
    match &leaving.place {
        Place::Elsewhere { count, such_as } => {
            let names: Vec<&str> = such_as.iter().map(crate::id::NodeName::as_str).collect();
            let more = and_more((*count as usize).saturating_sub(names.len()));
            (Fate::Moves, format!("fits on {}{more}", names.join(" ")))
        }
        Place::Nowhere(why) => (Fate::Down, why.to_string()),
        Place::NoRoom(why) => (Fate::Waits, why.to_string()),
        Place::Unknown(why) => (Fate::Unknown, why.to_string()),
        Place::NotNeeded if pod.owner.is_none() => (Fate::Lost, "nobody starts it again".into()),
        Place::NotNeeded => (Fate::Ends, "nothing takes its place".into()),
    }
}
