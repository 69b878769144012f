//! Modes with facts: what a node reports is about itself, and no more than fits.

use hostler_plan::{
    fact::{MAX_LABELS, MAX_SERIES, MAX_VALUE_BYTES},
    text::clean,
};
use hostler_proto::v1::{self, from_agent::Message as Up};

use crate::{
    fleet::now,
    ready::Stream,
    scene::{Mode, Scene, mode, refused, tell},
};

fn series(id: u32, name: &str, labels: &[(&str, &str)], value: f64) -> v1::NewSeries {
    let label = |(name, value): &(&str, &str)| v1::Label { name: (*name).to_owned(), value: (*value).to_owned() };
    v1::NewSeries { id, name: name.to_owned(), labels: labels.iter().map(label).collect(), value: Some(value) }
}

fn report(added: Vec<v1::NewSeries>) -> Up {
    Up::Facts(v1::FactsDelta { taken_at: now().unix_milliseconds(), added, ..v1::FactsDelta::default() })
}

/// Reports it; gives the stream when it was taken.
async fn reported(scene: &Scene, added: Vec<v1::NewSeries>) -> Result<(Stream, v1::TaskGrant), String> {
    let (mut stream, grant) = scene.granted().await;
    stream.send(report(added)).await;
    Scene::settle(&mut stream, &grant).await?;
    Ok((stream, grant))
}

/// Reports what ends the stream.
async fn refuses(scene: &Scene, says: &str, added: Vec<v1::NewSeries>) -> Result<String, String> {
    let (mut stream, _) = scene.granted().await;
    stream.send(report(added)).await;
    refused(&mut stream, says).await
}

pub(crate) fn modes() -> Vec<Mode> {
    [of_size(), of_content()].into_iter().flatten().collect()
}

fn of_size() -> Vec<Mode> {
    vec![
        mode("one series more than there may be", "a reading has at most 4,096 series", |s| {
            let many =
                (0..=u32::try_from(MAX_SERIES).unwrap()).map(|id| series(id, "load", &[("n", &id.to_string())], 1.0));
            let many = many.collect();
            Box::pin(async move { refuses(s, "above the limit", many).await })
        }),
        mode("a label of 1 MiB", "a value has at most 512 bytes", |s| {
            Box::pin(async move {
                refuses(s, "at most 512", vec![series(0, "load", &[("x", &"x".repeat(1 << 20))], 1.0)]).await
            })
        }),
        mode("a name of 100 KiB", "a name has at most 128 bytes", |s| {
            Box::pin(async move { refuses(s, "at most 128", vec![series(0, &"x".repeat(100 << 10), &[], 1.0)]).await })
        }),
        mode("1,000 labels", "a series has at most 24 labels", |s| {
            let names: Vec<String> = (0..1000).map(|n| format!("l{n}")).collect();
            let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
            let one = vec![series(0, "load", &labels, 1.0)];
            Box::pin(async move { refuses(s, "at most 24", one).await })
        }),
        mode("facts of 50 MiB, a little at a time", "a reading has at most 1 MiB", |s| {
            Box::pin(async move {
                let (mut stream, _) = s.granted().await;
                let value = "x".repeat(MAX_VALUE_BYTES);
                let names: Vec<String> = (1..MAX_LABELS).map(|n| format!("l{n}")).collect();
                for chunk in 0..40_u32 {
                    let one = |id: u32| {
                        let id_text = id.to_string();
                        let labels = names.iter().map(|name| (name.as_str(), value.as_str()));
                        series(id, "load", &labels.chain([("id", id_text.as_str())]).collect::<Vec<_>>(), 1.0)
                    };
                    if !tell(&stream, report((chunk * 100..(chunk + 1) * 100).map(one).collect())).await {
                        break;
                    }
                }
                refused(&mut stream, "1048576 bytes").await
            })
        }),
        mode("400 whole reports, each of other series", "a reading takes the place of the last", |s| {
            Box::pin(async move {
                for n in 0..4_u32 {
                    let (mut stream, grant) = s.granted().await;
                    for m in 0..100_u32 {
                        let name = format!("load_{n}_{m}");
                        let added = (0..50).map(|id| series(id, &name, &[("n", &id.to_string())], 1.0)).collect();
                        let removed = if m == 0 { Vec::new() } else { (0..50).collect() };
                        let taken_at = now().unix_milliseconds();
                        let delta = v1::FactsDelta { taken_at, added, removed, ..v1::FactsDelta::default() };
                        stream.send(Up::Facts(delta)).await;
                    }
                    Scene::settle(&mut stream, &grant).await?;
                }
                let facts = s.detail("a").await.map_err(|status| status.to_string())?.facts.len();
                if facts == 50 { Ok("50 are kept".to_owned()) } else { Err(format!("{facts} are kept")) }
            })
        }),
        mode("a number that is none", "values are finite", |s| {
            Box::pin(async move { refuses(s, "not finite", vec![series(0, "load", &[], f64::NAN)]).await })
        }),
        mode("a number without end", "values are finite", |s| {
            Box::pin(async move { refuses(s, "not finite", vec![series(0, "load", &[], f64::INFINITY)]).await })
        }),
        mode("a step of a series that is not there", "deltas in order", |s| {
            Box::pin(async move {
                let (mut stream, _) = reported(s, Vec::new()).await?;
                let set = Some(v1::ChangedValues { gaps: vec![7], values: vec![1.0] });
                stream.send(Up::Facts(v1::FactsDelta { set, ..v1::FactsDelta::default() })).await;
                refused(&mut stream, "7").await
            })
        }),
    ]
}

