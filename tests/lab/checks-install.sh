# shellcheck shell=bash disable=SC2034,SC2154
# `hostler node install` and `remove-agent` over a real sshd, with a real sudo. Sourced by `run`. The machine is w2 after its
# purge.

install_checks() {
    if ! lab exec w2 -- test -x /usr/sbin/sshd; then
        echo "skipped: the checks of an install over ssh, the machines have no sshd (openssh-server)" | tee -a "$transcript"
        return
    fi
    step_of_row "a host key that nobody compared is not accepted, and its fingerprint is shown" host_key_is_refused
    step_of_row "a machine becomes a node over ssh, with sudo and a password" machine_is_installed
    step_of_row "a second install finds nothing to do" machine_is_installed_already
    step_of_row "the agent goes over ssh, and nothing of it stays" machine_loses_agent
    step_of_row "cloud-init makes a node of a machine at its first boot, by what an image is written with" image_boots
    row_broken=
}

# The admin's key, and a user with a password for sudo where there is one.
install_user() {
    lab exec admin -- sh -c 'cat /root/.ssh/id_ed25519.pub' | in_machine w2 /root/admin.pub
    lab exec w2 -- sh -ec 'id hop >/dev/null 2>&1 || useradd -m -s /bin/bash hop
        install -d -m 700 -o hop /home/hop/.ssh && install -m 600 -o hop /root/admin.pub /home/hop/.ssh/authorized_keys
        echo hop:hunter2 | chpasswd; ssh-keygen -A; systemctl start ssh
        test ! -d /etc/sudoers.d || { echo "hop ALL=(ALL) ALL" >/etc/sudoers.d/hop; chmod 440 /etc/sudoers.d/hop; }'
}

over_ssh() { lab exec admin -- sh -c "echo hunter2 | hostler node $* --sudo-password-stdin --yes"; }

host_key_is_refused() {
    local said
    install_user
    lab exec admin -- rm -f /root/.ssh/known_hosts
    said=$(over_ssh remove-agent hop@w2 2>&1 || true)
    printf '%s\n' "$said"
    expect "$said" 'it shows .*SHA256:'
    expect "$(lab exec admin -- sh -c 'test ! -e /root/.ssh/known_hosts && echo none')" '^none$'
}

machine_is_installed() {
    local said package
    package=$(compgen -G "$debs/hostler-agent_*_amd64.deb" | head -n 1)
    in_machine admin "/root/${package##*/}" <"$package"
    lab exec admin -- sh -c 'ssh-keyscan w2 >/root/.ssh/known_hosts 2>/dev/null'
    # Its old key is retired, or the name would be another node's.
    hostler node retire w2 --yes || true
    said=$(over_ssh install hop@w2 --package "/root/${package##*/}" 2>&1)
    printf '%s\n' "$said"
    expect "$said" 'w2 is a node: roster [0-9]+ lists its key'
    expect "$(lab exec w2 -- sh -c 'test ! -s /etc/hostler/join && echo used')" '^used$'
    expect "$(lab exec w2 -- sh -c 'ls /var/tmp | grep -c hostler-install || true')" '^0$'
}

machine_is_installed_already() {
    local package
    package=$(compgen -G "$debs/hostler-agent_*_amd64.deb" | head -n 1)
    expect "$(over_ssh install hop@w2 --package "/root/${package##*/}" 2>&1)" 'node of this fleet already'
}

machine_loses_agent() {
    over_ssh remove-agent hop@w2
    expect "$(lab exec w2 -- sh -c 'test ! -e /var/lib/hostler && test ! -e /etc/hostler && ! getent passwd hostler && echo gone')" '^gone$'
}

# w2 as an image of Raspberry Pi OS at its first boot: cloud-init finds what `node image` wrote on the boot partition.
image_boots() {
    local package before key
    package=$(compgen -G "$debs/hostler-agent_*_amd64.deb" | head -n 1)
    hostler node retire w2 --yes || true
    shown hostler node image --for w2 --package "/root/${package##*/}" --out /root/cards
    lab exec w2 -- mkdir -p /boot/firmware
    lab exec admin -- tar -C /root/cards/w2/cloud-init -c . | lab exec w2 -- tar -C /boot/firmware -x
    shown lab exec w2 -- cloud-init schema --config-file /boot/firmware/user-data
    # As Raspberry Pi OS has it; addresses are the lab's, whose machines have no locales.
    printf '%s\n' 'datasource_list: [NoCloud, None]' 'datasource: {NoCloud: {seedfrom: "file:///boot/firmware/"}}' \
        'network: {config: disabled}' 'locale: false' | in_machine w2 /etc/cloud/cloud.cfg.d/99-boot-partition.cfg
    lab exec w2 -- rm /etc/cloud/cloud-init.disabled
    before=$(boot_id w2)
    lab exec w2 -- systemctl reboot || true
    wait_for 30 "another boot id of w2" another_boot w2 "$before"
    wait_for 120 "enrolment of w2" waits_to_be_listed w2
    key=$(lab exec w2 -- hostler-executor id | sed -n 2p)
    shown hostler node approve "w2=$key" --yes
    wait_for 30 "w2 as a node" lab exec w2 -- test -s /var/lib/hostler/executor/enrolled
    expect "$(lab exec w2 -- sh -c 'test ! -s /boot/firmware/hostler/join && echo used')" '^used$'
    shown lab exec w2 -- cloud-init status --long
}

waits_to_be_listed() { hostler node list --pending --output json | jq -e --arg name "$1" 'any(.pending[]; .name == $name)'; }
