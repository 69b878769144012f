//! What kubeadm prints when it fails, as a person should read it. Texts of kubeadm 1.35 and 1.36, as they were seen.

/// What is known of a text: it holds all of these parts; whose sentence may have the node's name for `NODE`.
const KNOWN: &[(&[&str], &str)] = &[
    (
        &["a Node with name", "and status \"Ready\" already exists"],
        "NODE is the name of a Ready node of the cluster: remove that one first (`hostler node remove NODE`), or let \
         this machine enrol under another name",
    ),
    (
        &["too many learner members"],
        "a server that joined half blocks every further one: etcd has a member that is still a learner; finish that \
         server's join, or remove it (`hostler node remove`; `etcdctl member list` names it)",
    ),
    (
        &["please manually remove this etcd member"],
        "NODE is still a member of etcd; remove it on another server (etcdctl member remove)",
    ),
    (
        &["certificate has expired or is not yet valid"],
        "a certificate is not valid by this machine's clock: compare `date` here and on a server, and set the clock",
    ),
    (
        &["certificate signed by unknown authority"],
        "what answers there is another cluster than the one that let this node in; look where the endpoint leads",
    ),
    (&["could not find a JWS signature"], EXPIRED),
    (&["Unauthorized"], EXPIRED),
    (&["invalid bearer token"], EXPIRED),
    (
        &["no such host"],
        "the name of the endpoint leads nowhere from this machine; add it to [machine.hosts] or to DNS",
    ),
    (
        &["connection refused"],
        "the API server does not answer: look at the endpoint, its balancer and the servers behind it",
    ),
    (&["no route to host"], "the API server cannot be reached: look at this machine's network and routes"),
    (&["i/o timeout"], "the API server cannot be reached: look at this machine's network and firewall"),
    (
        &["running with swap on is not supported"],
        "swap is on, and the kubelet does not start: set swap = \"off\" in [machine], or allow it to the kubelet too",
    ),
    (
        &["tried to recover everything into the earlier state"],
        "a new component did not come up, and kubeadm put its old manifest back; its container says why (crictl logs)",
    ),
    (
        &["specified version to upgrade to", "is equal to or lower"],
        "the cluster runs that version or a newer one; it cannot go back",
    ),
    (
        &["[ERROR CreateJob]", "did not complete"],
        "the pod by which kubeadm tries the cluster out before an upgrade did not run within a minute on the node that \
         the scheduler gave it: the new version's image pause may be missing there, or no node takes pods (`kubectl \
         -n kube-system get events`)",
    ),
    (&["CreateContainerConfigError"], "a container's configuration is wrong; see `crictl ps -a`"),
];

const EXPIRED: &str =
    "the join token of NODE does not count any more: it has expired or was revoked; plan the join again";

/// The sentence for what kubeadm printed, where it is known; the checks that failed are named by it one by one.
pub(crate) fn explained(output: &str, node: &str) -> Option<String> {
    let checks: Vec<String> = output.lines().filter_map(check).collect();
    // Why an image could not be pulled tells of the registry, and not of the API server.
    let rest: Vec<&str> =
        output.lines().filter(|line| !line.contains("ImagePull") && !line.contains("PullImage")).collect();
    let rest = rest.join("\n");
    let known = KNOWN.iter().find(|(parts, _)| parts.iter().all(|part| rest.contains(part)));
    let known = known.map(|(_, sentence)| sentence.replace("NODE", node));
    match (known, checks.is_empty()) {
        (Some(known), _) => Some(known),
        (None, false) => Some(checks.join("; ")),
        (None, true) => None,
    }
}

/// A check that failed: `[ERROR NAME]: text`.
fn check(line: &str) -> Option<String> {
    let (name, text) = line.trim().strip_prefix("[ERROR ")?.split_once("]: ")?;
    Some(match name.split("--").next().unwrap_or(name) {
        "FileAvailable" => format!("{}: it is of an earlier cluster or join, remove it first", text.trim()),
        "DirAvailable" => format!("{}: it is of an earlier cluster, remove it first", text.trim()),
        "ImagePull" => {
            let cause = text.trim();
            format!("an image is neither on this machine nor can it be pulled; add it to the artifacts: {cause}")
        }
        "CRI" => format!("the container runtime does not answer; see `journalctl -u containerd`: {}", text.trim()),
        name if name.starts_with("Port-") => {
            format!("{}; `ss -ltnp` shows by what", text.trim())
        }
        "Swap" => "swap is on: set swap = \"off\" in [machine]".to_owned(),
        name => format!("{name}: {}", text.trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_so_that_a_person_can_act() {
        for (output, expected) in [
            (
                "error execution phase kubelet-start: a Node with name \"w1\" and status \"Ready\" already exists in \
                 the cluster. You must delete it",
                "w1 is the name of a Ready node",
            ),
            ("[preflight]\n\t[ERROR Port-10250]: Port 10250 is in use\n", "Port 10250 is in use; `ss -ltnp`"),
            (
                "\t[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: /etc/kubernetes/kubelet.conf already exists",
                "/etc/kubernetes/kubelet.conf already exists: it is of an earlier cluster",
            ),
            ("\t[ERROR DirAvailable--var-lib-etcd]: /var/lib/etcd is not empty", "/var/lib/etcd is not empty: it is"),
            ("etcdserver: too many learner members in cluster", "still a learner"),
            ("x509: certificate has expired or is not yet valid: current time", "set the clock"),
            ("x509: certificate signed by unknown authority", "another cluster"),
            ("failed to get config map: Unauthorized", "the join token of w1 does not count any more"),
            ("dial tcp 10.0.0.1:6443: connect: connection refused", "the API server does not answer"),
            (
                "E1128 23:42:43.571694 2549 remote_image.go:250] \"PullImage from image service failed\" err=\"\
                 connect: connection refused\"\n\t[ERROR ImagePull]: failed to pull image \
                 registry.k8s.io/coredns/coredns:v1.14.2: dial tcp: lookup registry.k8s.io on 10.89.0.1:53: read: \
                 connection refused",
                "add it to the artifacts: failed to pull image registry.k8s.io/coredns/coredns:v1.14.2",
            ),
            ("\t[ERROR Swap]: running with swap on is not supported", "swap is on"),
            ("\t[ERROR Mem]: the system RAM is less", "Mem: the system RAM is less"),
        ] {
            let found = explained(output, "w1").unwrap();
            assert!(found.contains(expected), "{expected}: {found}");
        }
        assert_eq!(explained("all is well", "w1"), None);
    }
}
