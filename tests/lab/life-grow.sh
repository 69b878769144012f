# shellcheck shell=bash disable=SC2034,SC2154
# A life of one server that is read into a fleet file, gets other settings, and becomes three. `tests/lab/life kubeadm --grow`.

grow_stages() {
    step_of_row "machines come up with nothing but Debian" grow_machines
    nodes=(cp1 w1)
    setting[api]=$(address cp1):6443
    step_of_row "Hostler's packages, a trust root, and every machine asks to be listed" hostler_is_there
    step_of_row "a cluster is bootstrapped on cp1 at ${chain[0]}, found at cp1's own address" cluster_is_bootstrapped
    step_of_row "the worker joins" others_join
    step_of_row "the apps run, and a Service answers from a pod" apps_run
    step_of_row "the fleet file that is written of what is there finds nothing to do" cluster_imported
    # Each row is a shell of its own: what is to last is said here.
    setting[arguments]='max-requests-inflight = "410"'
    setting[kubelet]='containerLogMaxFiles = 3, '
    setting[san]='"other.lab", '
    setting[label]='labels = { "shelf" = "attic" }'
    step_of_row "arguments, kubelet settings, names and a label change, and nothing the second time" settings_change
    step_of_row "an argument that does not exist: the old manifest is back, and the argument is named" argument_refused
    step_of_row "a second server is refused while the endpoint is the first one's own address" second_server_refused
    endpoint=$lab_net.1
    setting[api]=k8s.lab:6443
    step_of_row "the endpoint moves to the balancer" endpoint_moves
    nodes=(cp1 cp2 cp3 w1)
    step_of_row "one server becomes three" grown
    nodes=(cp1 w1)
    step_of_row "three servers become one" shrunk
    step_of_row "stock ssh-keygen accepts the documents, and the ledger verifies" documents_verify
    row_broken=
}

grow_machines() {
    nodes=(cp1 cp2 cp3 w1)
    bare_machines
}

# The fleet file that Hostler writes of the cluster says what the cluster is: nothing is to be done by it.
cluster_imported() {
    local folder=/root/import
    lab exec admin -- sh -c "rm -rf $folder; mkdir $folder; cp /etc/hostler/fleet.lock $folder/fleet.lock; ln -s /etc/hostler/artifacts $folder/artifacts"
    shown hostler fleet import --node cp1 --out "$folder/fleet.toml" --yes
    lab exec admin -- cat "$folder/fleet.toml"
    shown hostler fleet check "$folder/fleet.toml"
    shown hostler --fleet "$folder/fleet.toml" fleet diff
    shown hostler --fleet "$folder/fleet.toml" fleet diff --machines --all --yes
}

arguments_of() { lab exec "$1" -- sh -c "tr '\\0' ' ' </proc/\$(pgrep -xo $2)/cmdline"; }

settings_change() {
    local node
    fleet_is "${chain[0]}"
    shown hostler fleet put
    shown hostler fleet diff --machines --all --yes
    planned configure --all --accept-outage cp1
    expect "$(arguments_of cp1 kube-apiserver)" '--max-requests-inflight=410 '
    for node in "${nodes[@]}"; do
        expect "$(kubectl get --raw "/api/v1/nodes/$node/proxy/configz" | jq .kubeletconfig.containerLogMaxFiles)" '^3$'
        expect "$(kubectl get node "$node" -o jsonpath='{.metadata.labels.shelf}')" '^attic$'
    done
    expect "$(openssl x509 -noout -ext subjectAltName -in "$(root_of cp1)/etc/kubernetes/pki/apiserver.crt")" 'DNS:other.lab'
    expect "$(kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}')" 'max-requests-inflight'
    for node in "${nodes[@]}"; do state_of "$node" >"$lab_work/states/$node"; done
    planned configure --all --accept-outage cp1
    for node in "${nodes[@]}"; do diff "$lab_work/states/$node" <(state_of "$node"); done
}

argument_refused() {
    local said code=0
    setting[arguments]='no-such-flag = "x"'
    fleet_is "${chain[0]}"
    shown hostler fleet put
    said=$(planned configure --all --accept-outage cp1 2>&1) || code=$?
    printf '%s\n' "$said"
    ((code == 3)) || { echo "expected exit code 3, found $code"; return 1; }
    expect "$said" 'unknown flag: --no-such-flag'
    expect "$said" 'its old manifest is back'
    wait_for 60 "the API server of before" kubectl get --raw /readyz
    expect "$(arguments_of cp1 kube-apiserver)" '--max-requests-inflight=410 '
    setting[arguments]='max-requests-inflight = "410"'
    fleet_is "${chain[0]}"
    shown hostler fleet put
    # The server has to look at its cluster once more, else no plan is made.
    wait_for 60 "a report of what runs on cp1" server_reports
    planned configure --all --accept-outage cp1
}

server_reports() { hostler node list --output json | jq -e 'all(.nodes[]; .version != null)'; }

second_server_refused() {
    local said
    nodes=(cp1 cp2 cp3 w1)
    fleet_is "${chain[0]}"
    said=$(hostler plan join cp2 2>&1) && { echo "expected a refusal"; return 1; }
    printf '%s\n' "$said"
    expect "$said" 'configure'
}

endpoint_moves() {
    local node
    fleet_is "${chain[0]}"
    shown hostler fleet put
    planned baseline --all
    watch_begin
    planned configure --all --accept-outage cp1
    watcher_end || true
    for node in "${nodes[@]}"; do
        note "$node: $(lab exec "$node" -- grep -h server: /etc/kubernetes/kubelet.conf | xargs)"
    done
    expect "$(lab exec w1 -- grep server: /etc/kubernetes/kubelet.conf)" 'https://k8s.lab:6443'
    expect "$(kubectl -n kube-public get configmap cluster-info -o jsonpath='{.data.kubeconfig}')" 'https://k8s.lab:6443'
    admin_conf
    kubectl get --raw /readyz
}

grown() {
    fleet_is "${chain[0]}"
    shown hostler fleet put
    join_with "--role server --uses 2" cp2 cp3
    wait_for 60 "enrolment of cp2" machine_waits cp2
    wait_for 60 "enrolment of cp3" machine_waits cp3
    # shellcheck disable=SC2046
    planned join cp2 cp3 --yes $(listed cp2 cp3)
    expect "$(etcd_members cp1 | xargs)" '^cp1 false cp2 false cp3 false$'
    shown kubectl get nodes -o wide
}

shrunk() {
    local server
    for server in cp3 cp2; do
        timed hostler node remove "$server" --yes
        expect "$(kubectl get node "$server" 2>&1 || true)" 'NotFound'
    done
    expect "$(etcd_members cp1 | xargs)" '^cp1 false$'
    kubectl get --raw /readyz
    shown kubectl get nodes -o wide
}
