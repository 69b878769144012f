//! `hostler nodes` and `hostler node …`.

use std::time::Duration;

use hostler_plan::{health, timestamp::Timestamp};
use hostler_proto::v1::{HistorySeries, Level, NodeDetail, NodeSummary};
use serde_json::{Value, json};

use super::{
    Context,
    accept::{self, Shown},
    forks, install, leave,
    members::{self, Consent},
};
use crate::{
    Admin,
    admin::now,
    args::{NodeCommand, Output, duration_text},
    error::Error,
    node::{self, Listed},
    output::{clean, clear, event, line, note, print, table},
};

/// Facts change every ten seconds; a person sees a change of state within two.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// What a terminal of 80 columns leaves for a spark line beside name and range.
const SPARK_WIDTH: usize = 40;

/// `hostler nodes`
pub(super) async fn list(context: &Context, watch: bool) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let mut shown = None;
    loop {
        let nodes = match node::list(&mut admin).await {
            Ok(nodes) => nodes,
            // The session ran out, or the coordinator restarted.
            Err(Error::Coordinator { .. }) if watch => {
                tokio::time::sleep(WATCH_INTERVAL).await;
                if admin.reconnect().await.is_err() {
                    note("the coordinator does not answer; trying again");
                }
                continue;
            }
            Err(e) => return Err(e),
        };
        if shown.as_ref() != Some(&nodes) {
            match context.output {
                Output::Json => {
                    event(&json!({ "nodes": nodes.iter().map(|n| summary_json(&admin, n)).collect::<Vec<_>>(),
                        "forks": forks::as_json(&admin) }))?;
                }
                Output::Text => {
                    if watch {
                        clear()?;
                    }
                    line(nodes_table(&admin, &nodes).trim_end())?;
                }
            }
            shown = Some(nodes);
        }
        if !watch {
            break;
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
    if context.output == Output::Text {
        // A viewer may look at nodes and not at tokens.
        if let Err(e) = members::hint(&mut admin).await {
            note(&format!("pending enrolments are not shown: {e}"));
        }
    }
    forks::fail(&admin)
}

/// `hostler node …`
pub(super) async fn run(context: &Context, command: NodeCommand) -> Result<(), Error> {
    // It needs no coordinator: the agent may have to go because there is none any more.
    if let NodeCommand::RemoveAgent(args) = command {
        return install::remove_agent(context, args).await;
    }
    let mut admin = context.admin().await?;
    match command {
        NodeCommand::RemoveAgent(_) => Ok(()),
        NodeCommand::Install(args) => install::install(context, &mut admin, args).await,
        NodeCommand::Image(args) => install::image(context, &mut admin, &args).await,
        NodeCommand::Show { name } => {
            let detail = node::get(&mut admin, &name).await?;
            let decided = Shown::of(&mut admin, &name, &detail).await?;
            print(
                context.output,
                || {
                    let mut value = detail_json(&admin, &detail);
                    (value["decided"], value["decision_not_shown"]) = decided.json();
                    value
                },
                || detail_text(&admin, &detail, &decided),
            )
        }
        NodeCommand::List { pending: true } => members::list_pending(context, &mut admin).await,
        NodeCommand::List { pending: false } => list(context, false).await,
        NodeCommand::Approve { nodes, yes, out } => {
            members::approve(context, &mut admin, &nodes, Consent { yes, out }).await
        }
        NodeCommand::Replace { node, power_off_proof, yes, out } => {
            leave::replace(context, admin, &node, power_off_proof, Consent { yes, out }).await
        }
        NodeCommand::Remove { plan, keep_listed } => leave::remove(context, plan, keep_listed).await,
        NodeCommand::Rename { node, new, yes, out } => {
            members::settle(context, &mut admin, &node, &new, Consent { yes, out }).await.map(drop)
        }
        NodeCommand::Accept { node, verdict, until, reason, withdraw: _ } => {
            accept::accept(context, &mut admin, &node, &verdict, until.zip(reason)).await
        }
        NodeCommand::Release { node, disk, reason } => accept::release(context, &mut admin, &node, &disk, reason).await,
        NodeCommand::AdoptCordon(args) => super::plan::run_interactive(context, args).await,
        NodeCommand::ReleaseCordon(args) => super::plan::run_interactive(context, args).await,
        NodeCommand::Renew { yes, out } => members::renew(context, &mut admin, Consent { yes, out }).await,
        NodeCommand::Retire { name, yes, out } => {
            members::retire(context, &mut admin, &name, Consent { yes, out }).await
        }
    }
}

fn nodes_table(admin: &Admin, nodes: &[NodeSummary]) -> String {
    let rows: Vec<[String; 11]> =
        nodes.iter().map(|n| row(node::state(&node::listed(admin.trust_store(), n), n), n)).collect();
    table(HEAD, &rows)
}

const HEAD: [&str; 11] =
    ["NAME", "STATE", "VERSION", "TEMP", "THROTTLED", "MEM", "DISK", "NVME WEAR", "CLOCK", "VERDICT", ""];

/// What is not known is "-" and never a number.
fn row(state: String, n: &NodeSummary) -> [String; 11] {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { clean(text).into_owned() };
    let percent = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{:.0}%", v * 100.0));
    let flag = |v: Option<bool>, yes: &str, no: &str| v.map_or("-".to_owned(), |v| if v { yes } else { no }.to_owned());
    // The verdict first, because it is why somebody has to act; an activity that waits for it says it already.
    let said: Vec<&str> = match n.activity.contains(&n.health_reason) {
        true => vec![&n.activity],
        false => [n.health_reason.as_str(), &n.activity].into_iter().filter(|s| !s.is_empty()).collect(),
    };
    [
        clean(&n.name).into_owned(),
        state,
        or_dash(n.condition.as_ref().map_or("", |c| &c.version)),
        n.temperature_celsius.map_or("-".to_owned(), |t| format!("{t:.0}°C")),
        flag(n.throttled, "yes", "no"),
        percent(n.memory_used_ratio),
        percent(n.disk_used_ratio),
        percent(n.nvme_used_ratio),
        flag(n.clock_synchronised, "ok", "off"),
        or_dash(&n.health().to_string()),
        clean(&said.join("; ")).into_owned(),
    ]
}

fn summary_json(admin: &Admin, n: &NodeSummary) -> Value {
    let listed = node::listed(admin.trust_store(), n);
    json!({
        "name": n.name,
        "state": node::state(&listed, n),
        "listed": match &listed {
            Listed::Active => "active",
            Listed::Retired => "retired",
            Listed::Pending => "pending",
            Listed::OtherKey { .. } => "other_key",
        },
        "role": n.role().to_string(),
        "arch": n.arch().to_string(),
        "model": n.model,
        "key": n.key,
        "connected": n.connected,
        "agent_version": n.agent_version,
        "boot_id": n.boot_id,
        "last_report": (n.last_report > 0).then(|| Timestamp::from_unix_milliseconds(n.last_report)),
        "ready": n.condition.as_ref().map(|c| c.ready),
        "cordoned": n.condition.as_ref().map(|c| c.cordon.is_some()),
        "cordoned_by": node::cordoned_by(n),
        "version": n.condition.as_ref().map(|c| &c.version).filter(|v| !v.is_empty()),
        "health": n.health().to_string(),
        "health_reason": n.health_reason,
        "temperature_celsius": n.temperature_celsius,
        "throttled": n.throttled,
        "memory_used_ratio": n.memory_used_ratio,
        "disk_used_ratio": n.disk_used_ratio,
        "nvme_used_ratio": n.nvme_used_ratio,
        "clock_synchronised": n.clock_synchronised,
        "activity": n.activity,
    })
}

fn detail_json(admin: &Admin, detail: &NodeDetail) -> Value {
    let mut value = summary_json(admin, &detail.summary.clone().unwrap_or_default());
    let at = |seconds: u64| Timestamp::from_unix_seconds(seconds);
    value["facts_taken_at"] =
        json!((detail.facts_taken_at > 0).then(|| Timestamp::from_unix_milliseconds(detail.facts_taken_at)));
    value["facts"] = detail
        .facts
        .iter()
        .map(|f| {
            let labels: serde_json::Map<String, Value> =
                f.labels.iter().map(|l| (l.name.clone(), json!(l.value))).collect();
            json!({ "name": f.name, "labels": labels, "value": f.value() })
        })
        .collect();
    value["verdicts"] = detail
        .verdicts
        .iter()
        .map(|v| {
            json!({ "rule": v.rule, "level": v.level().to_string(), "sentence": v.sentence, "advice": v.advice,
                "since": at(v.since), "accepted": v.accepted.as_ref().map(|a| json!({ "by": a.by, "reason": a.reason,
                    "until": Timestamp::from_unix_milliseconds(a.until) })) })
        })
        .collect();
    value["history"] = detail
        .history
        .iter()
        .map(|h| {
            let points: Vec<Value> = h.points.iter().map(|p| json!([p.at, p.value])).collect();
            json!({ "name": h.name, "points": points })
        })
        .collect();
    value["refusals"] = detail
        .refusals
        .iter()
        .map(|r| {
            json!({ "at": at(r.at), "refusal": r.refusal().to_string(), "reason": r.reason, "document": r.document })
        })
        .collect();
    value
}

fn detail_text(admin: &Admin, detail: &NodeDetail, decided: &Shown) -> String {
    let listed = node::listed(admin.trust_store(), &detail.summary.clone().unwrap_or_default());
    let mut lines = detail_lines(listed, detail);
    lines.extend(decided.lines().map(|line| format!("  {:<9} {line}", "decided")));
    let mut text: String = lines.iter().map(|l| clean(l).into_owned() + "\n").collect();
    let rows: Vec<[String; 2]> = detail.facts.iter().map(|f| [number(f.value()), fact_name(f)]).collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(["VALUE", "FACT"], &rows));
    }
    text
}

