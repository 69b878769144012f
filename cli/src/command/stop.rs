//! `hostler stop` and `hostler rollout halt`: at once without a signature, then with one that every node keeps.
//! Whatever the coordinator says, there is a signed stop in the end: one that it does not take is carried to the nodes
//! by hand.

use std::path::PathBuf;

use hostler_plan::{document::Plan, refusal::Refusal, sequencer::RolloutAction, trust::Verified};
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
    key::SigningKey,
    output::{note, print},
    plan, rollout,
    stop::{self, Stop, Which},
    trust_store::TrustStore,
};

/// How often a stop is made anew because others handed in plans meanwhile.
const TRIES: usize = 8;

/// `hostler stop`
pub(super) async fn run(context: &Context, args: StopArgs) -> Result<(), Error> {
    let which = args.rollout.map_or(Which::All, Which::One);
    stop(context, which, &args.options).await
}

/// Halts unsigned, then makes, signs and submits a stop, and says who has proved to hold it.
pub(super) async fn stop(context: &Context, which: Which, options: &StopOptions) -> Result<(), Error> {
    let mut admin = match in_time(context, options, context.admin()).await {
        Ok(admin) => admin,
        Err(error) => return without_coordinator(context, &which, options, error),
    };
    let halted = match in_time(context, options, halt(&mut admin, &which, &options.reason)).await {
        Ok(halted) => halted,
        Err(error @ Error::Coordinator { .. }) => return Err(error),
        Err(error) => {
            note(&format!("the coordinator did not halt, and a signed stop follows: {error}"));
            Vec::new()
        }
    };
    for seq in &halted {
        note(&format!("plan {seq} is halted on the coordinator, unsigned; a stop that every node keeps follows"));
    }
    let mut last = None;
    for _ in 0..TRIES {
        let stop = match in_time(context, options, stop::compile(&mut admin, &which, now())).await {
            Ok(stop) => stop,
            Err(error) => return without_coordinator(context, &which, options, error),
        };
        let (plan, written) = sign(context, admin.trust_store(), admin.signer(), &stop, options)?;
        let seq = plan.document().seq;
        let error = match in_time(context, options, plan::submit(&mut admin, &plan)).await {
            Ok(_) => {
                context.rescue.pass_over(written)?;
                return taken(context, &mut admin, &plan, &halted, options).await;
            }
            Err(error) => error,
        };
        if let Error::Overtaken { winner, .. } = &error {
            let winner = winner.digest();
            note(&format!("plan {seq} was overtaken by {winner}, which was taken first; the stop is made anew"));
        } else if let Error::Refused(refused) = &error
            && refused.refusal == Refusal::Overtaken
        {
            // Another terminal of this profile was faster.
            note(&refused.reason);
        } else {
            return Err(carry(written, Some(&error)));
        }
        last = Some(carry(written, Some(&error)));
    }
    note(&format!("the stop was overtaken {TRIES} times by others' plans; try again, or carry the last one"));
    Err(last.unwrap_or_else(|| Error::Failed("no stop was signed; try again".to_owned())))
}

/// What the coordinator does, or that it does not do it in time: one that is mute holds no stop up. A person takes
/// the time that a touch takes.
async fn in_time<T>(
    context: &Context,
    options: &StopOptions,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let person = &context.profile.key.person;
    person.others_within(options.patience, asked).await.unwrap_or_else(|| {
        Err(Error::Failed(format!("expected an answer of the coordinator within {} s", options.patience.as_secs())))
    })
}

