# Takes the agent away with everything that it made for itself. Kubernetes and its files stay as they are.
away() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
    export DEBIAN_FRONTEND NEEDRESTART_MODE
    systemctl stop hostler-agent.service hostler-executor.service
    if [ -n "$(dpkg-query -W -f '${db:Status-Status}' hostler-agent 2>/dev/null)" ]; then
        apt-get -y -o DPkg::Lock::Timeout="$lock_seconds" purge hostler-agent || dpkg --purge hostler-agent || return 1
    fi
    rm -rf /var/lib/hostler/agent /var/lib/hostler/executor /var/lib/hostler/sealed /run/hostler-executor
    rm -rf /etc/hostler/agent.toml /etc/hostler/agent.toml.d /etc/hostler/executor.toml /etc/hostler/executor.toml.d
    rm -f /etc/issue.d/hostler.issue /etc/hostler/join /etc/hostler/join.txt
    rm -f /boot/firmware/hostler/join /boot/firmware/hostler/join.txt /boot/hostler/join /boot/hostler/join.txt
    # The coordinator of this machine has its folder, its settings and its user there.
    [ -z "$(dpkg-query -W -f '${db:Status-Status}' hostler-coordinator 2>/dev/null)" ] || return 0
    rmdir /etc/hostler /run/hostler /var/lib/hostler || true
    case $(getent passwd hostler) in
    *:/var/lib/hostler:*) userdel hostler ;;
    esac
    systemctl reset-failed hostler-agent.service hostler-executor.service || true
}
