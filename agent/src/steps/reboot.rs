//! `host.reboot`: proved by another boot id, in another process.

use super::{Check, StepContext, StepError};

pub fn check(context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let now = context.host().boot_id()?;
    match &context.first_attempt {
        Some((before, _)) if *before != now => {
            let detail = format!("rebooted: boot id {now}, before {before}");
            context.observe("boot_id", now.as_str());
            Ok(Check::Done(detail))
        }
        Some(_) | None => Ok(Check::Ready),
    }
}

pub fn apply(context: &mut StepContext<'_>) -> Result<(), StepError> {
    context.host().reboot()?;
    Err(StepError::Rebooting)
}