fn of_content() -> Vec<Mode> {
    vec![
        mode("a label that ends the line of a metric", "labels are escaped", |s| {
            let evil = "x\"} 1\nhostler_node_up{instance=\"b\"} 7\n#";
            Box::pin(async move {
                reported(s, vec![series(0, "load", &[("x", evil)], 1.0)]).await?;
                let metrics = s.metrics().await;
                match metrics.lines().any(|line| line.starts_with("hostler_node_up{instance=\"b\"} 7")) {
                    true => Err("it speaks for b".to_owned()),
                    false => Ok("one line, escaped".to_owned()),
                }
            })
        }),
        mode("a name that is a line of a metric", "names are [a-zA-Z_][a-zA-Z0-9_]*", |s| {
            Box::pin(
                async move { refuses(s, "is not allowed", vec![series(0, "up 1\nhostler_node_up", &[], 1.0)]).await },
            )
        }),
        mode("the label `instance` of another node", "the label is the coordinator's", |s| {
            let both = vec![
                series(0, "node_load1", &[("instance", "b")], 7.0),
                series(1, "node_load1", &[("instance", "c")], 8.0),
            ];
            Box::pin(async move {
                reported(s, both).await?;
                let metrics = s.metrics().await;
                let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with("node_load1")).collect();
                match lines.len() < 2 && lines.iter().all(|line| line.contains("instance=\"a\"")) {
                    true => Ok("not served".to_owned()),
                    false => Err(format!("served: {lines:?}")),
                }
            })
        }),
        mode("the coordinator's own families", "a node does not speak for the coordinator", |s| {
            let names = ["hostler_ledger_records", "hostler_node_health", "hostler_forks", "up"];
            let own = (0..)
                .zip(names)
                .map(|(id, name)| series(id, name, &[("instance", "b"), ("level", "ok")], 123_456.789_062_5));
            let own = own.collect();
            Box::pin(async move {
                reported(s, own).await?;
                match s.metrics().await.contains("123456.7890625") {
                    true => Err("they are served".to_owned()),
                    false => Ok("left out".to_owned()),
                }
            })
        }),
        mode("3,000 series at /metrics", "400 of a node are served", |s| {
            let many = (0..3000).map(|id| series(id, "load", &[("n", &id.to_string())], 1.0)).collect();
            Box::pin(async move {
                reported(s, many).await?;
                let lines = s.metrics().await.lines().filter(|line| line.contains("instance=\"a\"")).count();
                if lines < 450 { Ok(format!("{lines} lines")) } else { Err(format!("{lines} lines")) }
            })
        }),
        mode("escape sequences in labels", "foreign text is cleaned", |s| {
            Box::pin(async move {
                let evil = "\u{1b}[2J\u{202e}\u{7}\nnode b is gone";
                reported(s, vec![series(0, "hostler_node_info", &[("model", evil)], 1.0)]).await?;
                let metrics = s.metrics().await;
                let lines = metrics.lines().filter(|line| line.contains("is gone"));
                let shown = lines.map(str::to_owned).collect::<Vec<_>>();
                match shown.iter().all(|line| clean(line) == *line && line.starts_with("hostler_node_info")) {
                    true => Ok(format!("shown as {shown:?}")),
                    false => Err(format!("shown as {shown:?}")),
                }
            })
        }),
        mode("all is well, said by a node on fire", "a node's health is its own alone", |s| {
            let cold = vec![
                series(0, "hostler_node_temperature_celsius", &[("component", "cpu")], 20.0),
                series(1, "hostler_kernel_clock_synchronised", &[], 1.0),
            ];
            Box::pin(async move {
                reported(s, cold).await?;
                let (own, other) = (s.detail("a").await, s.detail("b").await);
                let facts = other.map_err(|status| status.to_string())?.facts.len();
                let own = own.map_err(|status| status.to_string())?.facts.len();
                if facts == 0 && own == 2 { Ok("shown at a alone".to_owned()) } else { Err(format!("{facts} at b")) }
            })
        }),
        mode("on fire, said by a node that is well", "a node's health is its own alone", |s| {
            let hot = vec![series(0, "hostler_node_temperature_celsius", &[("component", "cpu")], 200.0)];
            Box::pin(async move {
                reported(s, hot).await?;
                let health = s.detail("b").await.map_err(|status| status.to_string())?.summary.unwrap().health_reason;
                if health.contains("200") { Err(health) } else { Ok("b is as it was".to_owned()) }
            })
        }),
        mode("facts of the year 2100", "a node's clock is a word", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let added = vec![series(0, "load", &[], 1.0)];
                stream.send(Up::Facts(v1::FactsDelta { taken_at: u64::MAX, added, ..v1::FactsDelta::default() })).await;
                Scene::settle(&mut stream, &grant).await?;
                s.detail("a").await.map_err(|status| status.to_string())?;
                Ok("received when it was".to_owned())
            })
        }),
        mode("others not Ready, said by a worker", "conditions from servers alone", |s| {
            Box::pin(async move { conditions(s, "b", "v1.33.1").await })
        }),
        mode("itself Ready, said by a worker", "conditions from servers alone", |s| {
            Box::pin(async move { conditions(s, "a", "v9.9.9").await })
        }),
        mode("the conditions of 20,000 nodes", "conditions from servers alone", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let one = |n: u32| v1::NodeCondition { node: format!("n{n}"), ..v1::NodeCondition::default() };
                stream
                    .send(Up::Conditions(v1::NodeConditions { nodes: (0..20_000).map(one).collect(), age_seconds: 0 }))
                    .await;
                Scene::settle(&mut stream, &grant).await?;
                Ok("not taken".to_owned())
            })
        }),
    ]
}

async fn conditions(scene: &Scene, node: &str, version: &str) -> Result<String, String> {
    let (mut stream, grant) = scene.granted().await;
    let said =
        v1::NodeCondition { node: node.into(), ready: true, version: version.into(), ..v1::NodeCondition::default() };
    stream.send(Up::Conditions(v1::NodeConditions { nodes: vec![said], age_seconds: 0 })).await;
    Scene::settle(&mut stream, &grant).await?;
    let shown = scene.detail(node).await.map_err(|status| status.to_string())?.summary.unwrap().condition;
    shown.map_or_else(|| Ok("not taken".to_owned()), |shown| Err(format!("shown: {shown:?}")))
}
