//! `hostler stop` and `hostler rollout halt`: at once without a signature, then with one that every node keeps.

use hostler_plan::{sequencer::RolloutAction, trust::Verified};
use serde_json::json;
use tonic::Code;

use super::{Context, forks};
use crate::{
    Admin,
    admin::now,
    args::{StopArgs, StopOptions},
    ask::confirm,
    delivery::{self, Wanted},
    error::Error,
    file::write_document,
    output::{note, print},
    plan, rollout,
    stop::{self, Which},
};

/// How often a stop is made anew because others handed in plans meanwhile.
const TRIES: usize = 8;

/// `hostler stop`
pub(super) async fn run(context: &Context, args: StopArgs) -> Result<(), Error> {
    let which = args.rollout.map_or(Which::All, Which::One);
    let mut admin = context.admin().await?;
    stop(context, &mut admin, which, &args.options).await
}

/// Halts unsigned, then makes, signs and submits a stop, and says who has proved to hold it.
pub(super) async fn stop(
    context: &Context,
    admin: &mut Admin,
    which: Which,
    options: &StopOptions,
) -> Result<(), Error> {
    let halted = halt(admin, &which, &options.reason).await?;
    for seq in &halted {
        note(&format!("plan {seq} is halted on the coordinator, unsigned; a stop that every node keeps follows"));
    }
    let plan = sign_and_submit(context, admin, &which, options).await?;
    let (seq, digest) = (plan.document().seq, plan.digest());
    note(&format!("plan {seq} (stop) is in the coordinator's ledger"));
    let delivered = delivery::wait(admin, Wanted::plan(&plan), options.wait).await?;
    print(
        context.output,
        || {
            json!({ "event": "stopped", "plan": digest, "seq": seq, "halted": halted,
                "beside": plan.document().keeps_valid, "delivery": delivered.json(),
                "damage": context.rescue.as_json() })
        },
        || format!("plan {seq} stops what it does not keep; {}", delivered.text()),
    )?;
    forks::fail(admin)
}

/// Asks the coordinator to stop at once. That needs no signature, and whatever it answers, the stop follows.
async fn halt(admin: &mut Admin, which: &Which, reason: &str) -> Result<Vec<String>, Error> {
    let named = match which {
        Which::One(rollout) => vec![rollout.clone()],
        Which::All => {
            let running = plan::inventory(admin).await?.running;
            running.into_iter().map(|running| running.plan.digest.to_string()).collect()
        }
    };
    let mut halted = Vec::new();
    for rollout in named {
        let asked = rollout::control(admin, &rollout, &RolloutAction::Halt, reason).await;
        match asked {
            Ok(()) => halted.push(rollout),
            // It is over there: a node may not know that.
            Err(Error::Coordinator { code: Code::FailedPrecondition, message }) => note(&message),
            Err(other) => return Err(other),
        }
    }
    Ok(halted)
}

async fn sign_and_submit(
    context: &Context,
    admin: &mut Admin,
    which: &Which,
    options: &StopOptions,
) -> Result<Verified<hostler_plan::document::Plan>, Error> {
    for _ in 0..TRIES {
        let stop = stop::compile(admin, which, now()).await?;
        note(stop.text(now()).trim_end());
        confirm(&format!("sign and submit this stop as plan {}?", stop.plan.seq), options.yes)?;
        let (draft, signed) = stop.sign(admin, now())?;
        let kept = context.profile.home.join("plans").join(stop.file_name());
        context.rescue.pass_over(write_document(&kept, draft.signed()))?;
        let Some(verified) = signed.plan else {
            return Err(Error::Failed(
                "expected one key to be enough for a stop, found more needed; the root says who may sign one: \
                 `hostler trust show`"
                    .to_owned(),
            ));
        };
        match plan::submit(admin, &verified).await {
            Ok(_) => return Ok(verified),
            Err(Error::Overtaken { winner, .. }) => {
                note(&format!(
                    "plan {} was overtaken by {}, which was taken first; the stop is made anew",
                    stop.plan.seq,
                    winner.digest()
                ));
            }
            Err(other) => return Err(other),
        }
    }
    Err(Error::Failed(format!(
        "the stop was overtaken {TRIES} times by others' plans; the coordinator has halted, so try again, or stop \
         everything with `hostler stop --all`"
    )))
}
