//! `kube.no_removed_apis`: what a version has no more is asked for by nobody. The API servers count that themselves,
//! each since it started.

use std::{collections::BTreeSet, time::Duration};

use hostler_plan::{form::ApiName, step::NoRemovedApis, text::count, version::Version};
use serde_json::Value;

use crate::{
    control::POLL,
    host::{Administrator, ClusterError},
    steps::action::{Action, Check, StepContext, StepError},
};

/// The API server's own (<https://kubernetes.io/docs/reference/instrumentation/metrics/>): 1 for every deprecated
/// resource that was asked for, with the release that has it no more.
const METRIC: &str = "apiserver_requested_deprecated_apis{";

/// Where each API server of the cluster answers.
const SERVERS: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices\
                       ?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";

/// How long an API server that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an observation of the receipt is called for each that was accepted.
const OBSERVED: &str = "removed_api";

/// A resource that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    /// As people name it.
    name: String,
    /// Such as `1.25`.
    removed: String,
}

impl Action for NoRemovedApis {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let began = context.now();
        let (servers, asked) = loop {
            match asked(context.administrator()?, self.version) {
                Err(ClusterError::Silent(reason)) if context.now().since(began) < PATIENCE => {
                    context.say(format!("waits: the API server does not answer ({reason})"));
                    context.pause(POLL)?;
                }
                other => break other?,
            }
        };
        let is_accepted = |asked: &&Asked| self.accepted.iter().any(|name: &ApiName| name.as_str() == asked.name);
        let (accepted, refused): (Vec<&Asked>, Vec<&Asked>) = asked.iter().partition(is_accepted);
        if !refused.is_empty() {
            let named = |asked: &&Asked| format!("{} (gone in {})", asked.name, asked.removed);
            let flags = |asked: &&Asked| format!("--accept-removed-api {}", asked.name);
            let named: Vec<String> = refused.iter().map(named).collect();
            let flags: Vec<String> = refused.iter().map(flags).collect();
            return Ok(Check::Mismatch {
                expected: format!("nobody to ask for what {} has no more", self.version),
                found: format!(
                    "{}; move who asks to newer ones (the audit log names them), and restart the API servers, which \
                     count since they started; or accept it: {}",
                    named.join(", "),
                    flags.join(" ")
                ),
            });
        }
        for asked in &accepted {
            context.observe(OBSERVED, asked.name.clone());
        }
        let but = match accepted.len() {
            0 => String::new(),
            some => format!(" but {}, accepted", count(some, "resource")),
        };
        let servers = count(servers, "API server");
        Ok(Check::Done(format!("{servers}: nobody asked for what {} has no more{but}", self.version)))
    }

    /// Nothing that a node does changes it.
    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

/// What any API server was asked for that the version has no more, and how many were asked.
fn asked(administrator: &dyn Administrator, version: Version) -> Result<(usize, BTreeSet<Asked>), ClusterError> {
    let servers = servers(administrator)?;
    let mut all = BTreeSet::new();
    for server in &servers {
        let text = administrator.get_from(server, "/metrics")?;
        let text = text.ok_or_else(|| unreadable(server, "it has no /metrics"))?;
        all.extend(text.lines().filter_map(sample).filter(|asked| is_gone(&asked.removed, version)));
    }
    Ok((servers.len(), all))
}

/// The address of each API server, such as `https://10.0.0.11:6443`.
fn servers(administrator: &dyn Administrator) -> Result<Vec<String>, ClusterError> {
    let text = administrator.get(SERVERS)?.ok_or_else(|| unreadable(SERVERS, "nothing is there"))?;
    let read: Value = serde_json::from_str(&text).map_err(|e| unreadable(SERVERS, &e.to_string()))?;
    let mut found = Vec::new();
    for slice in read["items"].as_array().into_iter().flatten() {
        let Some(port) = slice["ports"][0]["port"].as_u64() else { continue };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let addresses = endpoints.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
        found.extend(addresses.filter_map(Value::as_str).map(|address| match address.contains(':') {
            true => format!("https://[{address}]:{port}"),
            false => format!("https://{address}:{port}"),
        }));
    }
    if found.is_empty() {
        return Err(unreadable(SERVERS, "it names no API server"));
    }
    Ok(found)
}

fn unreadable(path: &str, reason: &str) -> ClusterError {
    ClusterError::Refused { action: format!("get {path}"), reason: reason.to_owned() }
}

/// A line of the metric: `apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",…} 1`. Format:
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>; none of these labels has a quote in it.
fn sample(line: &str) -> Option<Asked> {
    let (labels, value) = line.strip_prefix(METRIC)?.rsplit_once("} ")?;
    if value.trim().parse::<f64>().ok()? <= 0.0 {
        return None;
    }
    let label = |name: &str| {
        let (_, rest) = labels.split_once(&format!("{name}=\""))?;
        rest.split('"').next()
    };
    let (group, version, resource) = (label("group")?, label("version")?, label("resource")?);
    let name = if group.is_empty() { format!("{version}/{resource}") } else { format!("{group}/{version}/{resource}") };
    Some(Asked { name, removed: label("removed_release")?.to_owned() })
}

