# Whose the agent is that is here already. As root, because its folder is root's.
look() {
    enrolled=/var/lib/hostler/executor/enrolled
    if [ -e "$enrolled" ]; then
        say "fleet $(sed -n 's/.*"fleet_id" *: *"\([^"]*\)".*/\1/p' "$enrolled")"
        hostler-executor id 2>/dev/null </dev/null | {
            IFS= read -r name && IFS= read -r fingerprint && say "id $name $fingerprint"
        }
    fi
    say "done"
}
look
