# shellcheck shell=bash disable=SC2034,SC2154
# What a life comes back from: etcd lost on every server, and everything lost.

# What runs on a worker, by its first processes: NAME PID. It must not notice that etcd is restored.
containers_of() { lab exec "$1" -- ctr -n k8s.io tasks list 2>/dev/null | tail -n +2 | sort; }

workers_of_life() { printf '%s\n' "${nodes[@]}" | grep -v '^cp'; }

# Since an upgrade kubeadm's manifest of etcd names its own member alone, so that an emptied one begins a cluster of its own, and an
# API server of an empty cluster answers.
cluster_away() { ! kubectl get namespace shop; }

# Every server loses what etcd has; the newest snapshot brings it back, and workers go on all the while.
etcd_lost_and_restored() {
    local name server worker before
    fleet_is "${chain[-1]}"
    shown hostler fleet put
    timed hostler snapshot take --yes
    wait_for 30 "the newest snapshot at the coordinator" newest_is_here
    name=$(newest_snapshot)
    before=$(kubectl get configmap -n shop kube-root-ca.crt -o jsonpath='{.metadata.uid}')
    shown kubectl -n shop create configmap after-the-snapshot
    for worker in $(workers_of_life); do containers_of "$worker" >"$lab_work/states/$worker.tasks"; done
    for server in $(servers); do shown lab exec "$server" -- sh -c 'rm -rf /var/lib/etcd/member; pkill -KILL -x etcd'; done
    wait_for 60 "a cluster that is gone" cluster_away
    timed hostler cluster restore "$name" --recovery-key "$recovery_key" --yes
    shown kubectl get nodes -o wide
    expect "$(kubectl -n shop get configmap after-the-snapshot 2>&1 || true)" 'NotFound'
    [[ $(kubectl get configmap -n shop kube-root-ca.crt -o jsonpath='{.metadata.uid}') == "$before" ]]
    for server in $(servers); do
        wait_for 60 "Ready of $server" node_ready "$server"
        expect "$(etcd_members "$server" | xargs)" "^$(servers | sed 's/$/ false/' | xargs)\$"
    done
    for worker in $(workers_of_life); do diff "$lab_work/states/$worker.tasks" <(containers_of "$worker"); done
    shown kubectl -n shop rollout status deployment/web --timeout=60s
    # What was in force before is not begun again, and the ledger has it all.
    shown hostler nodes
}

# Every machine is another one of its name, with nothing but Debian; fleet file, ledger, snapshot and recovery key are left.
all_wiped_and_rebuilt() {
    local name node key before
    timed hostler snapshot take --yes
    wait_for 30 "the newest snapshot at the coordinator" newest_is_here
    name=$(newest_snapshot)
    before=$(kubectl get namespace shop -o jsonpath='{.metadata.uid}')
    for node in "${nodes[@]}"; do lab kill "$node"; done
    for node in "${nodes[@]}"; do
        shown lab fresh "$node"
        lab install "$debs" "$node"
    done
    join_with "--role server --uses $(servers | wc -l)" $(servers)
    join_with "--uses $(workers_of_life | wc -l)" $(workers_of_life)
    for node in "${nodes[@]}"; do
        wait_for 60 "enrolment of the new $node" machine_waits "$node"
        key=$(lab exec "$node" -- hostler-executor id | sed -n 2p)
        shown hostler node replace "$node=$key" --yes
    done
    # The key that signed its receipt is gone with the machine.
    expect "$(hostler fleet rebuild --snapshot "$name" --recovery-key "$recovery_key" --yes 2>&1 || true)" '--accept-unproved'
    timed hostler fleet rebuild --snapshot "$name" --recovery-key "$recovery_key" --accept-unproved --yes
    admin_conf
    for node in "${nodes[@]}"; do wait_for 120 "Ready of $node" node_ready "$node"; done
    shown kubectl get nodes -o wide
    [[ $(kubectl get namespace shop -o jsonpath='{.metadata.uid}') == "$before" ]] || { echo "expected what the snapshot had"; return 1; }
    shown kubectl -n shop rollout status deployment/web --timeout=120s
}
