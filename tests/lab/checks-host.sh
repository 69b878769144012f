# shellcheck shell=bash disable=SC2034,SC2154
# Steps on the machine itself, performed by the packaged executor in its unit: files, kernel, units, packages. They stand
# in plans that nobody compiles yet, so an admin's check is changed and signed.

host_checks() {
    step_of_row "file, kernel parameter and unit: set, proved, and nothing is done twice" host_is_set
    step_of_row "a module fails with the command and its words, and nothing is set for the next boot" module_is_missing
    step_of_row "a package is installed by apt in a unit of its own, and another version after it" package_is_installed
    step_of_row "an executor that is killed, or restarted, does not take dpkg along and finds what it did" package_survives
    step_of_row "a package that nobody has fails, and says where apt's words are" package_is_missing
}

# host_plan NODE STEPS: a signed plan whose only task performs these steps there; handed in, and its number printed.
host_plan() {
    local node=$1 steps=$2 plan=/root/host.plan.json root
    root=$(cat "$lab_state/work")/roots/admin
    lab exec admin -- sh -c "rm -f $plan $plan.sig"
    hostler plan check --nodes "$node" --out $plan >&2
    jq -c --argjson steps "$steps" '.kind = "upgrade" | .title = "sets the host" | .tasks[0].steps = $steps' "$root$plan" >"$root$plan.new"
    mv "$root$plan.new" "$root$plan"
    shown hostler sign $plan --yes >&2
    shown hostler submit $plan >&2
    newest_rollout
}

# steps_end NUMBER OUTCOME: waits for the end of the rollout; prints its task with what each step said.
steps_end() {
    local said code=0 expected=0
    [[ $2 == succeeded ]] || expected=3
    note "\$ hostler rollout watch $1"
    said=$(hostler rollout watch "$1" 2>&1) || code=$?
    printf '%s\n' "$said"
    ((code == expected)) || { echo "expected exit code $expected, found $code"; return 1; }
    said=$(receipt_of "$1")
    printf '%s\n' "$said"
    expect "$said" "\"$2\""
}

# What the node signed about that plan's task.
receipt_of() {
    lab exec admin -- rm -rf /root/out
    hostler ledger export --out /root/out >/dev/null
    local root digest
    root=$(cat "$lab_state/work")/roots/admin
    digest=$(hostler rollout show "$1" --output json | jq -r .plan)
    find "$root/root/out" -name '*.json' -exec jq -c --arg plan "$digest" \
        'select(._type == "hostler-receipt/v1" and .plan == $plan) | {outcome, steps}' {} +
}

host_steps='[
  {"op":"file.ensure","path":"/etc/lab/motd","mode":"0640","content":"one line\n"},
  {"op":"sysctl.ensure","key":"net.ipv4.conf.host0.log_martians","value":"1"},
  {"op":"systemd.ensure","unit":"lab-set.service","state":"started","enabled":true}]'

host_is_set() {
    local seq before
    in_machine w1 /etc/systemd/system/lab-set.service <<<$'[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target'
    lab exec w1 -- systemctl daemon-reload
    expect "$(lab exec w1 -- sysctl -n net.ipv4.conf.host0.log_martians)" '^0$'
    seq=$(host_plan w1 "$host_steps")
    steps_end "$seq" succeeded
    expect "$(lab exec w1 -- stat -c '%a %U %s' /etc/lab/motd)" '^640 root 9$'
    expect "$(lab exec w1 -- sysctl -n net.ipv4.conf.host0.log_martians)" '^1$'
    expect "$(lab exec w1 -- cat /etc/sysctl.d/90-hostler-net.ipv4.conf.host0.log_martians.conf)" 'log_martians = 1'
    expect "$(lab exec w1 -- systemctl is-active lab-set.service)" '^active$'
    expect "$(lab exec w1 -- systemctl is-enabled lab-set.service)" '^enabled$'
    # Once more: each is so already, and no file is written again.
    before=$(host_files)
    seq=$(host_plan w1 "$host_steps")
    steps_end "$seq" succeeded
    [[ $(host_files) == "$before" ]] || { printf 'expected the same files, found\n%s\nbefore\n%s\n' "$(host_files)" "$before"; return 1; }
    # The other way round, as far as a step has one.
    seq=$(host_plan w1 '[{"op":"systemd.ensure","unit":"lab-set.service","state":"stopped","enabled":false},
        {"op":"sysctl.ensure","key":"net.ipv4.conf.host0.log_martians","value":"0"}]')
    steps_end "$seq" succeeded
    expect "$(lab exec w1 -- systemctl is-active lab-set.service || true)" '^inactive$'
    expect "$(lab exec w1 -- systemctl is-enabled lab-set.service || true)" '^disabled$'
    expect "$(lab exec w1 -- sysctl -n net.ipv4.conf.host0.log_martians)" '^0$'
}

# Which files there are, each with its inode and time: one that is written again is another one.
host_files() {
    lab exec w1 -- sh -c 'stat -c "%n %i %y" /etc/lab/motd /etc/sysctl.d/90-hostler-*; systemctl show -p MainPID lab-set.service'
}

