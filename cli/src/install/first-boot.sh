#!/bin/sh
# Makes this machine a node of a fleet: installs hostler-agent from the folder of this script. It was written by `hostler
# node image`, and runs once, as root. The join string beside it is read and removed by its executor.
set -eu
folder=${1:-$(dirname "$0")}
cd "$folder"
sha256sum -c --quiet sha256sums
architecture=$(dpkg --print-architecture)
package=$folder/hostler-agent_$architecture.deb
if [ ! -e "$package" ]; then
    echo "hostler: expected a package for $architecture in $folder, found $(ls "$folder"/*.deb); write the card anew" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
apt-get -y --no-install-recommends -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold install "$package"
# The executor looks at the boot partition itself, and at no other volume.
case $folder in
/boot/*) ;;
*)
    mkdir -p /etc/hostler
    install -m 600 join /etc/hostler/join
    ;;
esac
# Where another boot follows, it starts them.
[ "${2:-}" = later ] || systemctl --no-block start hostler-executor.service hostler-agent.service
