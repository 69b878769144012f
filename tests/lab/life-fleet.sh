# shellcheck shell=bash disable=SC2034,SC2154
# The fleet of a life: its file, its artifacts on the admin's machine, and the balancer in front of several servers.

# What a stage says otherwise than life-fleet.toml: api, arguments (of the API server), kubelet, san, label,
# registry (a table of one).
declare -A setting=()

servers() { printf '%s\n' "${nodes[@]}" | grep '^cp'; }
several_servers() { (($(servers | wc -l) > 1)); }
# Where the API server's name leads: the only server, or HAProxy on the host.
endpoint_address() { if [[ -n ${endpoint:-} ]]; then echo "$endpoint"; elif several_servers; then echo "$lab_net.1"; else address cp1; fi; }

# Sourced after checks-hostler.sh, whose fleet is that of a cluster which is there already.
fleet_file() {
    local node role version=${fleet_version:-${chain[0]}} soak=5
    # What a short life shows needs no long looks.
    [[ -z $short ]] || soak=2
    sed -e "s|@VERSION@|$version|" -e "s|@SOAK@|$soak|" -e "s|@ENDPOINT@|$(endpoint_address)|" \
        -e "s|@API@|${setting[api]:-k8s.lab:6443}|" -e "s|@KUBELET@|${setting[kubelet]:-}|" -e "s|@SAN@|${setting[san]:-}|" \
        -e "s|@SANDBOX@|$(cat "$lab_work/artifacts/$version/sandbox")|" "$lab_here/config/life-fleet.toml"
    for node in "${nodes[@]}"; do
        role=worker
        [[ $node != cp* ]] || role=server
        printf '\n[[nodes]]\nname = "%s"\nrole = "%s"\narch = "x86_64"\naddress = "%s"\ngroup = "nspawn"\n' "$node" "$role" "$(address "$node")"
        [[ -z ${setting[label]:-} ]] || echo "${setting[label]}"
        # With one worker, its pods need the server while it is drained.
        [[ -z $short || $role != server ]] || echo 'taints = []'
    done
    [[ -z $short ]] || printf '\n[kubeadm.dns]\ndisabled = true\n'
    [[ -z ${setting[registry]:-} ]] || printf '\n[machine.container_runtime.registries."%s"]\ncredentials = "registry.toml"\n' "${setting[registry]}"
    [[ -z ${setting[arguments]:-} ]] || printf '\n[kubeadm.api_server.extra_args]\n%s\n' "${setting[arguments]}"
}

# fleet_is VERSION: the fleet file says that version; lock file and artifacts of every version of this life lie on the
# admin's machine, as after a download.
fleet_is() {
    local fleet_version=$1 folder version
    folder=$(root_of admin)/etc/hostler
    if [[ ! -e $folder/fleet.lock ]]; then
        mkdir -p "$folder/artifacts"
        for version in common "${chain[@]}"; do
            cp -al "$lab_work/artifacts/$version" "$folder/artifacts/$version"
            cat "$lab_work/artifacts/$version/fleet.lock"
        done >"$folder/fleet.lock"
    fi
    fleet_file >"$folder/fleet.toml"
}

# HAProxy on the host, in front of the servers' API servers: out of rotation is one whose /readyz is not 200, not one whose
# port is closed. The balancer is the lab's: Hostler has no steps for one.
balancer_begin() {
    several_servers || return 0
    local server
    {
        printf 'global\n    maxconn 2000\ndefaults\n    mode tcp\n    timeout connect 2s\n    timeout client 1h\n    timeout server 1h\n'
        printf 'frontend api\n    bind %s:6443\n    default_backend servers\n' "$lab_net.1"
        printf 'backend servers\n    option httpchk GET /readyz\n    http-check expect status 200\n'
        printf '    default-server check check-ssl verify none inter 1s fall 2 rise 2 on-marked-down shutdown-sessions\n'
        for server in $(servers); do printf '    server %s %s:6443\n' "$server" "$(address "$server")"; done
    } >"$lab_state/haproxy.cfg"
    haproxy -D -f "$lab_state/haproxy.cfg" -p "$lab_state/haproxy.pid"
    note "HAProxy on the host, in front of $(servers | xargs)"
}
