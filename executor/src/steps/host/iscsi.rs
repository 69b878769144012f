//! `iscsi.initiator`: the name by which targets know this machine. That no other machine has it is told by who reads
//! the receipts of several.

use std::path::Path;

use hostler_plan::{document::ISCSI_INITIATOR, step::machine::NamedInitiator};

use crate::steps::action::{Action, Check, StepContext, StepError};

const NAME: &str = "/etc/iscsi/initiatorname.iscsi";

impl Action for NamedInitiator {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let Some(file) = context.host().read_file(Path::new(NAME))? else {
            return Ok(unfit("no such file; install open-iscsi first"));
        };
        let text = String::from_utf8_lossy(&file.content).into_owned();
        let names: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("InitiatorName=")).collect();
        match names.as_slice() {
            [] => Ok(unfit("none; start iscsid once, or write one that `iscsi-iname` prints")),
            [name] if is_name(name) => {
                context.observe(ISCSI_INITIATOR, *name);
                Ok(Check::Done(format!("targets know this machine as {name}")))
            }
            [name] => Ok(unfit(&format!("{name:?}; write one that `iscsi-iname` prints"))),
            several => Ok(unfit(&format!("{} of them; keep one", several.len()))),
        }
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

/// The forms of RFC 3720, part 3.2.6.
fn is_name(name: &str) -> bool {
    ["iqn.", "eui.", "naa."].iter().any(|form| name.starts_with(form)) && name.bytes().all(|b| b.is_ascii_graphic())
}

fn unfit(found: &str) -> Check {
    Check::Mismatch { expected: format!("an initiator's name in {NAME}"), found: found.to_owned() }
}
