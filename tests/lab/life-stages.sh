# shellcheck shell=bash disable=SC2034,SC2154
# The stages of a life, in their order. They build on each other: a failed one ends the row.

life_stages() {
    local version previous
    check "machines come up with nothing but Debian" bare_machines
    stop_if_failed "without machines there is nothing to live on"
    step_of_row "Hostler's packages, a trust root, and every machine asks to be listed" hostler_is_there
    if [[ -n $break ]]; then
        step_of_row "leftovers of another cluster are named, and stop a bootstrap before it begins" leftovers_stop_a_bootstrap
        step_of_row "a bootstrap at ${chain[0]} goes through SIGKILL of kubeadm and of the executor" bootstrap_with_kills
        step_of_row "a join goes through a loss of power of ${nodes[-1]}" join_with_power_loss
    else
        step_of_row "a cluster is bootstrapped on cp1 at ${chain[0]}" cluster_is_bootstrapped
        step_of_row "the other nodes join, and all are Ready" others_join
    fi
    step_of_row "no join token, no key and no token file is left on a disk or in the cluster" nothing_lets_in
    step_of_row "the apps run, and a Service answers from a pod" apps_run
    step_of_row "the same plans again change nothing" plans_again
    step_of_row "a registry's password comes sealed to every machine, changes and goes, and is written nowhere else" registry_asked
    previous=${chain[0]}
    for version in "${chain[@]:1}"; do
        step_of_row "upgrade from $previous to $version, app held at its budget" upgraded "$previous" "$version"
        previous=$version
    done
    step_of_row "worker $(printf '%s\n' "${nodes[@]}" | tail -1) is drained and let in again" worker_out_and_in
    step_of_row "no certificate ends soon, and a renewal touches nothing" certificates_left_alone
    # On one server kubelet and API server wait for each other while etcd restarts: three minutes.
    if several_servers; then step_of_row "certificates that end soon are renewed, server by server" certificates_renewed; fi
    step_of_row "snapshots of etcd are taken, kept by count, fetched, and opened by stock age" snapshots_taken
    step_of_row "worker ${nodes[-1]} is removed, and its machine is empty" worker_removed
    if several_servers; then
        step_of_row "server cp1 dies for good, and a fresh machine of its name takes its place" server_replaced
        # Who is removed is in the fleet file no more.
        nodes=("${nodes[@]:0:${#nodes[@]}-1}")
        played "three servers that lost etcd are restored from a snapshot" etcd_lost_and_restored "cluster restore"
        played "everything is wiped, and rebuilt from fleet file and snapshot" all_wiped_and_rebuilt "fleet rebuild"
    else
        echo "not played with one server: a dead one is replaced, all of etcd lost, everything wiped" | tee -a "$transcript"
    fi
    step_of_row "stock ssh-keygen accepts the documents, and the ledger verifies" documents_verify
    row_broken=
}

# played TITLE STAGE COMMAND: the stage, where Hostler has the command that it is about.
played() {
    # shellcheck disable=SC2086 # a command is words
    if [[ -n $row_broken ]] || hostler $3 --help >/dev/null 2>&1; then
        step_of_row "$1" "$2"
    else
        echo "not there: $1 (no \`hostler $3\`)" | tee -a "$transcript"
    fi
}

bare_machines() {
    local node left
    shown lab up --bare --nodes "$(IFS=,; echo "${nodes[*]}")"
    balancer_begin
    for node in "${nodes[@]}"; do
        left=$(lab exec "$node" -- sh -c 'command -v kubeadm kubelet kubectl containerd runc ctr conntrack; ls -d /etc/kubernetes /opt/cni /var/lib/kubelet /etc/cni 2>/dev/null' || true)
        [[ -z $left ]] || { printf 'expected nothing of Kubernetes on %s, found:\n%s\n' "$node" "$left"; return 1; }
    done
}

