# shellcheck shell=bash disable=SC2034,SC2154
# Who leaves and who comes in a life: a worker that is removed, a server that died for good and the fresh machine that takes
# its place, and what servers prove themselves by, made anew.

# etcdctl_on SERVER ARGUMENTS…: asked at the server's own member.
etcdctl_on() {
    local server=$1
    shift
    lab exec "$server" -- etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \
        --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key "$@"
}

# Members of etcd as a living server tells them, one a line: NAME, and whether it is a learner.
etcd_members() { etcdctl_on "$1" member list -w json | jq -r '.members[] | "\(.name) \(.isLearner // false)"' | sort; }

# serial NODE FILE: of the certificate in that file of /etc/kubernetes/pki.
serial() { openssl x509 -noout -serial -in "$(root_of "$1")/etc/kubernetes/pki/$2"; }

# What an API server shows to whoever connects.
served_serial() { openssl s_client -connect "$(address "$1"):6443" </dev/null 2>/dev/null | openssl x509 -noout -serial; }

serves_what_is_written() { [[ $(served_serial "$1") == "$(serial "$1" apiserver.crt)" ]]; }

# Where nothing ends in 90 days nothing is touched.
certificates_left_alone() {
    local server outage=''
    several_servers || outage='--accept-outage cp1'
    for server in $(servers); do state_of "$server" >"$lab_work/states/$server"; done
    # shellcheck disable=SC2086
    timed hostler certificates renew --all --yes $outage
    for server in $(servers); do diff "$lab_work/states/$server" <(state_of "$server"); done
}

# kubeadm makes certificates of thirty days, as if eleven months had passed; all of them are made anew, and every component
# runs by them.
certificates_renewed() {
    local server name before=() i=0
    for server in $(servers); do
        printf 'apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: %s\ncertificateValidityPeriod: 720h0m0s\n' "${chain[-1]}" |
            in_machine "$server" /root/short.yaml
        shown lab exec "$server" -- kubeadm certs renew all --config /root/short.yaml
        for name in "${renewed[@]}" ca.crt; do before+=("$(serial "$server" "$name")"); done
    done
    watch_begin
    timed hostler certificates renew --all --yes
    watcher_end
    for server in $(servers); do
        for name in "${renewed[@]}"; do
            [[ $(serial "$server" "$name") != "${before[i]}" ]] || { echo "expected another $name on $server"; return 1; }
            i=$((i + 1))
        done
        [[ $(serial "$server" ca.crt) == "${before[i]}" ]] || { echo "expected the same ca.crt on $server"; return 1; }
        i=$((i + 1))
        serves_what_is_written "$server" || { echo "expected that $server serves its new certificate"; return 1; }
        node_ready "$server"
    done
    certificates_left_alone
}
renewed=(apiserver.crt etcd/server.crt front-proxy-client.crt)

# A worker leaves cluster and roster; its machine is emptied, and the app stays at its budget.
worker_removed() {
    local worker=${nodes[-1]} left pods
    pods=$(kubectl get node "$worker" -o jsonpath='{.spec.podCIDR}')
    watch_begin
    timed hostler node remove "$worker" --yes
    watcher_end
    expect "$(kubectl get node "$worker" 2>&1 || true)" 'NotFound'
    nodes_are 1 retired || { echo "expected that $worker is retired"; return 1; }
    lab exec "$worker" -- true
    left=$(lab exec "$worker" -- sh -c 'pgrep -l "kube|etcd|flannel"; find /etc/kubernetes /var/lib/etcd /var/lib/kubelet/pki /etc/cni/net.d -type f
        ip -br link show | grep -E "cni0|flannel.1|veth"; nft list tables | grep kube-proxy; ctr -n k8s.io containers ls -q' 2>/dev/null || true)
    [[ -z $left ]] || { printf 'expected an empty machine, found:\n%s\n' "$left"; return 1; }
    ip route del "$pods" via "$(address "$worker")"
}

# A server dies for good, the first at that; another machine of its name comes with an empty disk and takes its place.
server_replaced() {
    local server=cp1 key
    shown lab kill "$server"
    note "the power of $server is off, for good"
    wait_for 90 "a cluster that knows that $server is gone" node_away "$server"
    shown lab fresh "$server"
    shown lab install "$debs" "$server"
    join_with "--role server" "$server"
    wait_for 60 "enrolment of the new machine" machine_waits "$server"
    key=$(lab exec "$server" -- hostler-executor id | sed -n 2p)
    timed hostler node replace "$server=$key" --power-off-proof "its board burnt, the cord is in my hand" --yes
    wait_for 60 "Ready of $server" node_ready "$server"
    shown kubectl get nodes -o wide
    expect "$(etcd_members "$server" | xargs)" '^cp1 false cp2 false cp3 false$'
    wait_for 30 "the API server of the new machine" serves_what_is_written "$server"
    expect "$(kubectl get node "$server" -o jsonpath='{.status.nodeInfo.kubeletVersion}')" "^${chain[-1]}\$"
}

node_away() { [[ $(kubectl get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}') == Unknown ]]; }
machine_waits() { hostler node list --pending --output json | jq -e --arg name "$1" 'any((.pending + (.doubles // []))[]; .name == $name)'; }
