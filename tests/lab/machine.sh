# shellcheck shell=bash disable=SC2034,SC2154
# One machine: its root, its boot, commands inside, its end.

# address NAME -> 10.87.0.N; N is written down once, by `up`.
number() { cat "$lab_state/$1/number" 2>/dev/null || fail "no machine $1; running are: $(machines | xargs)"; }
address() { echo "$lab_net.$(number "$1")"; }
machines() { [[ -d $lab_state ]] && find "$lab_state" -mindepth 2 -maxdepth 2 -name number -printf '%h\n' | xargs -rn1 basename | sort; }
roots() { echo "$lab_work/roots$lab_suffix"; }
root_of() { echo "$(roots)/$1"; }

# The pid of the machine's init: systemd-nspawn's child. Nothing while it is down.
leader() {
    local nspawn
    nspawn=$(cat "$lab_state/$1/nspawn" 2>/dev/null) || return 1
    # The pid may be another process by now if the supervisor was killed.
    [[ $(tr '\0' ' ' <"/proc/$nspawn/cmdline" 2>/dev/null) == systemd-nspawn*"-M $lab_prefix$1 "* ]] || return 1
    pgrep -P "$nspawn" -o
}

# machine_root NAME: a fresh root from the base ($lab_base), with its name, net and units.
machine_root() {
    local name=$1 root peer n
    root=$(root_of "$name")
    n=$(number "$name")
    rm -rf "$root"
    mkdir -p "$root"
    tar -xf "$lab_work/${lab_base:-root.tar}" -C "$root" --exclude='./dev/*'
    echo "$name" >"$root/etc/hostname"
    : >"$root/etc/machine-id"
    : >"$root/etc/resolv.conf"
    # For the one machine that plays an image's first boot.
    [[ ! -d $root/etc/cloud ]] || : >"$root/etc/cloud/cloud-init.disabled"
    {
        echo "127.0.0.1 localhost"
        for peer in $(machines); do echo "$(address "$peer") $peer"; done
        [[ -z ${lab_first:-} ]] || echo "$(address "$lab_first") $lab_endpoint"
    } >"$root/etc/hosts"
    {
        printf '[Match]\nName=host0\n\n[Network]\nAddress=%s/24\nGateway=%s.1\nIPForward=ipv4\nLinkLocalAddressing=no\n' "$lab_net.$n" "$lab_net"
        for peer in $(machines); do
            [[ $peer == "$name" ]] || printf '\n[Route]\nDestination=%s.%s.0/24\nGateway=%s\n' "$lab_pods" "$(number "$peer")" "$(address "$peer")"
        done
    } >"$root/etc/systemd/network/10-lab.network"
    install -D -m 755 "$lab_here/config/prepare" "$root/usr/local/lib/lab/prepare"
    install -m 644 "$lab_here/config/lab-prepare.service" "$root/etc/systemd/system/"
    # Settings of the kernel belong to the host; time belongs to it too.
    systemctl -q --root="$root" mask systemd-sysctl.service systemd-timesyncd.service systemd-resolved.service 2>/dev/null
    systemctl -q --root="$root" enable systemd-networkd.service lab-prepare.service 2>/dev/null
}

# bare_root NAME: of a machine root, one with nothing but Debian, which knows nobody but itself, and on which nothing is
# set that Hostler is to set. What stays is what stands for hardware: see config/prepare.
bare_root() {
    local name=$1 root release
    root=$(root_of "$name")
    release=$(uname -r)
    printf '127.0.0.1 localhost\n%s %s\n' "$(address "$name")" "$name" >"$root/etc/hosts"
    # A name server that nobody runs: it refuses at once.
    echo "nameserver $lab_net.1" >"$root/etc/resolv.conf"
    sed -i -e '/^IPForward/d' -e '/^\[Route\]/,$d' "$root/etc/systemd/network/10-lab.network"
    sed -i '/ip_forward/d' "$root/usr/local/lib/lab/prepare"
    # Its own parameters, the network's, are set at boot as on hardware; Debian's own would set the host's.
    rm -f "$root"/usr/lib/sysctl.d/*.conf
    systemctl -q --root="$root" unmask systemd-sysctl.service 2>/dev/null
    # Built into this kernel; these machines have no /sys/module, so the list that Debian's kernels come with says it.
    mkdir -p "$root/lib/modules/$release"
    {
        [[ ! -d /proc/sys/net/bridge ]] || echo kernel/net/bridge/br_netfilter.ko
        ! grep -qw overlay /proc/filesystems || echo kernel/fs/overlayfs/overlay.ko
    } >"$root/lib/modules/$release/modules.builtin"
}

machine_start() {
    local name=$1 state=$lab_state/$1
    rm -f "$state/code"
    : >"$state/console"
    setsid "$lab_here/supervisor" "$name" "$(root_of "$name")" </dev/null >>"$state/console" 2>&1 &
    echo $! >"$state/supervisor"
}

# Up: init answers and everything it starts at boot has been started.
machine_booted() { [[ $(inside "$1" systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]; }

# inside NAME COMMAND...: runs it in the machine as root, with a clean environment.
inside() {
    local pid
    pid=$(leader "$1") || { echo "lab: $1 is not running" >&2; return 1; }
    shift
    nsenter -t "$pid" -a -- /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 KUBECONFIG=/etc/kubernetes/admin.conf "$@"
}

# Orderly power-off, like the button; after 20 s the cord.
machine_stop() {
    local name=$1 pid
    if pid=$(leader "$name"); then
        kill -s RTMIN+4 "$pid"
        wait_for 20 "power-off of $name" machine_ended "$name" || machine_kill "$name"
    fi
}

# Loss of power: nothing inside gets to finish.
machine_kill() {
    local name=$1 nspawn pid
    # Never "booted again": the supervisor goes first.
    supervisor_end "$name"
    if pid=$(leader "$name"); then
        nspawn=$(cat "$lab_state/$name/nspawn")
        kill -KILL "$nspawn" "$pid" 2>/dev/null || true
    fi
    cgroups_end "$name"
}

machine_ended() { ! supervisor_alive "$1" && ! leader "$1" >/dev/null; }

supervisor_alive() {
    local pid
    pid=$(cat "$lab_state/$1/supervisor" 2>/dev/null) || return 1
    [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *"/supervisor $1 "* ]]
}

supervisor_end() {
    supervisor_alive "$1" || return 0
    kill -KILL "$(cat "$lab_state/$1/supervisor")" 2>/dev/null || true
}

# Ends what still runs in the machine's cgroups and removes them; a cgroup is the one
# place where every process of a machine is found by the machine's name.
cgroups_end() {
    local name=$1 group pid tries
    for tries in 1 2 3 4 5 6 7 8; do
        for group in /sys/fs/cgroup/*/"$lab_prefix$name"; do
            [[ -d $group ]] || continue
            while read -r pid; do
                kill -KILL "$pid" 2>/dev/null || true
            done < <(find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u)
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
        compgen -G "/sys/fs/cgroup/*/$lab_prefix$name" >/dev/null || return 0
        sleep 0.25
    done
    echo "lab: cgroups of $name are still there: $(compgen -G "/sys/fs/cgroup/*/$lab_prefix$name" | xargs)" >&2
}

mounts_end() {
    local root point
    root=$(root_of "$1")
    awk -v root="$root/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r |
        while read -r point; do umount -l "$point" || true; done
}
