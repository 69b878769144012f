//! `systemd.ensure`.

use std::time::Duration;

use hostler_plan::step::{EnsureUnit, UnitState};

use crate::{
    host::{UnitActivity, UnitStatus},
    steps::action::{Action, Check, StepContext, StepError},
};

/// systemd's own default for a start is 90 seconds.
const LIMIT: Duration = Duration::from_secs(120);

impl Action for EnsureUnit {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let (unit, state, enabled) = (self.unit.as_str(), &self.state, &self.enabled);
        let found = context.host().unit(unit)?;
        if !found.exists {
            return Ok(Check::Mismatch {
                expected: format!("systemd unit {unit}"),
                found: "no such unit; install its package first".into(),
            });
        }
        if reached(found, *state, *enabled) {
            return Ok(Check::Done(format!("{unit} is {}", describe(*state, *enabled))));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let (unit, state, enabled) = (self.unit.as_str(), &self.state, &self.enabled);
        Ok(context.host().set_unit(unit, *state, *enabled)?)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let (unit, state, enabled) = (self.unit.as_str(), &self.state, &self.enabled);
        let began = context.now();
        loop {
            let found = context.host().unit(unit)?;
            if reached(found, *state, *enabled) {
                return Ok(format!("{unit} is {}", describe(*state, *enabled)));
            }
            let changing = found.activity == UnitActivity::Changing;
            if !changing || context.now().since(began) > LIMIT {
                return Err(StepError::Failed(format!(
                    "{unit}: expected {}, found it {:?} and {}; see `journalctl -u {unit}`",
                    describe(*state, *enabled),
                    found.activity,
                    if found.enabled { "enabled" } else { "disabled" },
                )));
            }
            context.pause(Duration::from_secs(1))?;
        }
    }
}

fn reached(found: UnitStatus, state: UnitState, enabled: bool) -> bool {
    let running = found.activity == UnitActivity::Active;
    let stopped = matches!(found.activity, UnitActivity::Inactive | UnitActivity::Failed);
    found.enabled == enabled
        && match state {
            UnitState::Started => running,
            UnitState::Stopped => stopped,
        }
}

fn describe(state: UnitState, enabled: bool) -> String {
    let state = match state {
        UnitState::Started => "running",
        UnitState::Stopped => "stopped",
    };
    format!("{state} and {}", if enabled { "enabled" } else { "disabled" })
}
