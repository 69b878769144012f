//! What a person does to a rollout.

use hostler_plan::sequencer::RolloutAction;

use super::{UnreadableMessage, id};
use crate::v1;

impl v1::ControlRolloutRequest {
    /// To do that to a rollout.
    pub fn new(rollout: impl Into<String>, action: &RolloutAction, reason: impl Into<String>) -> Self {
        let (kind, task) = match action {
            RolloutAction::Pause => (v1::RolloutAction::Pause, String::new()),
            RolloutAction::Resume => (v1::RolloutAction::Resume, String::new()),
            RolloutAction::Halt => (v1::RolloutAction::Halt, String::new()),
            RolloutAction::Release(task) => (v1::RolloutAction::Release, task.to_string()),
        };
        Self { rollout: rollout.into(), action: kind.into(), reason: reason.into(), task }
    }
}

impl TryFrom<&v1::ControlRolloutRequest> for RolloutAction {
    type Error = UnreadableMessage;
    fn try_from(request: &v1::ControlRolloutRequest) -> Result<Self, UnreadableMessage> {
        Ok(match request.action() {
            v1::RolloutAction::Unspecified => {
                return Err(UnreadableMessage::new("pause, resume, halt or release", "none that is known here"));
            }
            v1::RolloutAction::Pause => RolloutAction::Pause,
            v1::RolloutAction::Resume => RolloutAction::Resume,
            v1::RolloutAction::Halt => RolloutAction::Halt,
            v1::RolloutAction::Release => RolloutAction::Release(id("the task to release", &request.task)?),
        })
    }
}
