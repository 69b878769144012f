# shellcheck shell=bash disable=SC2034,SC2154
# Snapshots of etcd in a life: the key that opens them, and the way of one to the admin's disk.

# Kept on the admin's machine for want of a stick.
recovery_key=/root/recovery.key

recovery_key_is_known() {
    local public
    shown hostler recovery key new --out "$recovery_key"
    public=$(lab exec admin -- sed -n 's/.*public half: //p' "$recovery_key")
    shown hostler trust amend --add-recovery-key "safe=$public" --yes
}

# Three are taken where two stay; the newest goes to the admin's disk, is whole, and stock age opens it.
snapshots_taken() {
    local name folder=$lab_work/snapshot taken
    for _ in 1 2 3; do
        timed hostler snapshot take cp1 --yes
    done
    wait_for 30 "the newest snapshot at the coordinator" newest_is_here
    shown hostler snapshot list
    name=$(newest_snapshot)
    shown hostler snapshot fetch "$name" --out "/root/$name.age"
    install -m 755 "$lab_work/bin/etcdutl" "$(root_of admin)/usr/local/bin/etcdutl"
    taken=$(shown hostler snapshot verify "/root/$name.age" --recovery-key "$recovery_key")
    printf '%s\n' "$taken"
    expect "$taken" 'etcdutl finds in it what was noted'
    rm -rf "$folder"
    mkdir -p "$folder"
    age --decrypt --identity "$(root_of admin)$recovery_key" "$(root_of admin)/root/$name.age" | tar -x -C "$folder"
    note "stock age opens $name: $(cd "$folder" && find . -type f | sort | xargs)"
    shown "$lab_work/bin/etcdutl" snapshot status "$folder/etcd.db" -w table
    cmp "$folder/pki/ca.key" "$(root_of cp1)/etc/kubernetes/pki/ca.key"
    # What the fleet file says: two, of three that were taken; those before a change are counted apart.
    taken=$(lab exec cp1 -- sh -c "cd /var/lib/hostler && ls etcd sealed")
    note "cp1 keeps $(xargs <<<"$taken")"
    (($(grep -c '^etcd-.*\.db$' <<<"$taken") == 2)) || { echo "expected two"; return 1; }
    (($(grep -c '\.age$' <<<"$taken") == $(grep -c '\.db$' <<<"$taken"))) || { echo "expected each of them sealed, and no other"; return 1; }
    expect "$(hostler snapshot list --output json | jq -c '[.snapshots[].at_coordinator]')" '^\[true,true,false'
    rm -rf "$folder"
    printf x | dd of="$(root_of admin)/root/$name.age" bs=1 seek=2000 conv=notrunc status=none
    taken=$(shown hostler snapshot verify "/root/$name.age" --recovery-key "$recovery_key" 2>&1) && { echo "expected a changed one to be refused"; return 1; }
    printf '%s\n' "$taken"
}

newest_snapshot() { hostler snapshot list --output json | jq -r '.snapshots[0].snapshot'; }
newest_is_here() { hostler snapshot list --output json | jq -e '.snapshots[0].at_coordinator'; }
