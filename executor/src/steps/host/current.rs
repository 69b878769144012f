//! `systemd.current`: a unit that runs has read the files that lie there now.

use std::{path::Path, time::Duration};

use hostler_plan::step::CurrentUnit;

use crate::{
    host::{HostError, UnitActivity},
    steps::action::{Action, Check, StepContext, StepError},
};

/// systemd answers at once.
const QUICK: Duration = Duration::from_secs(60);

/// systemd's own default for a start is 90 seconds.
const LIMIT: Duration = Duration::from_secs(120);

impl Action for CurrentUnit {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let unit = self.unit.as_str();
        match context.host().unit(unit)?.activity {
            UnitActivity::Inactive | UnitActivity::Failed => {
                return Ok(Check::Done(format!("{unit} does not run: it reads its files when it starts")));
            }
            UnitActivity::Active | UnitActivity::Changing => {}
        }
        Ok(match newer(self, context)? {
            None => Check::Done(format!("{unit} was started after its files were last changed")),
            Some(_) => Check::Ready,
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        if let Some(newer) = newer(self, context)? {
            context.say(format!("restarts {}: {newer} is newer", self.unit));
        }
        context.host().reload_units()?;
        Ok(context.host().restart_unit(self.unit.as_str())?)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let unit = self.unit.as_str();
        let began = context.now();
        loop {
            let activity = context.host().unit(unit)?.activity;
            if activity == UnitActivity::Active && newer(self, context)?.is_none() {
                return Ok(format!("{unit} was restarted with its new files"));
            }
            if activity == UnitActivity::Failed || context.now().since(began) > LIMIT {
                return Err(StepError::Failed(format!(
                    "{unit}: expected it running with its new files, found it {activity:?}; see `journalctl -u {unit}`"
                )));
            }
            context.pause(Duration::from_secs(1))?;
        }
    }
}

/// A file that was changed after the unit's process started; none where nobody can tell.
fn newer(step: &CurrentUnit, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let unit = step.unit.as_str();
    let show = ["systemctl", "show", "--property=ExecMainStartTimestamp", "--value", "--timestamp=unix", "--", unit];
    let Some(started) = seconds(&show, context)? else { return Ok(None) };
    for path in &step.files {
        // A file that is not there is nobody's setting.
        if context.host().measure_file(Path::new(path.as_str()))?.is_none() {
            continue;
        }
        let changed = seconds(&["stat", "--format=%Y", "--", path.as_str()], context)?;
        if changed.is_some_and(|changed| changed > started) {
            return Ok(Some(path.to_string()));
        }
    }
    Ok(None)
}

/// Seconds since 1970, as `stat` and systemd (`@1764316800`) print them.
fn seconds(command: &[&str], context: &StepContext<'_>) -> Result<Option<u64>, StepError> {
    match context.host().run(command, QUICK) {
        Ok(text) => Ok(text.trim().trim_start_matches('@').parse().ok()),
        Err(HostError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
