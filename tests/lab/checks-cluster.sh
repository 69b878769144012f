# shellcheck shell=bash disable=SC2034,SC2154
# Checks of the lab itself: they hold before Hostler is installed, so that a failure
# after that is Hostler's.

kubectl() { lab kubectl "$@"; }
boot_id() { lab exec "$1" -- cat /proc/sys/kernel/random/boot_id; }

# The node's own kernel and the cluster agree that it runs in this boot and is Ready.
ready_in_boot() {
    [[ $(kubectl get node "$1" -o jsonpath='{.status.nodeInfo.bootID} {.status.conditions[?(@.type=="Ready")].status}') == "$2 True" ]]
}

programs_are_tested() { (cd "$lab_here/programs" && shown go test ./...); }

cluster_is_up() {
    shown lab up --nodes cp1,w1,w2
    shown lab status
}

node_reboots() {
    local before after
    before=$(boot_id w2)
    # The machine may be gone before the command's answer arrives.
    shown lab exec w2 -- systemctl reboot || true
    wait_for 30 "another boot id of w2" another_boot w2 "$before"
    after=$(boot_id w2)
    note "boot id was $before, is $after"
    wait_for 60 "Ready of w2 in its new boot" ready_in_boot w2 "$after"
    note "w2 is Ready again"
}

another_boot() {
    local now
    now=$(boot_id "$1") && [[ -n $now && $now != "$2" ]]
}

app_is_up() {
    shown kubectl apply -f "$lab_here/manifests/web.yaml"
    shown kubectl -n shop rollout status deployment/web --timeout=90s
    shown kubectl -n shop get pods,poddisruptionbudgets -o wide
}

# The watcher writes beside the transcript; its last line is the summary.
watcher_start() {
    "$lab_work/bin/watcher" -kubeconfig "$lab_work/admin.conf" -least 2 >"$lab_work/watcher.jsonl" 2>"$lab_work/watcher.errors" &
    echo $! >"$lab_work/watcher.pid"
}

# Ends the watcher; fails when the app ever fell below its budget. The watcher is not
# always a child of this shell, so its verdict is read from its last line.
watcher_end() {
    local pid
    pid=$(cat "$lab_work/watcher.pid" 2>/dev/null) || return 0
    rm -f "$lab_work/watcher.pid"
    [[ $(readlink "/proc/$pid/exe") == "$lab_work/bin/watcher" ]] || { echo "the watcher ended by itself: $(cat "$lab_work/watcher.errors")"; return 1; }
    kill -TERM "$pid"
    wait_for 10 "end of the watcher" not_running "$pid"
    tail -1 "$lab_work/watcher.jsonl"
    [[ $(tail -1 "$lab_work/watcher.jsonl") == *'"event":"summary"'*'"held":true'* ]]
}

not_running() { [[ ! -d /proc/$1 || $(awk '{print $3}' "/proc/$1/stat") == Z ]]; }

nothing_is_left() {
    [[ -z $keep ]] || { note "kept on request"; return 0; }
    shown lab down
    local left
    left=$(
        find /sys/fs/cgroup -mindepth 2 -maxdepth 2 -name "$lab_prefix*"
        grep -F "$lab_work" /proc/mounts || true
        ip -br link show "$lab_bridge" 2>/dev/null || true
        pgrep -af "systemd-nspawn .*$lab_prefix|$lab_here/supervisor" || true
        [[ ! -e $lab_state ]] || echo "$lab_state"
    )
    [[ -z $left ]] || { printf 'left behind:\n%s\n' "$left"; return 1; }
    note "inotify limit is $(sysctl -n fs.inotify.max_user_instances) again"
}
