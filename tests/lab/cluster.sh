# shellcheck shell=bash disable=SC2034,SC2154
# From booted machines to a cluster with all nodes Ready. kubeadm is told here what
# an operator would tell it; Hostler has no part in this.

control_planes() { machines | grep '^cp' || true; }
workers() { machines | grep -v -e '^cp' -e '^admin$' || true; }
nodes() { control_planes; workers; }

# kube ARGS: kubectl from the host, as the cluster's admin.
kube() { "$lab_work/bin/kubectl" --kubeconfig "$lab_work/admin$lab_suffix.conf" --request-timeout=10s "$@"; }

# node_root NAME: what makes a machine a node: binaries, units, configuration, images.
node_root() {
    local name=$1 root file
    root=$(root_of "$name")
    local programs=(kubelet kubeadm kubectl containerd containerd-shim-runc-v2 ctr)
    [[ $name != cp* ]] || programs+=(etcdctl etcdutl)
    for file in "${programs[@]}"; do ln "$lab_work/bin/$file" "$root/usr/local/bin/$file"; done
    mkdir -p "$root"/opt/cni/bin "$root"/etc/{containerd,cni/net.d,kubernetes/manifests} "$root"/var/lib/{kubelet,lab-images}
    for file in bridge loopback host-local; do ln "$lab_work/bin/$file" "$root/opt/cni/bin/$file"; done
    for file in "$lab_work"/images/*.tar; do
        case $name:$(basename "$file") in
        cp*:* | *pause*.tar | *app*.tar) ln "$file" "$root/var/lib/lab-images/" ;;
        esac
    done
    sed "s|@PAUSE@|$(cat "$lab_work/images/pause.name")|" "$lab_here/config/containerd.toml" >"$root/etc/containerd/config.toml"
    sed "s|@PODS@|$lab_pods.$(number "$name")|" "$lab_here/config/lab.conflist" >"$root/etc/cni/net.d/10-lab.conflist"
    install -m 644 "$lab_here"/config/{containerd,kubelet}.service "$root/etc/systemd/system/"
    [[ $name != cp* ]] || install -D -m 644 "$lab_here/config/audit.yaml" "$root/etc/kubernetes/audit/policy.yaml"
    systemctl -q --root="$root" enable containerd.service kubelet.service 2>/dev/null
}

# The machine's runtime answers and has the images; they are imported at first boot.
node_images() {
    wait_for 30 "containerd on $1" inside "$1" ctr version
    # shellcheck disable=SC2016 # expanded by the shell inside
    inside "$1" sh -ec 'for tar in /var/lib/lab-images/*.tar; do ctr -n k8s.io images import --local "$tar"; rm "$tar"; done' \
        >>"$lab_work/log/images.log" 2>&1 || { tail -5 "$lab_work/log/images.log" >&2; fail "images of $1 could not be imported"; }
}

# in_log NAME COMMAND...: runs inside, keeps the output, shows its end on failure.
in_log() {
    local name=$1
    shift
    inside "$name" "$@" >"$lab_work/log/$name.kubeadm.log" 2>&1 ||
        { tail -30 "$lab_work/log/$name.kubeadm.log" >&2; fail "$* failed on $name; all of it is in $lab_work/log/$name.kubeadm.log"; }
}

cluster_up() {
    local first name join pids=()
    first=$(control_planes | head -1)
    sed -e "s|@ADDRESS@|$(address "$first")|" -e "s|@NAME@|$first|" -e "s|@VERSION@|$kubernetes_version|" \
        -e "s|@ENDPOINT@|$lab_endpoint|" -e "s|@PODS@|$lab_pods|" "$lab_here/config/kubeadm.yaml" >"$(root_of "$first")/etc/kubernetes/lab-init.yaml"
    in_log "$first" kubeadm init --config /etc/kubernetes/lab-init.yaml --upload-certs
    sed "s|$lab_endpoint|$(address "$first")|" "$(root_of "$first")/etc/kubernetes/admin.conf" >"$lab_work/admin$lab_suffix.conf"
    chmod 600 "$lab_work/admin$lab_suffix.conf"
    step "kubeadm init on $first is done"
    local ignore="--ignore-preflight-errors=SystemVerification,Swap"
    for name in $(control_planes | tail -n +2); do
        join=$(inside "$first" kubeadm token create --print-join-command \
            --certificate-key "$(inside "$first" kubeadm init phase upload-certs --upload-certs 2>/dev/null | tail -1)" 2>/dev/null)
        # shellcheck disable=SC2086 # the command that kubeadm prints is words
        in_log "$name" $join $ignore --apiserver-advertise-address "$(address "$name")"
        step "$name has joined as control plane"
    done
    join=$(inside "$first" kubeadm token create --print-join-command 2>/dev/null)
    for name in $(workers); do
        # shellcheck disable=SC2086
        in_log "$name" $join $ignore &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    ((${#pids[@]} == 0)) || step "$(workers | xargs) joined"
    wait_for 120 "Ready of all nodes" all_ready
    step "all nodes are Ready"
}

# Ready as many as there are nodes in the lab, in the API server's own words.
all_ready() {
    local ready
    ready=$(kube get nodes -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' | grep -c True) || true
    ((ready == $(nodes | wc -l)))
}
