# Installs the agent with one join string and waits until the node is enrolled. Whatever ends it before leaves the machine
# as it was found.
undo() {
    trap '' HUP INT TERM PIPE
    trap - EXIT
    if [ -z "$enrolled" ]; then
        rm -f /etc/hostler/join
        [ -n "$before" ] || away
    fi >/dev/null 2>&1 </dev/null
    rm -rf "$folder"
}

why_not() {
    if [ -s /etc/issue.d/hostler.issue ]; then
        head -n 1 /etc/issue.d/hostler.issue
    else
        journalctl -q -o cat -n 1 --no-pager _SYSTEMD_UNIT=hostler-agent.service 2>/dev/null
    fi
}

place() {
    say "step copies the package"
    cat >"$folder/hostler-agent.deb"
    found=$(sha256sum "$folder/hostler-agent.deb" | cut -d ' ' -f 1)
    [ "$found" = "$package_sha256" ] ||
        fail "expected the package with sha256 $package_sha256, found $found of $(wc -c <"$folder/hostler-agent.deb") bytes: the link was cut or the disk is full; try again"
    found=$(dpkg-deb -f "$folder/hostler-agent.deb" Package Architecture 2>/dev/null | sed 's/.*: //' | tr '\n' ' ')
    [ "$found" = "hostler-agent $(dpkg --print-architecture) " ] ||
        fail "expected a package hostler-agent for $(dpkg --print-architecture), found $found; name the right folder with --package"
    say "step installs it"
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none
    export DEBIAN_FRONTEND NEEDRESTART_MODE APT_LISTCHANGES_FRONTEND
    apt-get -y --no-install-recommends -o DPkg::Lock::Timeout="$lock_seconds" -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold install "$folder/hostler-agent.deb" >"$folder/log" 2>&1 </dev/null ||
        fail "apt could not install it: $(grep -v '^$' "$folder/log" | tail -n 3 | tr '\n' ' ')"
}

enrol() {
    say "step enrols"
    mkdir -p /etc/hostler
    # Running, it has its key; the string comes after it.
    systemctl start hostler-executor.service >"$folder/log" 2>&1 </dev/null ||
        fail "hostler-executor does not start: $(tail -n 1 "$folder/log"); see \`journalctl -u hostler-executor\` there"
    id=$(hostler-executor id </dev/null 2>"$folder/log" | head -n 2 | tr '\n' ' ')
    [ -n "$id" ] || fail "hostler-executor does not say its key: $(tail -n 1 "$folder/log")"
    say "id $id"
    rm -f /etc/hostler/join.txt
    printf '%s\n' "$join" >/etc/hostler/join.new && mv /etc/hostler/join.new /etc/hostler/join || fail "cannot write /etc/hostler/join; is the disk full?"
    systemctl --no-block start hostler-agent.service </dev/null
    left=$enrol_seconds
    while [ ! -s /var/lib/hostler/executor/enrolled ]; do
        [ "$left" -gt 0 ] || fail "it did not enrol in $enrol_seconds s: $(why_not)"
        # A line a second: where nobody reads it any more, this ends and takes everything back.
        say "waits $(why_not)"
        left=$((left - 1))
        sleep 1
    done
    # Where nobody hears it any more, it is taken back too.
    say "enrolled"
    enrolled=yes
}

install() {
    enrolled='' before='' folder=
    case $(dpkg-query -W -f '${db:Status-Status}' hostler-agent 2>/dev/null) in
    installed) before=yes ;;
    esac
    umask 022
    folder=$(mktemp -d /var/tmp/hostler-install.XXXXXX) || fail "cannot make a folder in /var/tmp; is the disk full or read-only?"
    trap undo EXIT
    trap 'exit 1' HUP INT TERM PIPE
    place
    umask 077
    enrol
}
install
