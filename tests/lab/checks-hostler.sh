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
    step_of_row "agent and executor are restarted in any order, and the node performs what it is given" halves_restart
    step_of_row "a drain that a budget forbids names pod and budget, and changes nothing for the app" drain_is_blocked
    step_of_row "a drain waits while a budget says no, says so, and goes through" drain_waits_then_goes
    step_of_row "uncordon makes the node schedulable again" uncordon_works
    halves_checks
    host_checks
    update_checks
    step_of_row "a rolling reboot, one node at a time, never takes the app below its budget" rolling_reboot
    step_of_row "stock ssh-keygen accepts the documents, and the ledger verifies" documents_verify
    step_of_row "the journal has the fields of a task" journal_has_fields
    step_of_row "the packages, installed once more, restart what runs, and the node performs" packages_upgrade
    step_of_row "a purge leaves nothing of a node" package_purge
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
        expect "$(lab exec "$node" -- systemctl cat hostler-agent.service)" '^User=hostler'
        expect "$(lab exec "$node" -- systemctl cat hostler-executor.service)" '^SocketBindDeny=any'
    done
    expect "$(lab exec admin -- systemctl cat hostler-coordinator.service)" '^Type=notify'
    shown hostler --version
}

trust_is_made() {
    lab exec admin -- sh -ec 'mkdir -p -m 700 /root/.ssh; test -e /root/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N "" -C admin@lab -f /root/.ssh/id_ed25519'
    lab exec admin -- mkdir -p /etc/hostler/coordinator.toml.d
    sed "s|@ADDRESS@|$lab_net.10|" "$lab_here/config/coordinator.toml" | in_machine admin /etc/hostler/coordinator.toml.d/lab.toml
    fleet_file | in_machine admin /etc/hostler/fleet.toml
    shown lab exec admin -- systemctl restart hostler-coordinator.service
    wait_for 20 "set-up code of the coordinator" lab exec admin -- test -s "$setup_code"
    shown hostler fleet check /etc/hostler/fleet.toml
    shown hostler trust init --coordinator "$lab_net.10:7445" --setup-code "$setup_code" --fleet /etc/hostler/fleet.toml
    # The thresholds of its groups are the coordinator's to apply.
    shown hostler fleet put
    shown hostler trust show
    shown lab exec admin -- systemctl --no-pager status hostler-coordinator.service
}

# The lab's fleet with the nodes that this lab has; those whose name begins with cp are servers.
fleet_file() {
    local node role
    cat "$lab_here/config/fleet.toml"
    for node in "${nodes[@]}"; do
        role=worker
        [[ $node != cp* ]] || role=server
        printf '\n[[nodes]]\nname = "%s"\nrole = "%s"\narch = "x86_64"\ngroup = "nspawn"\n' "$node" "$role"
    done
}

setup_code=/var/lib/hostler/coordinator/setup-code

# in_machine NAME PATH: writes standard input there.
in_machine() { cat >"$(cat "$lab_state/work")/roots$lab_suffix/$1$2"; }