hostler_is_there() {
    packages_install
    fleet_is "${chain[0]}"
    trust_is_made
    recovery_key_is_known
    join_with "--role server --uses $(servers | wc -l)" $(servers)
    join_with "--uses $(($(printf '%s\n' "${nodes[@]}" | wc -l) - $(servers | wc -l)))" $(printf '%s\n' "${nodes[@]}" | grep -v '^cp')
    wait_for 60 "enrolment of all nodes" nodes_are ${#nodes[@]} pending
    shown hostler nodes
}

# listed SERVER…: the flags that list these servers, each by the key that its own console shows.
listed() {
    local server
    for server in "$@"; do printf ' --accept-server %s=%s' "$server" "$(lab exec "$server" -- hostler-executor id | sed -n 2p)"; done
}

# planned KIND ARGUMENTS…: the plan is made, signed, handed in and watched to its end, each by its own command.
planned() {
    local kind=$1
    shift
    lab exec admin -- sh -c "rm -f /root/$kind.plan.json*"
    # shellcheck disable=SC2068
    shown hostler plan "$kind" $@ --out "/root/$kind.plan.json"
    shown hostler sign "/root/$kind.plan.json" --yes
    timed hostler submit "/root/$kind.plan.json" --watch
}

cluster_is_bootstrapped() {
    # shellcheck disable=SC2046
    planned bootstrap --yes $(listed cp1)
    admin_conf
    shown kubectl get nodes -o wide
    shown kubectl get pods -A -o wide
    wait_for 60 "Ready of cp1" node_ready cp1
}

# The cluster's own kubeconfig for the watcher, at the address of the endpoint.
admin_conf() {
    sed "s|https://k8s.lab:|https://$(endpoint_address):|" "$(root_of cp1)/etc/kubernetes/admin.conf" >"$lab_work/admin$lab_suffix.conf"
    chmod 600 "$lab_work/admin$lab_suffix.conf"
}

node_ready() { [[ $(kubectl get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}') == True ]]; }

others_join() {
    # shellcheck disable=SC2046
    planned join --all --yes $(listed $(servers | tail -n +2))
    shown kubectl get nodes -o wide
    local node
    for node in "${nodes[@]}"; do
        wait_for 60 "Ready of $node" node_ready "$node"
        # What runs, not what is written: the process's own program.
        expect "$(lab exec "$node" -- sh -c '/proc/$(systemctl show -p MainPID --value kubelet)/exe --version')" "Kubernetes ${chain[0]}"
    done
    if several_servers; then
        shown lab exec cp1 -- etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \
            --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key member list -w table
    fi
}

nothing_lets_in() {
    local node left
    # An agent that removes what it fetched before the executor has its copy costs twenty seconds a file.
    ! grep "it was fetched and is not there any more" "$transcript" || { echo "expected each file to be fetched once"; return 1; }
    left=$(kubectl -n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token -o name)
    [[ -z $left ]] || { printf 'expected no bootstrap token, found:\n%s\n' "$left"; return 1; }
    expect "$(kubectl -n kube-system get secret kubeadm-certs 2>&1 || true)" 'NotFound'
    for node in "${nodes[@]}"; do
        left=$(lab exec "$node" -- sh -c 'find /etc/kubernetes/bootstrap-kubelet.conf 2>/dev/null
            find /run /etc /var/lib/kubelet /var/lib/hostler -xdev -type f ! -path "*/artifacts/*" -exec grep -lE "(tlsBootstrapT|t)oken\"?: \"?[a-z0-9]{6}\.[a-z0-9]{16}" {} +' || true)
        [[ -z $left ]] || { printf 'expected nothing that lets in on %s, found:\n%s\n' "$node" "$left"; return 1; }
        [[ $node == cp* ]] || expect "$(lab exec "$node" -- sh -c 'find /etc/kubernetes /var/lib/kubelet/pki -name "ca.key" -o -name "sa.key" | wc -l')" '^0$'
    done
}

apps_run() {
    local node pod address
    shown kubectl apply -f "$lab_here/manifests/web.yaml" -f "$lab_here/manifests/life.yaml"
    shown kubectl -n shop rollout status deployment/web --timeout=120s
    shown kubectl -n shop rollout status statefulset/queue --timeout=120s
    routes_to_pods
    shown kubectl -n shop get pods -o wide
    pod=$(kubectl -n shop get pods -l app=web -o jsonpath='{.items[0].metadata.name}')
    address=$(kubectl -n shop get service web -o jsonpath='{.spec.clusterIP}')
    expect "$(shown kubectl -n shop exec "$pod" -- /usr/local/bin/app "http://$address/")" 'version 1'
    [[ -n $names ]] || expect "$(shown kubectl -n shop exec "$pod" -- /usr/local/bin/app "http://web.shop.svc.cluster.local/")" 'version 1'
}

# So that the watcher reaches pods from outside the cluster.
routes_to_pods() {
    local node
    for node in "${nodes[@]}"; do
        ip route replace "$(kubectl get node "$node" -o jsonpath='{.spec.podCIDR}')" via "$(address "$node")"
    done
}

# What a second run must leave as it is: each file of /etc and /opt/cni, the manifests among them, and what runs.
state_of() {
    lab exec "$1" -- sh -c 'find /etc /opt/cni /usr/local -xdev -type f ! -path "/etc/hostler/*" -exec stat -c "%n %i %Y" {} + | sort
        systemctl show -p MainPID kubelet containerd
        ctr -n k8s.io images ls -q | sort'
}

plans_again() {
    local node
    mkdir -p "$lab_work/states"
    for node in "${nodes[@]}"; do state_of "$node" >"$lab_work/states/$node"; done
    shown hostler fleet diff
    planned baseline --all
    for node in "${nodes[@]}"; do diff "$lab_work/states/$node" <(state_of "$node"); done
}

# A registry that nobody runs: what counts is with what containerd would ask it.
registry_asked() {
    local node file=/etc/containerd/certs.d/registry.lab_5000_/hosts.toml secret said
    setting[registry]=registry.lab:5000
    fleet_is "${chain[0]}"
    for secret in tr0ub4dor-one tr0ub4dor-two; do
        lab exec admin -- sh -c "umask 077; printf 'user = \"robot\"\npassword = \"%s\"\n' $secret >/etc/hostler/registry.toml"
        shown hostler fleet put
        said=$(planned baseline --all 2>&1)
        printf '%s\n' "$said"
        for node in "${nodes[@]}"; do
            expect "$(lab exec "$node" -- stat -c %a "$file")" '^600$'
            expect "$(lab exec "$node" -- cat "$file")" "Basic $(printf 'robot:%s' "$secret" | base64)"
        done
        planned baseline --all
    done
    setting[registry]=''
    fleet_is "${chain[0]}"
    shown hostler fleet put
    planned baseline --all
    for node in "${nodes[@]}"; do expect "$(lab exec "$node" -- sh -c "test ! -e $file && echo gone")" '^gone$'; done
    lab exec admin -- rm /etc/hostler/registry.toml
    for node in admin "${nodes[@]}"; do
        said=$(lab exec "$node" -- sh -c 'grep -rlE "tr0ub4dor|cm9ib3Q6" /etc /root /var/lib/hostler /var/log /run 2>/dev/null; journalctl --no-pager -q | grep -cE "tr0ub4dor|cm9ib3Q6"' || true)
        [[ $said == 0 ]] || { printf 'expected nothing of the password on %s, found:\n%s\n' "$node" "$said"; return 1; }
    done
}

upgraded() {
    local node said
    fleet_is "$2"
    shown hostler fleet put
    local outage=''
    watch_begin
    # One server: its API is away while it is upgraded, and the admin says yes to that.
    several_servers || outage='--accept-outage cp1'
    # shellcheck disable=SC2086
    if [[ -n $break ]]; then upgrade_with_kills "$@"; else timed hostler upgrade --to "$2" --yes $outage; fi
    watcher_end
    shown kubectl get nodes -o wide
    for node in "${nodes[@]}"; do
        expect "$(kubectl get node "$node" -o jsonpath='{.status.nodeInfo.kubeletVersion}')" "^$2\$"
        expect "$(kubectl get node "$node" -o jsonpath='{.spec.unschedulable}.')" '^(false)?\.$'
    done
    for node in $(servers); do
        expect "$("$lab_work/bin/kubectl" --kubeconfig "$lab_work/admin$lab_suffix.conf" --server "https://$(address "$node"):6443" get --raw /version)" "\"gitVersion\": \"$2\""
    done
    expect "$(kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}')" "kubernetesVersion: $2"
    said=$(for node in "${nodes[@]}"; do lab exec "$node" -- sh -c 'ls -d /etc/kubernetes/tmp/kubeadm-* 2>/dev/null' || true; done)
    [[ -z $said ]] || { printf 'expected nothing that kubeadm put aside, found:\n%s\n' "$said"; return 1; }
}

# All machines share one disk and a few processors, and import images at once: a pod may answer late, which is not away.
watch_begin() {
    "$lab_work/bin/watcher" -kubeconfig "$lab_work/admin$lab_suffix.conf" -least 2 -every 100ms -patience 3s >"$lab_work/watcher.jsonl" 2>"$lab_work/watcher.errors" &
    echo $! >"$lab_work/watcher.pid"
}

worker_out_and_in() {
    local worker=${nodes[-1]}
    shown hostler drain "$worker" --yes
    shown hostler uncordon "$worker" --yes
    wait_for 60 "Ready of $worker" node_ready "$worker"
}
