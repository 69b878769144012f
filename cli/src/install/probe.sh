# What a machine is: nothing is changed, no privilege is needed.
of_release() { (. /etc/os-release && eval "printf %s \"$1\"") 2>/dev/null; }
probe() {
    say "os $(of_release '$PRETTY_NAME')"
    say "family $(of_release '$ID $ID_LIKE')"
    say "kernel $(uname -s) $(uname -m)"
    say "architecture $(dpkg --print-architecture 2>/dev/null)"
    say "libc $(getconf GNU_LIBC_VERSION 2>/dev/null)"
    say "name $(uname -n)"
    say "machine_id $(cat /etc/machine-id 2>/dev/null)"
    say "boot_id $(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
    for file in /etc/ssh/ssh_host_*_key.pub; do
        [ ! -r "$file" ] || say "host_key $(cut -d ' ' -f 1,2 "$file")"
    done
    [ ! -d /run/systemd/system ] || say "init systemd"
    say "package $(dpkg-query -W -f '${db:Status-Status} ${Version}' hostler-agent 2>/dev/null)"
    if [ -e /var/lib/hostler/executor ] || [ -e /etc/hostler/join ]; then say "state there"; fi
    if [ "$(id -u)" = 0 ]; then
        say "rights root"
    elif ! command -v sudo >/dev/null; then
        say "rights none"
    elif sudo -n true </dev/null 2>/dev/null; then
        say "rights sudo"
    else
        say "rights password"
    fi
    # Users, host name and packages of an image are set up by its first boot.
    if [ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && [ ! -e /run/cloud-init/disabled ] &&
        command -v cloud-init >/dev/null; then
        say "waits for its first boot to end (cloud-init)"
        code=0
        timeout "$first_boot_seconds" cloud-init status --wait >/dev/null 2>&1 </dev/null || code=$?
        [ "$code" != 124 ] || fail "its first boot (cloud-init) did not end in $first_boot_seconds s; look with \`cloud-init status --long\` there, then try again"
        say "name $(uname -n)"
        say "machine_id $(cat /etc/machine-id 2>/dev/null)"
    fi
    say "done"
}
probe
