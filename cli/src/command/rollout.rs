//! `hostler rollouts`, `hostler rollout …` and `hostler quarantine …`.

use hostler_plan::{sequencer::RolloutAction, timestamp::Timestamp};
use hostler_proto::v1::{RolloutDetail, RolloutSummary, TaskStatus};
use serde_json::{Value, json};

use super::{Context, plan::follow, pods, stop::stop};
use crate::{
    args::{Control, QuarantineCommand, RolloutCommand},
    delivery::{self, Delivery, Wanted},
    error::Error,
    output::{clean, print, table},
    rollout::{self, Evidence},
    stop::Which,
};

/// `hostler rollouts`
pub(super) async fn list(context: &Context) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let rollouts = rollout::list(&mut admin).await?;
    print(
        context.output,
        || json!({ "rollouts": rollouts.iter().map(summary_json).collect::<Vec<_>>() }),
        || {
            let rows: Vec<[String; 6]> = rollouts
                .iter()
                .map(|r| {
                    let status = r.status();
                    let state =
                        if r.reason.is_empty() { status.to_string() } else { format!("{status}: {}", r.reason) };
                    [
                        r.seq.to_string(),
                        r.kind().to_string(),
                        format!("{}/{}", r.tasks_succeeded, r.tasks),
                        Timestamp::from_unix_seconds(r.submitted_at).to_string(),
                        clean(&r.title).into_owned(),
                        clean(&state).into_owned(),
                    ]
                })
                .collect();
            table(["PLAN", "KIND", "TASKS", "SUBMITTED", "TITLE", "STATE"], &rows)
        },
    )
}

/// `hostler rollout …`
pub(super) async fn run(context: &Context, command: RolloutCommand) -> Result<(), Error> {
    match command {
        RolloutCommand::Show(which) => show(context, &which.rollout).await,
        RolloutCommand::Watch(which) => follow(context, &mut context.admin().await?, &which.rollout).await,
        RolloutCommand::Pause(c) => control(context, &c, RolloutAction::Pause).await,
        RolloutCommand::Resume(c) => control(context, &c, RolloutAction::Resume).await,
        // Also where the coordinator lets nobody in.
        RolloutCommand::Halt(halt) => stop(context, Which::One(halt.which.rollout), &halt.stop).await,
        RolloutCommand::Release { which, task, reason } => {
            control(context, &Control { which, reason }, RolloutAction::Release(task)).await
        }
    }
}

async fn show(context: &Context, rollout: &str) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let detail = rollout::get(&mut admin, rollout).await?;
    let evidence = rollout::verify(admin.trust_store(), &detail);
    if let Ok(plan) = &evidence.plan {
        rollout::check_named(rollout, plan)?;
    }
    let delivered = match &evidence.plan {
        Ok(plan) => Some(delivery::of(&mut admin, Wanted::plan(plan)).await?),
        Err(_) => None,
    };
    print(
        context.output,
        || {
            let mut value = detail_json(&detail, &evidence);
            value["delivery"] = delivered.as_ref().map_or(Value::Null, Delivery::json);
            value
        },
        || {
            let delivered = delivered.as_ref().map(Delivery::text).unwrap_or_default();
            format!("{}\n{delivered}", detail_text(&detail, &evidence))
        },
    )
}

async fn control(context: &Context, which: &Control, action: RolloutAction) -> Result<(), Error> {
    let (mut admin, rollout) = (context.admin().await?, &which.which.rollout);
    rollout::control(&mut admin, rollout, &action, &which.reason).await?;
    let mut value = json!({ "rollout": rollout, "action": action.word() });
    if let RolloutAction::Release(task) = &action {
        value["task"] = json!(task);
    }
    let text = match action {
        RolloutAction::Pause => format!(
            "rollout {rollout} is paused; what runs finishes. This binds only the coordinator: what every node \
             keeps is `hostler stop {rollout}`"
        ),
        RolloutAction::Resume => format!("rollout {rollout} goes on"),
        RolloutAction::Halt => format!("rollout {rollout} is halted; to go on, sign a new plan"),
        RolloutAction::Release(task) => format!("task {task} of {rollout} may be granted again"),
    };
    print(context.output, || value, || text)
}

/// `hostler quarantine …`
pub(super) async fn quarantine(context: &Context, command: QuarantineCommand) -> Result<(), Error> {
    let QuarantineCommand::Release { node, version } = command;
    let mut admin = context.admin().await?;
    rollout::release_quarantine(&mut admin, &node, version).await?;
    print(
        context.output,
        || json!({ "node": node, "version": version, "released": true }),
        || format!("plans may bring {node} to {version} again"),
    )
}

