//! What kubeadm is at, by what it has printed. Names of phases and components alone are passed on: among its words is a
//! token now and then.

/// As `kubeadm is at wait-control-plane` or `kubeadm replaces etcd`; none before it has named a phase.
pub(crate) fn at_work(output: &str) -> Option<String> {
    output.lines().rev().find_map(|line| {
        let (phase, said) = line.strip_prefix('[')?.split_once(']')?;
        let is_name =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b"-/".contains(&b));
        let replaced = said.strip_prefix(" Preparing for \"").and_then(|rest| rest.strip_suffix("\" upgrade"));
        match replaced {
            Some(component) if is_name(component) => Some(format!("kubeadm replaces {component}")),
            // Between two such lines it only says what it does for that component.
            Some(_) | None if phase == "upgrade/staticpods" || phase == "apiclient" => None,
            Some(_) | None => is_name(phase).then(|| format!("kubeadm is at {phase}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_and_the_component_are_said_and_nothing_else() {
        for (output, expected) in [
            ("", None),
            ("W1128 15:26:01 a warning\n", None),
            ("[init] Using Kubernetes version: v1.36.3\n[certs] Generating \"ca\"\n", Some("kubeadm is at certs")),
            ("[bootstrap-token] Using token: abcdef.0123456789abcdef\n", Some("kubeadm is at bootstrap-token")),
            ("[abcdef.0123456789abcdef] x\n", None),
            (
                "[upgrade/staticpods] Preparing for \"etcd\" upgrade\n[upgrade/staticpods] Waiting for the kubelet to \
                 restart the component\n[apiclient] Found 1 Pods for label selector component=etcd\n",
                Some("kubeadm replaces etcd"),
            ),
            (
                "[upgrade/staticpods] Preparing for \"etcd\" upgrade\n[upgrade/kubelet-config] x\n",
                Some("kubeadm is at upgrade/kubelet-config"),
            ),
        ] {
            assert_eq!(at_work(output).as_deref(), expected, "{output}");
        }
    }
}
