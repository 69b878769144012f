# shellcheck shell=bash disable=SC2034,SC2154
# Updates of the machines' systems against a signed archive of the test's own: a good update, a held one, one that vanished,
# one whose script asks, one whose script fails, and one that restarts the container runtime. Run by tests/lab/run.

update_checks() {
    # What follows does not build on these.
    local row=$row_broken
    step_of_row "an archive of the test's own, signed, is what w1 and w2 update from" update_archive
    step_of_row "what waits is shown with versions and what is held, and nothing is installed" update_is_shown
    step_of_row "a good update and one that asks are installed by digest, and settings stay" update_is_installed
    step_of_row "a second update finds nothing and changes nothing" update_again
    step_of_row "an archive that cannot be reached is not known, and never up to date" update_not_known
    step_of_row "a version that vanished is named before anything is signed" update_vanished
    step_of_row "a script that fails stops the rollout, and the next update finishes what is half done" update_fails
    step_of_row "a package that restarts the container runtime without being it is found out" update_restarts
    update_server_ends
    row_broken=$row
}

update_folder=$lab_work/archive
update_nodes='w1 w2'

# lab_package NAME VERSION [POSTINST]: a package for every processor, with a file and a setting.
lab_package() {
    local name=$1 version=$2 script=${3:-} made
    made=$(mktemp -d)
    mkdir -p "$made/DEBIAN" "$made/usr/share/$name" "$made/etc"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: of the lab\n' \
        "$name" "$version" >"$made/DEBIAN/control"
    printf '/etc/%s.conf\n' "$name" >"$made/DEBIAN/conffiles"
    printf 'version %s\n' "$version" | tee "$made/usr/share/$name/version" >"$made/etc/$name.conf"
    if [[ -n $script ]]; then
        printf '#!/bin/sh\nset -e\n%s\n' "$script" >"$made/DEBIAN/postinst"
        chmod 755 "$made/DEBIAN/postinst"
    fi
    dpkg-deb --root-owner-group --build "$made" "$update_folder/${name}_${version}_all.deb" >/dev/null
    rm -rf "$made"
}

# Lists of what lies in the archive, signed by its key.
update_lists() {
    (
        cd "$update_folder"
        rm -f Packages Release InRelease
        local deb
        for deb in *.deb; do
            dpkg-deb --field "$deb" Package Version Architecture Maintainer Description
            printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
        done >Packages
        printf 'Origin: lab\nLabel: lab\nSuite: stable\nCodename: lab\nDate: %s\nSHA256:\n %s %s Packages\n' \
            "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')" "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release
        GNUPGHOME=$lab_work/archive-keys gpg --batch --yes --clearsign --output InRelease Release
    )
}

update_archive() {
    local node address=$lab_net.1
    rm -rf "$update_folder" "$lab_work/archive-keys"
    mkdir -p "$update_folder"
    mkdir -m 700 "$lab_work/archive-keys"
    GNUPGHOME=$lab_work/archive-keys gpg --batch --passphrase '' --quick-gen-key lab@example.org ed25519 sign never
    lab_package lab-good 1
    lab_package lab-asks 1
    lab_package lab-held 1
    for node in $update_nodes; do
        in_machine "$node" /usr/share/keyrings/lab.asc < <(GNUPGHOME=$lab_work/archive-keys gpg --armor --export)
        for name in good asks held; do
            in_machine "$node" "/root/lab-$name.deb" <"$update_folder/lab-${name}_1_all.deb"
        done
        lab exec "$node" -- sh -c 'dpkg --install /root/lab-*.deb && apt-mark hold lab-held && echo mine >/etc/lab-asks.conf'
    done
    lab_package lab-good 2
    lab_package lab-held 2
    # One that would ask whoever sits there.
    lab_package lab-asks 2 'test "$DEBIAN_FRONTEND" = noninteractive || read -r answer'
    update_lists
    update_server "$address"
    for node in $update_nodes; do
        lab exec "$node" -- sh -c "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
            echo 'deb [signed-by=/usr/share/keyrings/lab.asc] http://$address:8099/ ./' >/etc/apt/sources.list"
    done
}

# The archive over http, as Debian's own.
update_server() {
    (cd "$update_folder" && exec python3 -m http.server --bind "$1" 8099) >/dev/null 2>&1 &
    echo $! >"$lab_work/archive.pid"
    wait_for 20 "an archive that answers" curl --silent --fail --output /dev/null "http://$1:8099/InRelease"
}

# Each row is a shell of its own.
update_server_ends() {
    [[ ! -e $lab_work/archive.pid ]] || kill "$(cat "$lab_work/archive.pid")" 2>/dev/null || true
    rm -f "$lab_work/archive.pid"
}

update_is_shown() {
    local said
    # A terminal where somebody confirms that the machines are asked, and not what is to be installed then.
    said=$(lab exec admin -- sh -c 'printf "y\nn\n" | script -qec "hostler update os --nodes w1,w2" /dev/null' 2>&1 || true)
    printf '%s\n' "$said"
    expect "$said" 'lab-good +1 +2'
    expect "$said" 'stays: lab-held'
    expect "$(lab exec w1 -- cat /usr/share/lab-good/version)" '^version 1$'
}

update_is_installed() {
    local said node
    said=$(hostler update os --nodes w1,w2 --yes 2>&1)
    printf '%s\n' "$said"
    expect "$said" 'stays: lab-held'
    expect "$said" 'no reboot is needed'
    for node in $update_nodes; do
        expect "$(lab exec "$node" -- cat /usr/share/lab-good/version)" '^version 2$'
        expect "$(lab exec "$node" -- cat /usr/share/lab-held/version)" '^version 1$'
        expect "$(lab exec "$node" -- cat /etc/lab-asks.conf)" '^mine$'
    done
}

update_again() {
    local before said
    before=$(lab exec w1 -- stat -c %y /var/lib/dpkg/status)
    said=$(hostler update os --nodes w1,w2 --yes 2>&1)
    printf '%s\n' "$said"
    expect "$said" 'nothing to update'
    [[ $(lab exec w1 -- stat -c %y /var/lib/dpkg/status) == "$before" ]]
}

update_not_known() {
    local said
    update_server_ends
    said=$(hostler update os --nodes w1 --yes 2>&1 || true)
    printf '%s\n' "$said"
    expect "$said" 'not known'
    update_server "$lab_net.1"
}

update_vanished() {
    local said
    lab_package lab-good 3
    update_lists
    mv "$update_folder/lab-good_3_all.deb" "$lab_work/vanished.deb"
    said=$(hostler update os --nodes w1 --yes 2>&1 || true)
    printf '%s\n' "$said"
    expect "$said" 'cannot be had'
    mv "$lab_work/vanished.deb" "$update_folder/lab-good_3_all.deb"
}

update_fails() {
    local said
    lab_package lab-good 4 'exit 7'
    update_lists
    said=$(hostler update os --nodes w1 --yes 2>&1 || true)
    printf '%s\n' "$said"
    expect "$said" 'lab-good'
    expect "$(lab exec w1 -- dpkg-query -W -f '${db:Status-Abbrev}' lab-good)" '^iF'
    lab_package lab-good 5
    update_lists
    hostler update os --nodes w1 --yes
    expect "$(lab exec w1 -- dpkg-query -W -f '${db:Status-Abbrev}${Version}' lab-good)" '^ii +5$'
}

update_restarts() {
    local said
    lab_package lab-good 6 'systemctl restart containerd.service'
    update_lists
    said=$(hostler update os --nodes w1 --yes 2>&1 || true)
    printf '%s\n' "$said"
    expect "$said" 'restarted containerd.service'
}
