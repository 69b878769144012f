//! `hostler recovery …`

use hostler_seal::Identity;
use serde_json::json;

use super::Context;
use crate::{
    args::{RecoveryCommand, RecoveryKeyCommand},
    error::Error,
    file::write_private_new,
    output::print,
};

pub(super) fn run(context: &Context, command: &RecoveryCommand) -> Result<(), Error> {
    match command {
        RecoveryCommand::Key(RecoveryKeyCommand::New { out }) => {
            let key = Identity::generate();
            let public = key.recipient();
            let text = format!("# recovery key of Hostler, public half: {public}\n{}\n", key.to_secret_text());
            write_private_new(out, text.as_bytes())?;
            let file = out.display().to_string();
            print(
                context.output,
                || json!({ "file": file, "key": public }),
                || {
                    format!(
                        "wrote {file}: keep it off the machines of the fleet\npublic half: {public}\n\
                         next: hostler trust amend --add-recovery-key NAME={public}"
                    )
                },
            )
        }
    }
}
