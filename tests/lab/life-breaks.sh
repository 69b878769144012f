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

# What opens a door is gone: from the cluster, and from the node's disk.
no_token_is_left() {
    local left
    left=$(kubectl -n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token -o name)
    [[ -z $left ]] || { printf 'expected no bootstrap token, found:\n%s\n' "$left"; return 1; }
}

at_work() { lab exec "$1" -- pgrep -x "$2"; }

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
    local seq said
    # shellcheck disable=SC2046
    handed_in bootstrap --yes $(listed cp1)
    wait_for 180 "kubeadm at work on cp1" at_work cp1 kubeadm
    shown lab exec cp1 -- systemctl kill -s KILL hostler-executor.service
    shown lab exec cp1 -- pkill -KILL -x kubeadm || true
    watched "$seq" 0
    admin_conf
    wait_for 60 "Ready of cp1" node_ready cp1
}

# The kubelet's port is somebody else's: the join fails with that, and takes its token along.
join_with_a_taken_port() {
    local seq said worker=${nodes[-1]}
    shown lab exec "$worker" -- systemd-run --quiet --unit=taken --socket-property=ListenStream=10250 --socket-property=Accept=no /bin/sleep 600
    # shellcheck disable=SC2046
    handed_in join --all --yes $(listed $(servers | tail -n +2))
    watched "$seq" 3
    expect "$said" 'Port 10250 is in use'
    no_token_is_left
    lab exec "$worker" -- sh -c 'systemctl stop taken.socket taken.service 2>/dev/null; ! ss -Hltn "sport = :10250" | grep .'
}

# Whoever answers at the endpoint is not of this cluster: another certificate authority.
join_with_a_wrong_ca() {
    local seq said worker=${nodes[-1]} rule
    rule="OUTPUT -t nat -p tcp -d $(endpoint_address) --dport 6443 -j DNAT --to-destination $lab_net.1:16443"
    openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=kubernetes -addext "subjectAltName=DNS:k8s.lab,IP:$(endpoint_address)" \
        -keyout "$lab_work/other.key" -out "$lab_work/other.crt" 2>/dev/null
    openssl s_server -quiet -accept "$lab_net.1:16443" -cert "$lab_work/other.crt" -key "$lab_work/other.key" -www >/dev/null 2>&1 &
    local server=$!
    note "what $worker reaches at the endpoint shows another certificate authority"
    # shellcheck disable=SC2086 # a rule is words
    lab exec "$worker" -- iptables -A $rule
    # shellcheck disable=SC2046
    handed_in join --all --yes $(listed $(servers | tail -n +2))
    watched "$seq" 3
    # shellcheck disable=SC2086
    lab exec "$worker" -- iptables -D $rule
    kill "$server"
    expect "$said" 'certificate'
    no_token_is_left
}

# A member that somebody added and that never came: nobody promotes it.
learner_stops_what_changes_servers() {
    local seq said id
    etcdctl_on cp1 member add ghost --learner --peer-urls "https://$lab_net.99:2380"
    id=$(etcdctl_on cp1 member list | sed -n 's/,.*true$//p')
    # shellcheck disable=SC2086
    handed_in upgrade --to "$2" $outage
    watched "$seq" 3
    expect "$said" 'learner'
    etcdctl_on cp1 member remove "$id"
}

# A worker whose power goes in the middle of its join, and comes back.
join_with_power_loss() {
    local seq said worker=${nodes[-1]}
    # shellcheck disable=SC2046
    handed_in join --all --yes $(listed $(servers | tail -n +2))
    wait_for 180 "kubeadm or its images on $worker" at_work "$worker" 'kubeadm|ctr'
    shown lab kill "$worker"
    shown lab start "$worker"
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
