# shellcheck shell=bash disable=SC2034,SC2154
# What goes wrong in a life with --break: each is done once at a fixed point, is told in one line, and ends well or with a
# sentence that says what to do; then the life goes on. docs/lab.md has the table.

# handed_in KIND ARGUMENTS…: the plan is made, signed and handed in, and not waited for; its number is in `seq`.
handed_in() {
    local kind=$1
    shift
    lab exec admin -- sh -c "rm -f /root/$kind.plan.json*"
    shown hostler plan "$kind" "$@" --out "/root/$kind.plan.json"
    shown hostler sign "/root/$kind.plan.json" --yes
    shown hostler submit "/root/$kind.plan.json"
    seq=$(newest_rollout)
}

# watched SEQ CODE: the rollout ends with that exit code; what was said is in `said`.
watched() {
    local code=0
    note "\$ hostler rollout watch $1"
    said=$(hostler rollout watch "$1" 2>&1) || code=$?
    printf '%s\n' "$said"
    ((code == $2)) || { echo "expected exit code $2, found $code"; return 1; }
}

at_work() { lab exec "$1" -- pgrep -x "$2"; }

# when_at_work NODE PROGRAM ACT…: acts once the program runs on that node; in the background, begun before the plan is
# handed in, because a node may have a plan and be through with it before `hostler submit` is back. `struck` waits for it.
when_at_work() {
    local node=$1 program=$2
    shift 2
    { wait_for 180 "$program on $node" at_work "$node" "$program" && "$@"; } &
    strike=$!
}

# struck SEQ: or says where the rollout stands.
struck() { wait "$strike" || { hostler rollout show "$1"; return 1; }; }

killed() { shown lab exec cp1 -- systemctl kill -s KILL hostler-executor.service && { shown lab exec cp1 -- pkill -KILL -x kubeadm || true; }; }

power_lost() { shown lab kill "$1" && shown lab start "$1"; }

# What another cluster left on a server is named before anything is begun, and stays.
leftovers_stop_a_bootstrap() {
    local seq said
    lab exec cp1 -- sh -c 'mkdir -p /etc/kubernetes/manifests /var/lib/etcd/member/wal; echo "kind: Pod" >/etc/kubernetes/manifests/old.yaml; echo x >/var/lib/etcd/member/wal/0.wal'
    # shellcheck disable=SC2046
    handed_in bootstrap --yes $(listed cp1)
    watched "$seq" 3
    expect "$said" '/etc/kubernetes/manifests'
    expect "$said" '/var/lib/etcd'
    expect "$(lab exec cp1 -- cat /var/lib/etcd/member/wal/0.wal)" '^x$'
    ! at_work cp1 kube-apiserver || { echo "expected no API server"; return 1; }
    lab exec cp1 -- sh -c 'rm -rf /etc/kubernetes/manifests /var/lib/etcd'
}

# SIGKILL in the middle of `kubeadm init`; the bootstrap goes through.
bootstrap_with_kills() {
    local seq said strike
    when_at_work cp1 kubeadm killed
    # shellcheck disable=SC2046
    handed_in bootstrap --yes $(listed cp1)
    struck "$seq"
    watched "$seq" 0
    admin_conf
    wait_for 60 "Ready of cp1" node_ready cp1
}

# A worker whose power goes in the middle of its join, and comes back.
join_with_power_loss() {
    local seq said strike worker=${nodes[-1]}
    when_at_work "$worker" 'kubeadm|ctr' power_lost "$worker"
    # shellcheck disable=SC2046
    handed_in join --all --yes $(listed $(servers | tail -n +2))
    struck "$seq"
    watched "$seq" 0
    wait_for 60 "Ready of $worker" node_ready "$worker"
}

# kubeadm and the executor are killed while a server's static pods are swapped.
upgrade_with_kills() {
    local seq said
    # shellcheck disable=SC2086
    handed_in upgrade --to "$2" $outage
    wait_for 180 "kubeadm at work on cp1" at_work cp1 kubeadm
    # Some way into it: etcd is replaced first.
    wait_for 180 "new manifests of cp1" lab exec cp1 -- sh -c 'ls -d /etc/kubernetes/tmp/kubeadm-upgraded-manifests*'
    shown lab exec cp1 -- pkill -KILL -x kubeadm || true
    shown lab exec cp1 -- systemctl kill -s KILL hostler-executor.service
    watched "$seq" 0
}
