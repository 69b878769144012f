# shellcheck shell=bash disable=SC2034,SC2154
# Agent and executor, each without the other, in the middle of a drain that waits for a budget; and documents by hand.

halves_checks() {
    step_of_row "a drain goes on while the agent is stopped, and its receipt arrives when it is back" drain_without_agent
    step_of_row "agent and executor are killed in either order in the middle of a drain, which goes through" drain_with_both_killed
    step_of_row "a running executor takes a stop by file while its agent is stopped" stop_by_file
}

# drain_begins NODE: a drain that a budget holds for 15 s; it is handed in, and waits. Sets `seq` and `since`.
drain_begins() {
    local other
    shown kubectl apply -f "$lab_here/manifests/depot.yaml"
    shown kubectl -n shop rollout status deployment/depot --timeout=90s
    other=$(kubectl -n shop get pods -l app=depot -o json | jq -r --arg node "$1" '.items[] | select(.spec.nodeName != $node) | .metadata.name' | head -1)
    shown kubectl -n shop delete pod "$other" --wait=false
    since=$(lab exec cp1 -- date '+%F %T')
    shown hostler drain "$1" --yes --no-watch
    seq=$(newest_rollout)
    wait_for 20 "drain at work" drain_says "$seq" 'budget shop/depot holds'
}

drain_says() { expect "$(hostler rollout show "$1")" "$2"; }

# drain_ends NODE: every receipt is there and counts, and the node is as it was.
drain_ends() {
    shown hostler rollout watch "$seq"
    expect "$(hostler rollout show "$seq" --output json | jq -r '[.task_list[].proved] | all')" '^true$'
    expect "$(kubectl -n shop get pods --field-selector "spec.nodeName=$1" -o name | wc -l)" '^0$'
    shown hostler uncordon "$1" --yes
    shown kubectl -n shop delete deployment/depot poddisruptionbudget/depot
}

drain_without_agent() {
    local seq since
    drain_begins w1
    shown lab exec cp1 -- systemctl stop hostler-agent.service
    wait_for 60 "end of the drain without an agent" drained w1
    expect "$(hostler rollout show "$seq" --output json | jq -r '.task_list[].receipt')" '^(null)?$'
    expect "$(lab exec cp1 -- systemctl is-active hostler-agent.service || true)" '^inactive$'
    shown lab exec cp1 -- systemctl start hostler-agent.service
    drain_ends w1
}

# In the journal of the executor, which is all that is left to ask; an earlier drain stands there too.
drained() {
    local said
    said=$(lab exec cp1 -- journalctl --no-pager -o cat -u hostler-executor.service --since "$since")
    expect "$said" "kube.drain: $1 is drained"
}

drain_with_both_killed() {
    local seq since order unit
    for order in "hostler-agent hostler-executor" "hostler-executor hostler-agent"; do
        drain_begins w1
        for unit in $order; do shown lab exec cp1 -- systemctl kill -s KILL "$unit.service"; done
        drain_ends w1
        wait_for 60 "three Ready nodes in Hostler's eyes" nodes_are 3 Ready
    done
}

stop_by_file() {
    local seq since folder said
    drain_begins w2
    shown lab exec w1 -- systemctl stop hostler-agent.service
    shown hostler stop --all --yes
    # What the command signed lies in the admin's profile.
    folder=$(cat "$lab_state/work")/roots
    rm -f "$folder/w1/root/"stop.json*
    cp "$(find "$folder/admin/root/.config/hostler/plans" -name '*-stop.plan.json' | sort -V | tail -1)" "$folder/w1/root/stop.json"
    cp "$(find "$folder/admin/root/.config/hostler/plans" -name '*-stop.plan.json.sig' | sort -V | tail -1)" "$folder/w1/root/stop.json.sig"
    said=$(shown lab exec w1 -- hostler-executor accept /root/stop.json)
    printf '%s\n' "$said"
    expect "$said" 'plan [0-9]+ holds now and ended [1-9][0-9]* before it'
    expect "$(lab exec w1 -- hostler-executor accept /root/stop.json)" 'held already, nothing changed'
    shown lab exec w1 -- hostler-executor floor
    shown lab exec w1 -- systemctl start hostler-agent.service
    shown kubectl -n shop delete deployment/depot poddisruptionbudget/depot
    # What the stop ended left its node as it was, or cordoned with a word of whom.
    shown kubectl get nodes
    shown hostler uncordon w2 --yes
    wait_for 60 "three Ready nodes in Hostler's eyes" nodes_are 3 Ready
}
