//! Whose losses a person takes, of those that stand in a view: what the flags of a command put into a plan.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::Options;
use crate::{
    document::{NodeView, PodView, Prospect},
    form::PodName,
    step::{Consent, Drain, EmptyDirs, Loss, MAX_CONSENTS, NewOwners},
};

/// What a person allows for one plan, beyond what the fleet file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Which emptyDir volumes may go, in the place of what the fleet file says.
    pub delete_empty_dir_data: Option<EmptyDirs>,
    /// Pods without a controller may go.
    pub force_unmanaged: bool,
    /// Pods that may go whatever is lost with them.
    pub evict_anyway: Vec<PodName>,
}

/// What a plan lets go because the plan that it continues did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried {
    /// Of these pods.
    Consent(Consent),
    /// Of every pod.
    OfAll(Loss),
    /// Whatever goes with that pod.
    Anyway(PodName),
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Carried::Consent(Consent { of, loss }) => write!(f, "of {of} it LOSES {loss}"),
            Carried::OfAll(loss) => write!(f, "of every pod it LOSES {loss}"),
            Carried::Anyway(pod) => write!(f, "it ENDS {pod} whatever it loses"),
        }
    }
}

/// Why what a person allows cannot be written into a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    #[error(
        "--evict-anyway {0}: expected a pod that leaves one of these nodes, found none of that name; `--explain` lists \
         all"
    )]
    NoPod(PodName),
    #[error(
        "expected at most {MAX_CONSENTS} consents in one plan, found owners for {0}; make a plan for fewer nodes, or \
         allow it for all in the fleet file"
    )]
    TooMany(usize),
}

impl Allowed {
    /// Writes it into a drain. Where every pod was `seen`, it counts for their owners and for bare pods by UID,
    /// wherever they are when the drain runs; where somebody could not see them all, or new owners are welcome, for
    /// whatever there is then.
    pub fn write(&self, drain: &mut Drain, seen: Option<&[&NodeView]>, new: NewOwners) -> Result<(), ConsentError> {
        let general = drain.delete_empty_dir_data;
        let Some(nodes) = seen.filter(|_| new == NewOwners::Ask) else {
            drain.delete_empty_dir_data = self.delete_empty_dir_data.unwrap_or(general);
            drain.force_unmanaged |= self.force_unmanaged;
            drain.evict_anyway.extend(self.evict_anyway.iter().cloned());
            return Ok(());
        };
        // The flag stands in the place of the fleet file's word, so that it may allow less too.
        drain.delete_empty_dir_data = self.delete_empty_dir_data.map_or(general, |flag| flag.both(general));
        let pods: Vec<&PodView> = nodes.iter().flat_map(|node| &node.pods).collect();
        let leaves = |name: &&PodName| !pods.iter().any(|pod| pod.pod == **name && pod.losses().is_some());
        if let Some(unknown) = self.evict_anyway.iter().find(leaves) {
            return Err(ConsentError::NoPod(unknown.clone()));
        }
        let mut consents: BTreeSet<Consent> = BTreeSet::new();
        for pod in pods {
            for loss in pod.losses().into_iter().flatten() {
                let of = pod.whose();
                if self.covers(pod, *loss) && !Options::from(&*drain).allow(pod.pod.as_str(), Some(&of), *loss) {
                    consents.insert(Consent { of, loss: *loss });
                }
            }
        }
        consent(drain, consents)
    }

    /// Adds to a drain what the plan that it continues allowed of the same node, and gives what that is. Who says now
    /// that no emptyDir goes takes back what was said of them before.
    pub fn carry_over(&self, drain: &mut Drain, before: &Drain) -> Result<Vec<Carried>, ConsentError> {
        let takes_back = self.delete_empty_dir_data == Some(EmptyDirs::None);
        let may_go_on = |loss: &Loss| match loss {
            Loss::EmptyDirDisk | Loss::EmptyDirMemory => !takes_back,
            Loss::Unmanaged => true,
        };
        let mut carried = Vec::new();
        for loss in Loss::ALL.into_iter().filter(may_go_on) {
            if Options::from(before).allow_of_all(loss) && !Options::from(&*drain).allow_of_all(loss) {
                carried.push(Carried::OfAll(loss));
                match loss {
                    Loss::EmptyDirDisk => {
                        drain.delete_empty_dir_data = drain.delete_empty_dir_data.either(EmptyDirs::Disk);
                    }
                    Loss::EmptyDirMemory => {
                        drain.delete_empty_dir_data = drain.delete_empty_dir_data.either(EmptyDirs::Memory);
                    }
                    Loss::Unmanaged => drain.force_unmanaged = true,
                }
            }
        }
        for pod in before.evict_anyway.iter().filter(|_| !takes_back) {
            if !drain.evict_anyway.contains(pod) {
                carried.push(Carried::Anyway(pod.clone()));
                drain.evict_anyway.push(pod.clone());
            }
        }
        let mut consents: BTreeSet<Consent> = drain.consents.iter().cloned().collect();
        for old in before.consents.iter().filter(|old| may_go_on(&old.loss)) {
            if !Options::from(&*drain).allow_of_all(old.loss) && consents.insert(old.clone()) {
                carried.push(Carried::Consent(old.clone()));
            }
        }
        consent(drain, consents)?;
        Ok(carried)
    }

    fn covers(&self, pod: &PodView, loss: Loss) -> bool {
        let flag = self.delete_empty_dir_data.unwrap_or_default();
        let by_flag = match loss {
            Loss::EmptyDirDisk => flag.allows(false),
            Loss::EmptyDirMemory => flag.allows(true),
            Loss::Unmanaged => self.force_unmanaged,
        };
        by_flag || self.evict_anyway.contains(&pod.pod)
    }
}

fn consent(drain: &mut Drain, consents: BTreeSet<Consent>) -> Result<(), ConsentError> {
    if consents.len() > MAX_CONSENTS {
        return Err(ConsentError::TooMany(consents.len()));
    }
    drain.consents = consents.into_iter().collect();
    Ok(())
}

impl PodView {
    /// What is lost with it for ever when it leaves; none where it stays or is going already.
    fn losses(&self) -> Option<&[Loss]> {
        match &self.prospect {
            Prospect::Leaves(leaving) => Some(&leaving.loses),
            Prospect::Stays(_) | Prospect::Going { .. } => None,
        }
    }
}
