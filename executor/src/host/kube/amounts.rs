//! What a pod takes of a node, as the scheduler counts it.

use std::collections::BTreeMap;

use hostler_plan::cluster::{HostPort, Resources};
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};

type Quantities = BTreeMap<String, Quantity>;

/// Containers run together; the first ones run one after the other before, beside those of them that keep running. What
/// the pod asks for as a whole takes the place of their sum, and its sandbox comes on top
/// (component-helpers/resource/helpers.go).
pub(super) fn requests(spec: &PodSpec) -> Resources {
    let mut together = Resources::new();
    for container in &spec.containers {
        add(&mut together, &of(container));
    }
    let (mut running, mut most) = (Resources::new(), Resources::new());
    for container in spec.init_containers.iter().flatten() {
        let mut beside = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut together, &beside);
            add(&mut running, &beside);
            beside = running.clone();
        } else {
            add(&mut beside, &running);
        }
        for (name, amount) in beside {
            let most = most.entry(name).or_default();
            *most = amount.max(*most);
        }
    }
    for (name, amount) in most {
        let asked = together.entry(name).or_default();
        *asked = amount.max(*asked);
    }
    together.extend(all(spec.resources.as_ref().and_then(|whole| whole.requests.as_ref())));
    add(&mut together, &all(spec.overhead.as_ref()));
    together
}

/// The ports of the node that it takes; in the node's own network every port is one.
pub(super) fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let of_node = spec.host_network == Some(true);
    let taken = ports.filter_map(|port| {
        let number = port.host_port.filter(|port| *port != 0).or(of_node.then_some(port.container_port))?;
        let address = port.host_ip.clone().filter(|ip| !matches!(ip.as_str(), "" | "0.0.0.0" | "::"));
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some(HostPort { port: u16::try_from(number).ok()?, protocol, address })
    });
    taken.collect()
}

/// What a node has for pods.
pub(super) fn all(quantities: Option<&Quantities>) -> Resources {
    let read = |(name, quantity): (&String, &Quantity)| Some((name.clone(), thousandths(&quantity.0)?));
    quantities.into_iter().flatten().filter_map(read).collect()
}

fn of(container: &Container) -> Resources {
    all(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn add(sum: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        let sum = sum.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

/// A quantity in thousandths of its unit, rounded up (apimachinery/pkg/api/resource/quantity.go): a number with or
/// without a fraction, and `m`, `k`, `Mi`, `e3` and the like behind it. None for what is no quantity or below zero.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (number, suffix) = text.split_at(text.find(|c: char| !matches!(c, '0'..='9' | '.')).unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Nobody asks for less than a billionth, and a longer fraction changes nothing.
    let fraction = &fraction[..fraction.len().min(9)];
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let billionths = digits(whole)? * 1_000_000_000
        + digits(fraction)? * 10_u128.pow(9 - u32::try_from(fraction.len()).unwrap_or(9));
    let (times, over): (u128, u128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let by = 10_u128.pow(power.unsigned_abs().min(18));
            if power < 0 { (1, by) } else { (by, 1) }
        }
    };
    let thousandths = billionths.saturating_mul(times).div_ceil(over.saturating_mul(1_000_000));
    Some(u64::try_from(thousandths).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let good = [
            ("100m", 100),
            ("1", 1000),
            ("0.5", 500),
            (".5", 500),
            ("+2", 2000),
            ("1500u", 2),
            ("64Mi", 67_108_864_000),
            ("1.5Gi", 1_610_612_736_000),
            ("128974848", 128_974_848_000),
            ("129e6", 129_000_000_000),
            ("1E3", 1_000_000),
            ("2E", 2_000_000_000_000_000_000_000_u128.min(u64::MAX.into()) as u64),
            ("1n", 1),
            ("0", 0),
            ("5e-1", 500),
            ("99999999999999999999", 0),
        ];
        for (text, expected) in good {
            let found = thousandths(text);
            assert_eq!(found.unwrap_or_default(), expected, "{text}: {found:?}");
        }
        for bad in ["", "-1", "Mi", "1Xi", "1 Mi", "e3", "1e", "one", "1..2", "1+1"] {
            assert_eq!(thousandths(bad), None, "{bad}");
        }
    }

    fn spec(json: &str) -> PodSpec {
        serde_json::from_str(json).unwrap()
    }

    fn container(cpu: &str, more: &str) -> String {
        format!(r#"{{"name": "c", "resources": {{"requests": {{"cpu": "{cpu}"}}}}{more}}}"#)
    }

    #[test]
    fn a_pod_asks_for_the_most_that_its_containers_take_at_a_time() {
        let always = r#", "restartPolicy": "Always""#;
        let cases = [
            // first ones, others, what is set for the whole pod: thousandths of a core
            (vec![], vec![container("100m", ""), container("200m", "")], "", 300),
            (vec![container("500m", "")], vec![container("200m", "")], "", 500),
            // A sidecar runs on, beside the first ones behind it and beside all others.
            (vec![container("100m", always), container("500m", "")], vec![container("200m", "")], "", 600),
            (vec![container("500m", ""), container("100m", always)], vec![container("200m", "")], "", 500),
            (vec![container("100m", always)], vec![container("200m", "")], "", 300),
            (vec![], vec![container("200m", "")], r#", "overhead": {"cpu": "50m"}"#, 250),
            (vec![], vec![container("200m", "")], r#", "resources": {"requests": {"cpu": "1"}}"#, 1000),
            (
                vec![],
                vec![container("200m", "")],
                r#", "resources": {"requests": {"cpu": "1"}}, "overhead": {"cpu": "50m"}"#,
                1050,
            ),
        ];
        for (first, others, more, expected) in cases {
            let text =
                format!(r#"{{"initContainers": [{}], "containers": [{}]{more}}}"#, first.join(","), others.join(","));
            assert_eq!(requests(&spec(&text)).get("cpu"), Some(&expected), "{text}");
        }
    }

    #[test]
    fn the_ports_of_a_node_are_those_it_names_and_all_in_its_own_network() {
        let text = |network: &str| {
            format!(
                r#"{{{network}"containers": [{{"name": "c", "ports": [{{"containerPort": 80}},
                {{"containerPort": 81, "hostPort": 8081, "hostIP": "10.0.0.1", "protocol": "UDP"}}]}}]}}"#
            )
        };
        let ports = |network: &str| host_ports(&spec(&text(network))).iter().map(|p| p.port).collect::<Vec<_>>();
        assert_eq!(ports(""), [8081]);
        assert_eq!(ports(r#""hostNetwork": true, "#), [80, 8081]);
    }
}
