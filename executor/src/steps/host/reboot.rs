//! `host.reboot`: proved by another boot id, in another process.

use hostler_plan::step::Reboot;

use crate::steps::action::{Action, Check, StepContext, StepError};

/// The observation that names the boot the machine came up in.
pub(crate) const BOOT_ID: &str = "boot_id";

/// How often a machine is asked to reboot. In some containers the boot id never changes: they would reboot for ever.
const MAX_TRIES: usize = 3;

impl Action for Reboot {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let now = context.host().boot_id()?;
        match context.first_attempt() {
            Some((before, _)) if *before != now => {
                let detail = format!("rebooted: boot id {now}, before {before}");
                context.observe(BOOT_ID, now.as_str());
                Ok(Check::Done(detail))
            }
            Some(_) if context.running.tries >= MAX_TRIES => Ok(Check::Mismatch {
                expected: format!("another boot id than {now}"),
                found: format!(
                    "the same after {MAX_TRIES} reboots were asked for; see /proc/sys/kernel/random/boot_id"
                ),
            }),
            Some(_) | None => Ok(Check::Ready),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        // Asked again after a restart too: a machine that did not go down is no half-done step.
        context.await_act()?;
        context.host().reboot()?;
        Err(StepError::Rebooting)
    }
}