/// Asks the coordinator to stop at once. That needs no signature, and whatever it answers, the stop follows; but for a
/// rollout that it does not find.
async fn halt(admin: &mut Admin, which: &Which, reason: &str) -> Result<Vec<String>, Error> {
    let named = match which {
        Which::One(rollout) => vec![rollout.clone()],
        Which::All => match plan::inventory(admin).await {
            Ok(inventory) => inventory.running.iter().map(|running| running.plan.digest.to_string()).collect(),
            Err(error) => {
                note(&format!("the coordinator does not say what runs, and a signed stop follows: {error}"));
                Vec::new()
            }
        },
    };
    let mut halted = Vec::new();
    for rollout in named {
        match rollout::control(admin, &rollout, &RolloutAction::Halt, reason).await {
            Ok(()) => halted.push(rollout),
            // It is over there: a node may not know that.
            Err(Error::Coordinator { code: Code::FailedPrecondition, message }) => note(&message),
            Err(error @ Error::Coordinator { code: Code::NotFound | Code::InvalidArgument, .. })
                if *which != Which::All =>
            {
                note("no stop was signed; `hostler stop --all` signs one of everything, whatever the coordinator says");
                return Err(error);
            }
            Err(error) => note(&format!("the coordinator did not halt {rollout}, and a signed stop follows: {error}")),
        }
    }
    Ok(halted)
}

/// Shows a stop, asks, and signs it. Beside it: where it lies, or why it does not.
fn sign(
    context: &Context,
    store: &TrustStore,
    signer: &SigningKey,
    stop: &Stop,
    options: &StopOptions,
) -> Result<(Verified<Plan>, Result<PathBuf, Error>), Error> {
    note(stop.text(now()).trim_end());
    confirm(&format!("sign this stop as plan {}?", stop.plan.seq), options.yes)?;
    let plan = stop.sign(store, signer, now())?;
    let kept = || context.profile.home.join("plans").join(stop.file_name());
    let path = options.out.clone().unwrap_or_else(kept);
    let written = write_document(&path, plan.signed()).map(|()| path);
    Ok((plan, written))
}

/// The coordinator has it.
async fn taken(
    context: &Context,
    admin: &mut Admin,
    plan: &Verified<Plan>,
    halted: &[String],
    options: &StopOptions,
) -> Result<(), Error> {
    let (seq, digest) = (plan.document().seq, plan.digest());
    note(&format!("plan {seq} (stop) is in the coordinator's ledger"));
    let asked = delivery::wait(admin, Wanted::plan(plan), options.wait);
    let delivered = tokio::time::timeout(options.wait + options.patience, asked).await;
    let delivered = delivered.unwrap_or_else(|_| Err(Error::Failed("it does not answer".to_owned())));
    let delivered = delivered.map_err(|error| {
        Error::Failed(format!(
            "plan {seq} (stop) was handed in, and the coordinator does not say which nodes hold it: {error}; ask with \
             `hostler rollout show {seq}`, or carry it to them (`hostler-executor accept`, docs/stop.md)"
        ))
    })?;
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

/// Signs a stop of everything that no coordinator was asked about, for somebody to carry.
fn without_coordinator(context: &Context, which: &Which, options: &StopOptions, error: Error) -> Result<(), Error> {
    let store = context.store()?;
    let signer = SigningKey::find(&context.profile.key, &store.counting_keys())?;
    if let Which::One(rollout) = which {
        note(&format!(
            "what else runs beside {rollout} is known to the coordinator alone; `hostler stop --all` signs a stop of \
             everything without it, to be carried to the nodes"
        ));
        return Err(error);
    }
    note(&format!("the stop is made without the coordinator: {error}"));
    let stop = stop::without_coordinator(&store, now())?;
    let (plan, written) = sign(context, &store, &signer, &stop, options)?;
    context.rescue.pass_over(plan::number::keep_sent(&store, &plan))?;
    Err(carry(written, None))
}

/// A stop that is signed and that the coordinator did not take.
fn carry(written: Result<PathBuf, Error>, error: Option<&Error>) -> Error {
    let path = match written {
        Ok(path) => path,
        Err(error) => {
            return Error::Failed(format!(
                "{error}. The stop has to be carried to the nodes, so name another place for it with --out FILE"
            ));
        }
    };
    let why = error.map_or_else(String::new, |error| format!(", and the coordinator does not take it ({error})"));
    let file = path.display();
    Error::Failed(format!(
        "the stop is signed{why}; no node holds it yet: carry {file} and {file}.sig to each node and run \
         `hostler-executor accept` with it (docs/stop.md), and hand it in with `hostler submit {file}` when the \
         coordinator is back"
    ))
}
