# shellcheck shell=bash disable=SC2034,SC2154
# Names, addresses and folders of the lab, and how it speaks. Sourced by `lab`.
# Everything the lab makes on the host carries one of these names: that is how
# leftovers of an earlier run are found without asking what that run knew.

lab_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab_project=$(cd "$lab_here/../.." && pwd)
# Binaries, images, roots and transcripts; may be deleted when the lab is down.
lab_work=${CARGO_TARGET_DIR:-$lab_project/target}/lab
# One lab of each name per host, whichever checkout started it: `hostler-lab`, whose cluster
# the lab's scripts make, and `hostler-life`, whose cluster Hostler makes from bare machines.
lab_name=${LAB_NAME:-hostler-lab}
case $lab_name in
hostler-lab) lab_net=10.87.0 lab_suffix='' ;;
hostler-life) lab_net=10.89.0 lab_suffix=.life ;;
*) printf 'lab: LAB_NAME is %s, expected hostler-lab or hostler-life\n' "$lab_name" >&2; exit 1 ;;
esac
# What is running now.
lab_state=/run/$lab_name
lab_bridge=$lab_name
lab_prefix=$lab_name-
# The host is .1, admin .10, nodes from .11 in the order they were named. The pods
# of 10.87.0.N live in 10.88.N.0/24, so every route is known before a node exists.
lab_pods=10.88
# The API server's name; a line in every machine's /etc/hosts.
lab_endpoint=lab-api
# The controllers of a cgroup v1 host that a machine gets an own root in.
lab_controllers="cpuset cpu cpuacct memory pids blkio devices freezer"
# One machine is a Raspberry Pi of 8 GB.
lab_memory_bytes=$((8 * 1024 * 1024 * 1024))

kubernetes_version=v1.36.3

lab_began=$EPOCHREALTIME

# Seconds since the command began, with one decimal.
elapsed() {
    local us=$((${EPOCHREALTIME/./} - ${lab_began/./}))
    printf '%d.%d' $((us / 1000000)) $((us / 100000 % 10))
}

step() { printf '[%7s s] %s\n' "$(elapsed)" "$*" >&2; }
fail() { printf 'lab: %s\n' "$*" >&2; exit 1; }

# wait_for SECONDS WHAT COMMAND...: asks four times a second; fails with WHAT.
wait_for() {
    local limit=$1 what=$2 ends
    shift 2
    ends=$((SECONDS + limit))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < ends)) || { echo "lab: no $what within $limit s" >&2; return 1; }
        sleep 0.25
    done
}