# A namespace shares the host's kernel and sees none of its modules: tests/vm loads one.
module_is_missing() {
    local seq
    seq=$(host_plan w1 '[{"op":"module.ensure","module":"no_such_module"}]')
    expect "$(steps_end "$seq" failed)" 'modprobe -- no_such_module'
    ! lab exec w1 -- test -e /etc/modules-load.d/hostler-no_such_module.conf || { echo "expected no file for the next boot"; return 1; }
}

# tiny VERSION LINE: a package with nothing in it but what runs after it was unpacked, in an archive on the node's own disk.
tiny() {
    local root deb=lab-tiny_$1_all.deb
    root=$(cat "$lab_state/work")/roots/w2
    rm -rf "$root/var/lib/lab-tiny"
    mkdir -p "$root/var/lib/lab-tiny/DEBIAN" "$root/var/lib/lab-archive"
    printf 'Package: lab-tiny\nVersion: %s\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: nothing\n' "$1" \
        >"$root/var/lib/lab-tiny/DEBIAN/control"
    printf '#!/bin/sh\n%s\n' "$2" >"$root/var/lib/lab-tiny/DEBIAN/postinst"
    chmod -R 755 "$root/var/lib/lab-tiny" "$root/var/lib/lab-archive"
    lab exec w2 -- dpkg-deb --build --root-owner-group /var/lib/lab-tiny "/var/lib/lab-archive/$deb"
    {
        cat "$root/var/lib/lab-tiny/DEBIAN/control"
        printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$root/var/lib/lab-archive/$deb")" \
            "$(sha256sum "$root/var/lib/lab-archive/$deb" | cut -d ' ' -f 1)"
    } >>"$root/var/lib/lab-archive/Packages"
    # The archive is all that apt knows: no machine of the lab reaches another.
    rm -f "$root/etc/apt/sources.list"
    echo 'deb [trusted=yes] file:/var/lib/lab-archive ./' >"$root/etc/apt/sources.list.d/lab.list"
    lab exec w2 -- apt-get update -q
}

package_step() { printf '[{"op":"package.ensure","package":"lab-tiny","version":"%s"}]' "$1"; }
tiny_is() { [[ $(lab exec w2 -- dpkg-query -W -f '${db:Status-Abbrev} ${Version}' lab-tiny) == "ii  $1" ]]; }

package_is_installed() {
    local seq version
    for version in 1.0 1.1; do
        shown tiny "$version" 'exit 0'
        seq=$(host_plan w2 "$(package_step "$version")")
        steps_end "$seq" succeeded
        tiny_is "$version"
    done
    # Again: nothing is to be done, and nothing is run.
    before=$(lab exec w2 -- stat -c %y /var/log/apt/history.log)
    seq=$(host_plan w2 "$(package_step 1.1)")
    steps_end "$seq" succeeded
    [[ $(lab exec w2 -- stat -c %y /var/log/apt/history.log) == "$before" ]] || { echo "expected apt not to run again"; return 1; }
    shown lab exec w2 -- journalctl --no-pager -u hostler-package.service -o cat
}

# The package waits in the middle of its installation until the executor has been ended and is back.
package_survives() {
    local seq version=2 how before
    for how in "kill -s KILL" restart; do
        lab exec w2 -- rm -f /run/lab-go
        shown tiny "$version.0" 'until test -e /run/lab-go; do sleep 0.2; done'
        seq=$(host_plan w2 "$(package_step "$version.0")")
        wait_for 60 "dpkg at work" lab exec w2 -- pgrep -f 'lab-tiny[.]postinst'
        before=$(main_pid w2 hostler-executor)
        expect "$(lab exec w2 -- sh -c 'cat /proc/$(pgrep -of "lab-tiny[.]postinst")/cgroup')" '/hostler-package.service'
        # shellcheck disable=SC2086
        shown lab exec w2 -- systemctl $how hostler-executor.service
        wait_for 30 "another executor" another_executor "$before"
        lab exec w2 -- pgrep -f 'lab-tiny[.]postinst' >/dev/null || { echo "expected dpkg to go on, found it gone"; return 1; }
        expect "$(lab exec w2 -- systemctl is-active hostler-package.service)" '^active$'
        lab exec w2 -- touch /run/lab-go
        steps_end "$seq" succeeded
        tiny_is "$version.0"
        expect "audit:$(lab exec w2 -- dpkg --audit)" '^audit:$'
        expect "$(lab exec w2 -- grep -c "Install: lab-tiny\|Upgrade: lab-tiny" /var/log/apt/history.log)" "^$((version + 1))\$"
        version=$((version + 1))
    done
    # No step removes a package.
    shown lab exec w2 -- dpkg --purge lab-tiny
}

another_executor() {
    local now
    now=$(main_pid w2 hostler-executor)
    [[ $now != 0 && $now != "$1" ]]
}

package_is_missing() {
    local seq
    seq=$(host_plan w2 '[{"op":"package.ensure","package":"lab-none","version":"1.0"}]')
    expect "$(steps_end "$seq" failed)" 'journalctl -u hostler-package.service'
    expect "$(lab exec w2 -- journalctl --no-pager -u hostler-package.service -o cat)" 'lab-none'
}