/// Whether that version has it no more. What is deprecated without an end is there.
fn is_gone(removed: &str, version: Version) -> bool {
    let number = removed.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    number.is_some_and(|removed: (u16, u16)| removed <= (version.major, version.minor))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hostler_plan::{
        document::{Outcome, Receipt},
        json,
        step::Step,
    };
    use serde_json::json;

    use super::*;
    use crate::{
        protocol::Request,
        testing::{Fleet, Machine, TestAdministrator},
    };

    /// What a server says that asks two API servers, played, with these metrics.
    fn ask(metrics: Option<&str>, accepted: &[&str]) -> Receipt {
        let fleet = Fleet::new();
        let cluster = TestAdministrator::default();
        let endpoints = json!([{ "addresses": ["10.0.0.11"] }, { "addresses": ["fd00::12"] }]);
        let slices = json!({ "items": [{ "ports": [{ "port": 6443 }], "endpoints": endpoints }] });
        cluster.page("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slices.to_string());
        if let Some(metrics) = metrics {
            cluster.page("/metrics", metrics);
        }
        let mut machine = Machine::new(fleet.now.plus(Duration::from_secs(60)));
        machine.administrator = Some(Arc::new(cluster));
        let accepted = accepted.iter().map(|name| name.parse().unwrap()).collect();
        let step = NoRemovedApis { version: "v1.25.0".parse().unwrap(), accepted };
        let plan = fleet.plan(1, vec![Step::NoRemovedApis(step)], |_| {});
        let (executor, sender, status, _disk) = fleet.executor(&Arc::new(machine)).unwrap();
        let granted = Request::Grant(Fleet::grant(&plan, "w1.work", 1).into());
        for request in [Request::Plan(plan.clone()), granted] {
            sender.offer(request).unwrap();
        }
        executor.run_until_idle().unwrap();
        json::parse(&status.content().receipts.last().unwrap().bytes).unwrap()
    }

    fn reason(receipt: Receipt) -> String {
        let Outcome::Failed { reason } = receipt.outcome else { panic!("{}", receipt.outcome) };
        reason
    }

    #[test]
    fn what_is_still_asked_for_stops_an_upgrade_until_it_is_accepted_by_name() {
        let (gone, there) =
            (line("policy", "podsecuritypolicies", "1.25", "1"), line("batch", "cronjobs", "1.26", "1"));
        let metrics = format!("# TYPE x gauge\n{gone}\n{there}\n");
        let said = reason(ask(Some(&metrics), &[]));
        assert!(said.contains("policy/v1beta1/podsecuritypolicies (gone in 1.25)"), "{said}");
        assert!(said.contains("--accept-removed-api policy/v1beta1/podsecuritypolicies"), "{said}");
        assert!(!said.contains("cronjobs"), "{said}");
        let other = ask(Some(&metrics), &["policy/v1beta1/other"]);
        assert!(!other.outcome.is_success());
        let accepted = ask(Some(&metrics), &["policy/v1beta1/podsecuritypolicies"]);
        assert_eq!(accepted.outcome, Outcome::Succeeded {});
        assert_eq!(accepted.observation(OBSERVED), Some("policy/v1beta1/podsecuritypolicies"));
        let nothing = ask(Some(""), &[]);
        assert!(nothing.outcome.is_success() && nothing.steps[0].detail.starts_with("2 API servers"), "{nothing:?}");
    }

    #[test]
    fn what_cannot_be_asked_stops_it_too() {
        assert!(reason(ask(None, &[])).contains("it has no /metrics"));
    }

    fn line(group: &str, resource: &str, removed: &str, value: &str) -> String {
        format!(
            "apiserver_requested_deprecated_apis{{group=\"{group}\",removed_release=\"{removed}\",\
             resource=\"{resource}\",subresource=\"\",version=\"v1beta1\"}} {value}"
        )
    }

    #[test]
    fn a_resource_that_a_version_has_no_more_is_told_from_one_that_it_has() {
        let gone = sample(&line("policy", "podsecuritypolicies", "1.25", "1")).unwrap();
        assert_eq!(gone.name, "policy/v1beta1/podsecuritypolicies");
        assert!(is_gone(&gone.removed, "v1.25.0".parse().unwrap()) && !is_gone("1.25", "v1.24.9".parse().unwrap()));
        let endless = sample(&line("", "componentstatuses", "", "1")).unwrap();
        assert_eq!(endless.name, "v1beta1/componentstatuses");
        assert!(!is_gone(&endless.removed, "v1.99.0".parse().unwrap()));
        assert!(is_gone("1.9", "v1.10.0".parse().unwrap()), "numbers, not texts");
        for nothing in [line("policy", "x", "1.25", "0"), "# HELP x".into(), "apiserver_requested_total{} 1".into()] {
            assert_eq!(sample(&nothing), None);
        }
    }
}