/// All about a node but its facts, each on a line.
fn detail_lines(listed: Listed, detail: &NodeDetail) -> Vec<String> {
    let n = detail.summary.clone().unwrap_or_default();
    let mut lines = vec![format!("{}  {}", n.name, node::state(&listed, &n))];
    if let Listed::OtherKey { roster } = &listed {
        lines.push(format!("  ALARM     the roster lists key {roster}, the coordinator names {}; find out why", n.key));
    }
    let mut field = |name: &str, text: String| {
        if !text.trim().is_empty() {
            lines.push(format!("  {name:<9} {text}"));
        }
    };
    field("machine", format!("{} {} {}", n.model, n.arch(), n.role()));
    field("version", n.condition.as_ref().map(|c| c.version.clone()).unwrap_or_default());
    field("agent", format!("{}, boot {}", n.agent_version, n.boot_id));
    field("key", n.key.clone());
    field("cordon", node::cordoned_by(&n).unwrap_or_default());
    let seen = Timestamp::from_unix_milliseconds(n.last_report);
    let ago = match n.last_report {
        0 => "never".to_owned(),
        _ => format!("{} ({} ago)", seen.whole_seconds(), duration_text(now().since(seen))),
    };
    field("report", ago);
    // What a verdict says stands once, in its own line; before its colon is what it is about.
    let activity = detail.verdicts.iter().fold(n.activity.clone(), |activity, verdict| {
        let about = verdict.sentence.split(": ").next().unwrap_or_default();
        if verdict.sentence.is_empty() { activity } else { activity.replace(&verdict.sentence, about) }
    });
    field("activity", activity);
    // Its reason is the first verdict below, where there is one.
    let reason = if detail.verdicts.is_empty() { n.health_reason.as_str() } else { "" };
    let health = n.health().to_string();
    field("health", [health.as_str(), reason].join(": ").trim_end_matches(": ").to_owned());
    for v in detail.verdicts.iter().filter(|v| v.level() != Level::Ok) {
        lines.push(format!("  {}", health::line(v.level(), &v.sentence, Timestamp::from_unix_seconds(v.since))));
    }
    lines.extend(detail.history.iter().filter_map(spark_line));
    for r in &detail.refusals {
        let at = Timestamp::from_unix_seconds(r.at);
        lines.push(format!("  refused   {at} ({}): {}", r.refusal(), r.reason));
    }
    lines
}

