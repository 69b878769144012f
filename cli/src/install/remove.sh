# Takes the agent away, and says what is left.
remove() {
    log=$(mktemp) || fail "cannot make a file in /tmp; is the disk full or read-only?"
    trap 'rm -f "$log"' EXIT
    if command -v hostler-executor >/dev/null; then
        hostler-executor id 2>/dev/null </dev/null | {
            IFS= read -r name && IFS= read -r fingerprint && say "id $name $fingerprint"
        }
    fi
    if [ -z "$(dpkg-query -W -f '${db:Status-Status}' hostler-agent 2>/dev/null)" ] && [ ! -e /var/lib/hostler/executor ]; then
        say "nothing"
    fi
    away >"$log" 2>&1 </dev/null || fail "the package cannot be removed: $(grep -v '^$' "$log" | tail -n 3 | tr '\n' ' ')"
    for path in /var/lib/hostler/etcd /etc/hostler /var/lib/hostler; do
        [ ! -e "$path" ] || say "left $path"
    done
    say "done"
}
remove
