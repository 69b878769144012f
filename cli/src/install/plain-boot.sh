#!/bin/sh
# Runs once in place of the usual boot of a plain Raspberry Pi OS, which follows it. Whatever happens, it does not run again;
# what happened stands in first-boot.log beside it.
folder=$(dirname "$0")
sed -i 's| systemd\.run=[^ ]*/hostler/plain-boot\.sh||; s| systemd\.run_success_action=[^ ]*||; s| systemd\.unit=kernel-command-line\.target||' "$folder/../cmdline.txt"
old=$(cat /etc/hostname)
echo "$node" >/etc/hostname
sed -i "s/^127\.0\.1\.1[[:space:]].*$old.*/127.0.1.1\t$node/" /etc/hosts
sh "$folder/first-boot.sh" "$folder" later >"$folder/first-boot.log" 2>&1 || true
sync
exit 0
