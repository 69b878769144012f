# shellcheck shell=bash disable=SC2034,SC2154
# `hostler node install` and `remove-agent` over a real sshd, with a real sudo. Sourced by `run`. The machine is w2 after its
# purge; cloud-init is there only where the lab's roots have them.

install_checks() {
    if ! lab exec w2 -- test -x /usr/sbin/sshd; then
        echo "skipped: the checks of an install over ssh, the machines have no sshd (openssh-server)" | tee -a "$transcript"
        return
    fi
    step_of_row "a host key that nobody compared is not accepted, and its fingerprint is shown" host_key_is_refused
    step_of_row "a machine becomes a node over ssh, with sudo and a password" machine_is_installed
    step_of_row "a second install finds nothing to do" machine_is_installed_already
    step_of_row "the agent goes over ssh, and nothing of it stays" machine_loses_agent
    step_of_row "cloud-init takes what an image is written with" image_is_valid
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

image_is_valid() {
    local package
    if ! lab exec admin -- sh -c 'command -v cloud-init' >/dev/null; then
        echo "skipped: the lab's machines have no cloud-init"
        return
    fi
    package=$(compgen -G "$debs/hostler-agent_*_amd64.deb" | head -n 1)
    shown hostler node image --for pi-4 --package "/root/${package##*/}" --out /root/cards
    shown lab exec admin -- cloud-init schema --config-file /root/cards/pi-4/cloud-init/user-data
}
