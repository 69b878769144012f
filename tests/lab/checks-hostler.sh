# shellcheck shell=bash disable=SC2034,SC2154
# Checks of Hostler on the lab's machines, with the commands an admin types. They build
# on each other: a failed one ends the row, because what follows would only repeat it.

nodes=(cp1 w1 w2)

# The admin's shell: on the machine `admin`, key and profile in root's home.
hostler() { lab exec admin -- hostler "$@"; }

hostler_checks() {
    step_of_row "packages install without a network; units are there" packages_install
    step_of_row "a trust root is made and the coordinator obeys it" trust_is_made
    step_of_row "three nodes enrol with a join string and report facts" nodes_enrol
    step_of_row "a drain that a budget forbids names pod and budget, and changes nothing for the app" drain_is_blocked
    step_of_row "the same drain goes through when the budget allows it" drain_goes_through
    step_of_row "uncordon makes the node schedulable again" uncordon_works
    step_of_row "a rolling reboot, one node at a time, never takes the app below its budget" rolling_reboot
    step_of_row "stock ssh-keygen accepts the documents, and the ledger verifies" documents_verify
    step_of_row "the journal has the fields of a task" journal_has_fields
    row_broken=
}

row_broken=
step_of_row() {
    if [[ -n $row_broken ]]; then
        echo "skipped: $1 (needs what failed before)" | tee -a "$transcript"
        return
    fi
    local before=$failed
    check "$@"
    ((failed == before)) || row_broken=1
}

packages_install() {
    shown lab install "$debs"
    for node in "${nodes[@]}"; do
        expect "$(lab exec "$node" -- systemctl cat hostler-agent.service)" '^Type=notify'
    done
    expect "$(lab exec admin -- systemctl cat hostler-coordinator.service)" '^Type=notify'
    shown hostler --version
}

trust_is_made() {
    lab exec admin -- sh -ec 'mkdir -p -m 700 /root/.ssh; test -e /root/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N "" -C admin@lab -f /root/.ssh/id_ed25519'
    lab exec admin -- mkdir -p /etc/hostler/coordinator.toml.d /root/.config/hostler
    in_machine admin /etc/hostler/coordinator.toml.d/lab.toml <"$lab_here/config/coordinator.toml"
    in_machine admin /etc/hostler/fleet.toml <"$lab_here/config/fleet.toml"
    shown lab exec admin -- systemctl restart hostler-coordinator.service
    wait_for 20 "set-up code of the coordinator" setup_code
    shown hostler fleet check /etc/hostler/fleet.toml
    shown hostler trust init --setup "$(setup_code)" --yes
    shown hostler trust show
    shown lab exec admin -- systemctl --no-pager status hostler-coordinator.service
}

setup_code() { lab exec admin -- cat /var/lib/hostler/coordinator/setup-code | grep -oE 'hostlersetup1\.[A-Za-z0-9_-]+'; }

# in_machine NAME PATH: writes standard input there.
in_machine() { cat >"$(cat "$lab_state/work")/roots/$1$2"; }

nodes_enrol() {
    local join node
    join=$(hostler token create --uses 3 --yes | grep -oE 'hostler1\.[A-Za-z0-9_-]+')
    for node in "${nodes[@]}"; do
        lab exec "$node" -- sh -ec "umask 077; mkdir -p /etc/hostler; echo '$join' >/etc/hostler/join"
        shown lab exec "$node" -- systemctl restart hostler-agent.service
    done
    wait_for 60 "facts of three nodes" three_nodes_report
    shown hostler nodes
    shown hostler node show cp1
    shown lab exec w1 -- systemctl --no-pager status hostler-agent.service
}

three_nodes_report() { [[ $(hostler nodes --output json | grep -oE '"name": *"(cp1|w1|w2)"' | sort -u | wc -l) == 3 ]]; }

drain_is_blocked() {
    shown kubectl apply -f "$lab_here/manifests/cart.yaml"
    shown kubectl -n shop rollout status deployment/cart --timeout=60s
    expect "$(kubectl -n shop get pods -l app=cart -o wide)" ' w1 '
    local said code=0
    note '$ hostler drain w1 --yes'
    said=$(hostler drain w1 --yes 2>&1) || code=$?
    printf '%s\n(exit code %s)\n' "$said" "$code"
    ((code != 0)) || { echo "expected: the blocked drain fails"; return 1; }
    expect "$said" 'shop/cart'
    expect "$said" 'cart-[a-z0-9]+-[a-z0-9]+'
    # Nobody was evicted against the budget.
    expect "$(kubectl -n shop get deployment cart -o jsonpath='{.status.readyReplicas}')" '^1$'
    shown kubectl get nodes
}

drain_goes_through() {
    shown kubectl -n shop delete poddisruptionbudget cart
    watcher_start
    shown hostler drain w1 --yes
    expect "$(kubectl get node w1 -o jsonpath='{.spec.unschedulable}')" '^true$'
    shown kubectl get pods -A --field-selector spec.nodeName=w1
    expect "$(kubectl -n shop get pods --field-selector spec.nodeName=w1 -o name | wc -l)" '^0$'
    shown kubectl -n shop rollout status deployment/web --timeout=60s
    watcher_end
}

uncordon_works() {
    shown hostler uncordon w1 --yes
    expect "$(kubectl get node w1 -o jsonpath='{.spec.unschedulable}.')" '^(false)?\.$'
}

rolling_reboot() {
    local node before=() i
    for node in "${nodes[@]}"; do before+=("$(boot_id "$node")"); done
    watcher_start
    shown hostler reboot "${nodes[@]}" --yes
    for i in "${!nodes[@]}"; do
        node=${nodes[$i]}
        note "$node: boot id was ${before[$i]}, is $(boot_id "$node")"
        another_boot "$node" "${before[$i]}"
        ready_in_boot "$node" "$(boot_id "$node")"
        expect "$(kubectl get node "$node" -o jsonpath='{.spec.unschedulable}.')" '^(false)?\.$'
    done
    shown kubectl -n shop rollout status deployment/web --timeout=60s
    watcher_end
    shown hostler rollouts
}

documents_verify() { shown hostler ledger verify; }

journal_has_fields() {
    local entry
    entry=$(lab exec w1 -- journalctl -u hostler-agent -o json --no-pager | grep -F '"TASK"' | tail -1)
    expect "$entry" '"TASK"'
    echo "$entry"
}