/// A fact's last two days in one line; nothing where nothing is known.
fn spark_line(history: &HistorySeries) -> Option<String> {
    let points: Vec<(u64, f64)> = history.points.iter().map(|p| (p.at, p.value)).collect();
    let values = || points.iter().map(|p| p.1).filter(|v| v.is_finite());
    let (low, high) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    let (last, spark) = (values().next_back()?, node::spark(&points, SPARK_WIDTH));
    Some(format!("  {:<34} {spark}  {} now, {} to {}", history.name, number(last), number(low), number(high)))
}

fn fact_name(fact: &hostler_proto::v1::NewSeries) -> String {
    let labels: Vec<String> = fact.labels.iter().map(|l| format!("{}={:?}", l.name, l.value)).collect();
    let name = match labels.is_empty() {
        true => fact.name.clone(),
        false => format!("{}{{{}}}", fact.name, labels.join(",")),
    };
    clean(&name).into_owned()
}

/// A number for people: whole where it is whole, three digits behind the point where not.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_proto::v1::{HistoryPoint, NodeCondition, VerdictView};

    #[test]
    fn what_is_not_known_of_a_node_is_a_dash_and_never_zero() {
        let nothing = NodeSummary { name: "pi-1".into(), ..NodeSummary::default() };
        let dashes = ["-"; 8];
        assert_eq!(row("pending".into(), &nothing), [&["pi-1", "pending"], &dashes[..], &[""]].concat()[..]);
        let cluster_says_nothing = NodeSummary { condition: Some(NodeCondition::default()), ..nothing };
        assert_eq!(row("NotReady".into(), &cluster_says_nothing)[2], "-");
    }

    #[test]
    fn what_is_known_of_a_node_stands_below_its_head_also_when_it_is_zero() {
        let node = NodeSummary {
            name: "pi-1".into(),
            condition: Some(NodeCondition { version: "v1.34.3".into(), ..NodeCondition::default() }),
            temperature_celsius: Some(54.6),
            throttled: Some(false),
            memory_used_ratio: Some(0.25),
            disk_used_ratio: Some(0.0),
            nvme_used_ratio: Some(1.03),
            clock_synchronised: Some(false),
            health: Level::Degraded.into(),
            health_reason: "clock: …".into(),
            ..NodeSummary::default()
        };
        let row = row("Ready".into(), &node);
        let cells: Vec<(&str, &str)> = HEAD.into_iter().zip(row.iter().map(String::as_str)).collect();
        let wanted = [
            ("NAME", "pi-1"),
            ("STATE", "Ready"),
            ("VERSION", "v1.34.3"),
            ("TEMP", "55°C"),
            ("THROTTLED", "no"),
            ("MEM", "25%"),
            ("DISK", "0%"),
            ("NVME WEAR", "103%"),
            ("CLOCK", "off"),
            ("VERDICT", "degraded"),
            ("", "clock: …"),
        ];
        assert_eq!(cells, wanted);
    }

    #[test]
    fn what_is_wrong_with_a_node_shows_whatever_it_is_doing() {
        let ill = |activity: &str| NodeSummary {
            health: Level::Critical.into(),
            health_reason: "clock: 40 s off".into(),
            activity: activity.into(),
            ..NodeSummary::default()
        };
        let told = |activity: &str| row("Ready".into(), &ill(activity))[9..].join(" | ");
        assert_eq!(told(""), "critical | clock: 40 s off");
        assert_eq!(told("drains pi-2"), "critical | clock: 40 s off; drains pi-2");
        assert_eq!(told("waits because of clock: 40 s off"), "critical | waits because of clock: 40 s off");
    }

    #[test]
    fn the_sentence_of_a_verdict_stands_once() {
        let sentence = "disk_space /: used space is 99 %, limit 98 %; remove images";
        let mut summary = NodeSummary {
            name: "pi-1".into(),
            health: Level::Critical.into(),
            health_reason: sentence.into(),
            activity: format!("waits: {sentence}"),
            ..NodeSummary::default()
        };
        let verdict = VerdictView {
            sentence: sentence.into(),
            level: Level::Critical.into(),
            advice: "remove images".into(),
            ..VerdictView::default()
        };
        let shown = |summary: &NodeSummary, verdicts: Vec<VerdictView>| {
            detail_lines(
                Listed::Pending,
                &NodeDetail { summary: Some(summary.clone()), verdicts, ..Default::default() },
            )
            .join("\n")
        };
        let text = shown(&summary, vec![verdict]);
        assert_eq!(text.matches("used space").count(), 1, "{text}");
        assert_eq!(text.matches("remove images").count(), 1, "{text}");
        assert!(text.contains("activity  waits: disk_space /\n"), "{text}");
        summary.activity.clear();
        assert!(shown(&summary, vec![]).contains(&format!("critical: {sentence}")), "no verdict tells why");
    }

    #[test]
    fn two_days_of_a_fact_are_one_line_and_a_fact_without_values_is_none() {
        let history = |values: &[f64]| HistorySeries {
            name: "temperature_celsius".into(),
            points: values.iter().zip(0..).map(|(value, n)| HistoryPoint { at: n * 60, value: *value }).collect(),
        };
        assert_eq!(spark_line(&history(&[])), None);
        assert_eq!(spark_line(&history(&[f64::NAN])), None);
        let line = spark_line(&history(&[41.0, 85.5, 50.0])).unwrap();
        assert!(line.contains("temperature_celsius") && line.contains('█'), "{line}");
        assert!(line.ends_with("50 now, 41 to 85.500"), "{line}");
    }
}
