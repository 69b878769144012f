# shellcheck shell=bash disable=SC2034,SC2154
# What the host must have, and what the lab changes on it and puts back.

# Settings that machines share with the host. inotify: containerd and kubelet of a
# few machines use up the default 128. The others are set by every kubelet.
host_settings="fs.inotify.max_user_instances net.ipv4.ip_forward vm.overcommit_memory
vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"

# Prints why this host cannot carry the lab; prints nothing when it can.
host_missing() {
    [[ $EUID == 0 ]] || { echo "not root"; return; }
    local tool
    for tool in systemd-nspawn mmdebstrap ip nsenter setsid tar jq ssh-keygen go; do
        command -v $tool >/dev/null || { echo "no $tool (tests/lab/deps installs the Debian packages; Go comes from go.dev)"; return; }
    done
    [[ $(uname -m) == x86_64 ]] || { echo "the lab's images are built for x86_64, this is $(uname -m)"; return; }
    grep -qs '^[^ ]* /sys/fs/cgroup/memory cgroup ' /proc/mounts ||
        { echo "no cgroup v1 controllers in /sys/fs/cgroup (the lab is made for such hosts only)"; return; }
    grep -qw overlay /proc/filesystems || { echo "no overlayfs in this kernel"; return; }
}

host_up() {
    local key
    : >"$lab_state/sysctl"
    for key in $host_settings; do
        [[ -e /proc/sys/${key//./\/} ]] && echo "$key=$(sysctl -n "$key")" >>"$lab_state/sysctl"
    done
    (($(sysctl -n fs.inotify.max_user_instances) >= 1024)) || sysctl -qw fs.inotify.max_user_instances=1024
    ip link add "$lab_bridge" type bridge
    ip address add "$lab_net.1/24" dev "$lab_bridge"
    ip link set "$lab_bridge" up
}

# A life with several servers has HAProxy in front of them, here on the host.
balancer_end() {
    local pid
    pid=$(cat "$lab_state/haproxy.pid" 2>/dev/null) || return 0
    [[ $(readlink "/proc/$pid/exe") != */haproxy ]] || kill "$pid"
}

host_down() {
    balancer_end
    if ip link show "$lab_bridge" >/dev/null 2>&1; then
        ip link delete "$lab_bridge"
    fi
    [[ -s $lab_state/sysctl ]] || return 0
    # A lab of another name that came later needs them still, and puts back what was there before both.
    local other
    for other in /run/hostler-*/sysctl; do
        [[ $other == "$lab_state/sysctl" || $other -ot $lab_state/sysctl ]] || { mv "$lab_state/sysctl" "$other"; return 0; }
    done
    sysctl -q --load="$lab_state/sysctl"
    rm -f "$lab_state/sysctl"
}