# Every node of the lab asks to be listed, and is.
nodes_join() {
    local key
    join_with "--role server" cp1
    join_with "--uses $((${#nodes[@]} - 1))" "${nodes[@]:1}"
    wait_for 60 "enrolment of all nodes" nodes_are ${#nodes[@]} pending
    # Workers come in by their token; a server is compared with the key that its own console shows.
    key=$(lab exec cp1 -- hostler-executor id | sed -n 2p)
    shown hostler node approve "cp1=$key" "${nodes[@]:1}" --yes
    wait_for 60 "Ready of all nodes in Hostler's eyes" nodes_are ${#nodes[@]} Ready
}

nodes_enrol() {
    local node
    nodes_join
    nodes_perform
    shown hostler nodes
    local facts
    facts=$(hostler node show cp1)
    # Not through `head`: it ends before sed has written all, and that would count as a failure.
    sed -n '1,40s/^/    /p' <<<"$facts"
    expect "$facts" 'version +v1\.36\.3'
    expect "$facts" 'node_memory_MemTotal_bytes'
    facts=$(hostler node show cp1 --output json)
    # A container has the host's boot id in a /proc of its own.
    expect "$(jq -r '.facts[] | select(.name == "hostler_node_info").labels.boot_id' <<<"$facts")" "^$(boot_id cp1)\$"
    expect "$(jq -r '[.facts[] | select(.name == "process_resident_memory_bytes").labels.program] | sort | join(" ")' <<<"$facts")" '^agent executor$'
    for node in "${nodes[@]}"; do
        shown lab exec "$node" -- systemctl --no-pager status hostler-agent.service hostler-executor.service
        # The one holds the connection and nothing else, the other is reached by nobody.
        expect "$(lab exec "$node" -- stat -c %U /var/lib/hostler/agent /var/lib/hostler/executor | xargs)" '^hostler root$'
        # shellcheck disable=SC2016
        expect "$(lab exec "$node" -- sh -c 'stat -c %U /proc/$(systemctl show -p MainPID --value hostler-agent)')" '^hostler$'
        expect "$(lab exec "$node" -- ss -Hlntup | grep -c hostler- || true)" '^0$'
        # The string has served.
        expect "$(lab exec "$node" -- sh -c 'test ! -s /etc/hostler/join && echo used')" '^used$'
    done
}

# Each half is restarted under the other, and the node performs what it is given afterwards.
halves_restart() {
    local node
    for node in w1 w2; do
        shown lab exec "$node" -- systemctl restart hostler-executor.service
        shown lab exec "$node" -- systemctl restart hostler-agent.service
        shown lab exec "$node" -- systemctl restart hostler-executor.service
    done
    nodes_perform
}

# A plan that only checks goes to every node and comes back with its receipts.
nodes_perform() {
    wait_for 60 "three Ready nodes in Hostler's eyes" nodes_are 3 Ready
    shown hostler plan check --out /root/check.plan.json
    shown hostler sign /root/check.plan.json --yes
    shown hostler submit /root/check.plan.json --watch
}

# join_with FLAGS NODE...: a token, its join string on the nodes, and their agents begun.
join_with() {
    local flags=$1 join node
    shift
    note "$ hostler token create $flags"
    # shellcheck disable=SC2086
    join=$(hostler token create $flags)
    [[ $join == hostler1.* ]] || { echo "expected a join string, found $join"; return 1; }
    for node in "$@"; do
        (umask 077 && in_machine "$node" /etc/hostler/join <<<"$join")
        shown lab exec "$node" -- systemctl restart hostler-executor.service hostler-agent.service
    done
}

# nodes_are COUNT STATE: so many nodes have it.
nodes_are() { [[ $(hostler nodes --output json | jq --arg state "$2" '[.nodes[] | select(.state == $state)] | length') == "$1" ]]; }

drain_is_blocked() {
    shown kubectl apply -f "$lab_here/manifests/cart.yaml"
    shown kubectl -n shop rollout status deployment/cart --timeout=60s
    expect "$(kubectl -n shop get pods -l app=cart -o wide)" ' w1 '
    local said code=0 uids
    uids=$(pod_uids)
    note '$ hostler drain w1 --yes'
    said=$(hostler drain w1 --yes 2>&1) || code=$?
    printf '%s\n' "$said"
    note "exit code $code"
    ((code == 5)) || { echo "expected: the blocked drain ends with code 5"; return 1; }
    expect "$said" 'budget shop/cart'
    expect "$said" 'shop/cart-[a-z0-9]+-[a-z0-9]+'
    expect "$said" 'Nothing was touched'
    # The pods that a server signed name pod and budget, and nobody signed a plan.
    said=$(hostler drain w1 --yes --output json 2>&1) && { echo "expected: blocked once more"; return 1; }
    printf '%s\n' "$said"
    # Neither a cordon nor an eviction.
    expect "$(kubectl get node w1 -o jsonpath='{.spec.unschedulable}.')" '^(false)?\.$'
    [[ $(pod_uids) == "$uids" ]] || { echo "expected the same pods, found others"; return 1; }
    shown kubectl get nodes
    shown kubectl -n shop delete deployment/cart poddisruptionbudget/cart
}

pod_uids() { kubectl -n shop get pods -o jsonpath='{range .items[*]}{.metadata.uid}{"\n"}{end}' | sort; }
newest_rollout() { hostler rollouts --output json | jq '[.rollouts[].seq] | max'; }

drain_waits_then_goes() {
    local said code=0 other
    shown kubectl apply -f "$lab_here/manifests/depot.yaml"
    shown kubectl -n shop rollout status deployment/depot --timeout=90s
    other=$(kubectl -n shop get pods -l app=depot --field-selector spec.nodeName=w2 -o name)
    shown kubectl -n shop get pods -o wide
    watcher_start
    # One replica starts again, so that the other one's budget says no for 15 s.
    shown kubectl -n shop delete "$other" --wait=false
    note '$ hostler drain w1 --yes'
    said=$(hostler drain w1 --yes 2>&1) || code=$?
    printf '%s\n' "$said"
    note "exit code $code"
    ((code == 0)) || { echo "expected: the drain goes through"; return 1; }
    expect "$said" 'budget shop/depot holds shop/depot-[a-z0-9]+-[a-z0-9]+'
    expect "$(kubectl get node w1 -o jsonpath='{.spec.unschedulable}')" '^true$'
    shown kubectl get node w1 -o jsonpath='{.metadata.annotations.hostler\.dev/cordon}{"\n"}'
    shown kubectl get pods -A --field-selector spec.nodeName=w1
    expect "$(kubectl -n shop get pods --field-selector spec.nodeName=w1 -o name | wc -l)" '^0$'
    shown kubectl -n shop rollout status deployment/web --timeout=60s
    watcher_end
    shown hostler rollout show "$(newest_rollout)"
    shown hostler nodes
}

uncordon_works() {
    shown hostler uncordon w1 --yes
    expect "$(kubectl get node w1 -o jsonpath='{.spec.unschedulable}.')" '^(false)?\.$'
    shown kubectl -n shop delete deployment/depot poddisruptionbudget/depot
}

rolling_reboot() {
    local node before=() i
    for node in "${nodes[@]}"; do before+=("$(boot_id "$node")"); done
    watcher_start
    # One server: its API is down while it reboots, and the admin says yes to that.
    shown hostler reboot --all --accept-outage cp1 --yes
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

# Every signature of every document in the ledger, by stock OpenSSH on the host, with
# nothing of Hostler but the exported lines and the keys that the documents name.
documents_verify() {
    shown lab exec admin -- hostler ledger export --to /root/ledger.copy
    shown lab exec admin -- hostler ledger verify /root/ledger.copy
    local folder=$lab_work/documents kind bytes signatures signature n=0 count=0
    rm -rf "$folder"
    mkdir -p "$folder"
    lab exec admin -- cat /root/ledger.copy >"$folder/ledger"
    # A line is its hash, a blank and the record. One jq for all of them: they are many.
    cut -d ' ' -f 2- "$folder/ledger" | jq -r '.. | objects | select(.entry? == "document")
        | [.kind, .document.bytes, (.document.signatures | map(@base64) | join(" "))] | @tsv' >"$folder/documents"
    while IFS=$'\t' read -r kind bytes signatures; do
        n=$((n + 1))
        base64 -d <<<"$bytes" >"$folder/$n.$kind"
        signers_of "$kind" "$folder/$n.$kind" >>"$folder/allowed_signers"
    done <"$folder/documents"
    n=0
    while IFS=$'\t' read -r kind bytes signatures; do
        n=$((n + 1))
        for signature in $signatures; do
            base64 -d <<<"$signature" >"$folder/signature"
            stock_verify "$folder/$n.$kind" "$kind" "$folder/signature"
            count=$((count + 1))
        done
    done <"$folder/documents"
    note "stock ssh-keygen -Y verify accepts $count signatures of $n documents: $(cut -d. -f2 < <(cd "$folder" && ls -- *.*) | sort | uniq -c | xargs)"
    ((count >= 20)) || { echo "expected at least 20 signatures, found $count"; return 1; }
    for kind in root admission enrolment roster plan receipt; do
        compgen -G "$folder/*.$kind" >/dev/null || { echo "no $kind in the ledger"; return 1; }
    done
    # The same must be able to fail: one changed byte.
    sed '0,/"plan"/s//"plam"/' "$(compgen -G "$folder/*.receipt" | head -1)" >"$folder/changed"
    ! stock_verify "$folder/changed" receipt "$folder/signature" || { echo "expected a changed receipt to be refused"; return 1; }
}

# signers_of KIND FILE: lines of allowed_signers from the documents that name keys.
signers_of() {
    case $1 in
    root) jq -r '.signers[] | "\(.name) \(.key)"' "$2" ;;
    admission) jq -r '"token-\(.token) \(.token_key)"' "$2" ;;
    roster) jq -r '.nodes[] | "\(.name) \(.key)"' "$2" ;;
    esac
}

stock_verify() {
    local who
    who=$(ssh-keygen -Y find-principals -f "$lab_work/documents/allowed_signers" -s "$3" | head -1)
    [[ -n $who ]] || { echo "nobody's key signed $1"; return 1; }
    ssh-keygen -Y verify -q -f "$lab_work/documents/allowed_signers" -I "$who" -n "hostler-$2" -s "$3" <"$1"
}

journal_has_fields() {
    local task entry
    # The drain of w1 in the rolling reboot, as the control plane performed it.
    task=w1.drain
    shown lab exec cp1 -- journalctl --no-pager -o short-precise TASK=$task
    entry=$(lab exec cp1 -- journalctl --no-pager -o json TASK=$task | jq -c 'select(.STEP) | {PLAN, TASK, STEP, NODE, SYSLOG_IDENTIFIER, _SYSTEMD_UNIT, MESSAGE}' | tail -1)
    echo "$entry"
    expect "$entry" '"PLAN":"[^"]+","TASK":"w1.drain","STEP":"kube\.[a-z_]+"'
    expect "$entry" '"_SYSTEMD_UNIT":"hostler-executor.service"'
}

# What an upgrade does, with the version that is there already.
packages_upgrade() {
    local node unit before=() i=0
    for node in "${nodes[@]}"; do
        for unit in hostler-executor hostler-agent; do before+=("$(main_pid "$node" $unit)"); done
    done
    shown lab install "$debs"
    for node in "${nodes[@]}"; do
        for unit in hostler-executor hostler-agent; do
            expect "$(lab exec "$node" -- systemctl is-active $unit.service)" '^active$'
            [[ $(main_pid "$node" $unit) != "${before[i]}" ]] || { echo "expected $unit on $node to be restarted"; return 1; }
            i=$((i + 1))
        done
    done
    nodes_perform
}

main_pid() { lab exec "$1" -- systemctl show -p MainPID --value "$2.service"; }

package_purge() {
    shown lab exec w2 -- dpkg --purge hostler-agent
    local left
    left=$(lab exec w2 -- sh -c 'find /etc/hostler /var/lib/hostler /run/hostler-executor /etc/systemd/system -name "*hostler*" -o -path "/*/hostler/*"; ps -C hostler-agent,hostler-executor -o pid=' 2>/dev/null || true)
    [[ -z $left ]] || { printf 'left behind:\n%s\n' "$left"; return 1; }
}