fn summary_json(r: &RolloutSummary) -> Value {
    json!({ "plan": r.plan, "epoch": r.epoch, "seq": r.seq, "kind": r.kind().to_string(), "title": r.title,
        "state": r.status().to_string(), "reason": r.reason, "tasks": r.tasks, "tasks_succeeded": r.tasks_succeeded,
        "submitted_at": Timestamp::from_unix_seconds(r.submitted_at) })
}

fn detail_json(detail: &RolloutDetail, evidence: &Evidence) -> Value {
    let mut value = summary_json(&detail.summary.clone().unwrap_or_default());
    value["plan_verified"] = json!(evidence.plan.is_ok());
    value["plan_refusal"] = json!(evidence.plan.as_ref().err().map(|r| r.reason.clone()));
    value["waits"] =
        detail.waits.iter().map(|w| json!({ "node": w.node, "task": w.task, "sentence": w.sentence })).collect();
    value["baselines"] = detail
        .baselines
        .iter()
        .map(|b| {
            json!({ "node": b.node, "taken_at": Timestamp::from_unix_milliseconds(b.taken_at), "sentence": b.sentence,
                "no_worse": b.recovered })
        })
        .collect();
    value["drains"] = json!(pods::drains(evidence));
    value["task_list"] = detail
        .tasks
        .iter()
        .map(|t| {
            let blockers: Vec<Value> =
                t.blockers.iter().map(|b| json!({ "pod": b.pod, "budget": b.budget, "reason": b.reason })).collect();
            json!({ "task": t.id, "node": t.node, "subject": t.subject, "state": t.status().to_string(),
                "sentence": t.sentence, "step": t.step, "steps": t.steps, "receipt": t.receipt, "blockers": blockers,
                "pods": evidence.pods().find(|(task, _)| task.to_string() == t.id).map(|(_, pods)| pods),
                "proved": evidence.proved.iter().any(|p| p.to_string() == t.id) })
        })
        .collect();
    value
}

fn detail_text(detail: &RolloutDetail, evidence: &Evidence) -> String {
    let s = detail.summary.clone().unwrap_or_default();
    let plan = match &evidence.plan {
        Ok(_) => "verified under the held root and roster".to_owned(),
        Err(refused) => format!("NOT VERIFIED: {}", clean(&refused.reason)),
    };
    let order = match &evidence.order {
        Ok(()) => "kept, as far as receipts arrived".to_owned(),
        Err(refused) => format!("NOT KEPT: {}", clean(&refused.reason)),
    };
    let reason = if s.reason.is_empty() { String::new() } else { format!(": {}", clean(&s.reason)) };
    let mut text = format!(
        "plan {} ({}): {}\n  digest     {}\n  plan       {plan}\n  submitted  {}\n  state      {}{reason}\n  \
         tasks      {} of {} succeeded, {} proved by receipts\n  order      {order}\n",
        s.seq,
        s.kind(),
        clean(&s.title),
        clean(&s.plan),
        Timestamp::from_unix_seconds(s.submitted_at),
        s.status(),
        s.tasks_succeeded,
        s.tasks,
        evidence.proved.len()
    );
    for wait in &detail.waits {
        let who = if wait.node.is_empty() { "all nodes" } else { &wait.node };
        text.push_str(&format!("  {:<10} {}\n", clean(who), clean(&wait.sentence)));
    }
    for b in &detail.baselines {
        let after = if b.recovered { "no worse after" } else { "not known to be no worse yet" };
        let taken_at = Timestamp::from_unix_milliseconds(b.taken_at).whole_seconds();
        text.push_str(&format!("  before     {}: {} at {taken_at}, {after}\n", clean(&b.node), clean(&b.sentence)));
    }
    let rows: Vec<[String; 4]> = detail
        .tasks
        .iter()
        .map(|t| {
            let proved = evidence.proved.iter().any(|p| p.to_string() == t.id);
            let doubt = if t.status() == TaskStatus::Succeeded && !proved { "?" } else { "" };
            let status = t.status().to_string();
            let said = if t.sentence == status { "" } else { &t.sentence };
            [clean(&t.id).into_owned(), clean(&t.node).into_owned(), status + doubt, clean(said).into_owned()]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(["TASK", "PERFORMED BY", "STATE", ""], &rows));
    for task in &detail.tasks {
        for b in &task.blockers {
            let budget = if b.budget.is_empty() { String::new() } else { format!(" (budget {})", b.budget) };
            text.push_str(&clean(&format!("{} is blocked by pod {}{budget}: {}", task.id, b.pod, b.reason)));
            text.push('\n');
        }
    }
    text + &pods::text(evidence) + &pods::drains_text(&pods::drains(evidence))
}
