# shellcheck shell=bash disable=SC2034,SC2154
# What Hostler makes clusters of: Kubernetes of several versions, the add-ons, a Debian root with nothing of Kubernetes,
# and a folder of artifacts for each version with the lock file that names them.

# Left out of a bare machine's root; they come back as Debian's own packages, which Hostler installs.
life_packages="runc conntrack"
flannel_image=registry.lab/flannel:v0.27.4

# build_life [--without-names] VERSION...: without names, CoreDNS is not built (2 minutes).
build_life() {
    local version without_names=
    [[ ${1:-} != --without-names ]] || { without_names=1; shift; }
    parts_build
    build_flannel
    [[ -n $without_names ]] || build_coredns
    build_bare_root
    fetch_debs
    artifacts_in_common
    for version in "$@"; do
        build_version "$version"
        artifacts_of "$version"
    done
}

# Where the programs of a version lie.
version_folder() { if [[ $1 == "$kubernetes_version" ]]; then echo "$lab_work/bin"; else echo "$lab_work/kubernetes/$1"; fi; }

# build_version VERSION: from its own module file (kubernetes/VERSION.mod) or, where there is none, from the lab's
# ordinary one, linked under another name, which `version_origin` says.
build_version() {
    local version=$1 folder modules=(-modfile="$1.mod")
    [[ $version != "$kubernetes_version" ]] || return 0
    folder=$(version_folder "$version")
    mkdir -p "$folder"
    [[ -e $lab_here/kubernetes/$version.mod ]] || modules=()
    [[ -x $folder/kubelet ]] || step "building Kubernetes $version: $(version_origin "$version")"
    go_build kubernetes "$folder/" "${modules[@]}" -ldflags "$(kubernetes_flags "$version")" tool
    step "Kubernetes $version is built"
}

version_origin() {
    if [[ $1 == "$kubernetes_version" || -e $lab_here/kubernetes/$1.mod ]]; then
        echo "its own source"
    else
        echo "the source of $kubernetes_version linked again under the name $1"
    fi
}

build_coredns() {
    [[ -x $lab_work/bin/coredns ]] || step "building CoreDNS (2 minutes, once)"
    go_build coredns "$lab_work/bin/coredns" -ldflags "-s -w" .
    step "CoreDNS is built"
}

build_flannel() {
    [[ -x $lab_work/bin/flannel ]] || step "building flannel (its Kubernetes is the lab's, so that takes seconds)"
    go_build flannel "$lab_work/bin/flannel" -ldflags "-s -w" .
    step "flannel is built"
}

# The ordinary root without the packages that Hostler is to install; and, on the way, the tree with nft and its
# libraries, which kube-proxy's image needs.
build_bare_root() {
    local tree=$lab_work/bare.tree library nft=$lab_work/nft
    [[ $lab_work/bare.tar -nt $lab_work/root.tar ]] && return
    step "making the bare root"
    rm -rf "$tree" "$nft"
    mkdir -p "$tree" "$nft/usr/sbin"
    tar -xf "$lab_work/root.tar" -C "$tree" --exclude='./dev/*'
    cp "$tree/usr/sbin/nft" "$nft/usr/sbin/"
    # Both lists of names: libraries by the path that the loader asks for.
    for library in $(chroot "$tree" ldd /usr/sbin/nft | grep -o '/[^ ]*'); do
        mkdir -p "$nft$(dirname "$library")"
        cp -L "$tree$library" "$nft$library"
    done
    # shellcheck disable=SC2086 # names of packages are words
    dpkg --root="$tree" --purge $life_packages >"$lab_work/log/bare.log" 2>&1 ||
        { tail -5 "$lab_work/log/bare.log" >&2; fail "the bare root could not be made; all of it is in $lab_work/log/bare.log"; }
    tar -cf "$lab_work/bare.part.tar" -C "$tree" .
    mv "$lab_work/bare.part.tar" "$lab_work/bare.tar"
    rm -rf "$tree"
    step "the bare root is made"
}

# Debian's own files of those packages.
fetch_debs() {
    local package
    mkdir -p "$lab_work/debs"
    for package in $life_packages; do
        compgen -G "$lab_work/debs/${package}_*.deb" >/dev/null || fetch_deb "$package" || { apt-get update -q >>"$lab_work/log/bare.log" 2>&1 && fetch_deb "$package"; } ||
            fail "apt-get download $package failed; $lab_work/log/bare.log has its words"
    done
}

fetch_deb() { (cd "$lab_work/debs" && apt-get download -q "$1" >>"$lab_work/log/bare.log" 2>&1); }

# What belongs to no version of Kubernetes, as an admin would have downloaded it.
artifacts_in_common() {
    local folder=$lab_work/artifacts/common image_folder=$lab_work/images.life name deb
    artifacts_begin
    for name in etcdctl etcdutl; do artifact program "$name" "$(module_version etcd go.etcd.io/etcd/server/v3)" "$lab_work/bin/$name" server; done
    for name in containerd containerd-shim-runc-v2 ctr; do
        artifact program "$name" "$(module_version containerd github.com/containerd/containerd/v2)" "$lab_work/bin/$name"
    done
    for name in bridge loopback host-local; do
        artifact program "$name" "$(module_version cni github.com/containernetworking/plugins)" "$lab_work/bin/$name"
    done
    for deb in "$lab_work"/debs/*.deb; do
        artifact package "$(dpkg-deb -f "$deb" Package)" "$(dpkg-deb -f "$deb" Version)" "$deb"
    done
    packed "$flannel_image" '' "$lab_work/bin/flannel"
    packed registry.lab/app:1 '' "$lab_work/bin/app-1/app"
    artifact manifest flannel.yaml "${flannel_image##*:}" "$lab_here/manifests/flannel.yaml"
    lock_of "$folder" >"$folder/fleet.lock"
}

# artifacts_of VERSION: Kubernetes and the images that its kubeadm asks for.
artifacts_of() {
    local version=$1 folder=$lab_work/artifacts/$1 image_folder=$lab_work/images.life/$1 from name
    from=$(version_folder "$version")
    artifacts_begin
    for name in kubeadm kubelet kubectl; do artifact program "$name" "$version" "$from/$name"; done
    while read -r name; do
        case $name in
        */kube-proxy:*) packed "$name" '' -tree "$lab_work/nft" "$from/kube-proxy" ;;
        */coredns/*) [[ -n ${without_names:-} ]] || packed "$name" '' "$lab_work/bin/coredns" ;;
        */kube-*) packed "$name" server "$from/$(basename "${name%:*}")" ;;
        */etcd:*) packed "$name" server "$lab_work"/bin/{etcd,etcdctl,etcdutl} ;;
        */pause:*)
            packed "$name" '' "$lab_work/bin/pause"
            echo "$name" >"$folder/sandbox" ;;
        *) fail "kubeadm $version wants the image $name, which the lab cannot make" ;;
        esac
    done < <("$from/kubeadm" config images list --kubernetes-version "$version" 2>/dev/null)
    lock_of "$folder" "$version" >"$folder/fleet.lock"
    step "artifacts of $version are ready: $(wc -l <"$folder/lines") files, $(du -shL "$folder" | cut -f 1)"
}

artifacts_begin() {
    rm -rf "$folder"
    mkdir -p "$folder" "$image_folder"
    : >"$folder/lines"
}

module_version() { (cd "$lab_here/$1" && go list -m -f '{{.Version}}' "$2"); }

# packed IMAGE ROLE [-tree FOLDER] BINARY...: an image archive, made again when its input changed.
packed() {
    local image=$1 role=$2 tar part stale=
    shift 2
    tar=$image_folder/$(basename "${image%:*}").tar
    for part in "$lab_work/bin/archive" "$@"; do
        [[ $part == -tree || $tar -nt $part ]] || stale=1
    done
    [[ -z $stale ]] || "$lab_work/bin/archive" -name "$image" -out "$tar" "$@"
    artifact image "$(basename "${image%:*}")" "${image##*:}" "$tar" "$role"
}

# artifact KIND NAME VERSION FILE [ROLE]: a hard link in the folder, and a line about it.
artifact() {
    local file=$1-$2
    [[ $1 != package ]] || file=$2.deb
    [[ $1 != manifest ]] || file=$2
    ln -f "$4" "$folder/$file"
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$file" "${5:-}" >>"$folder/lines"
}

# lock_of FOLDER [VERSION]: its lines as [[artifacts]] of a lock file, with paths relative to the fleet file's folder, and
# the Kubernetes version that they belong to.
lock_of() {
    local kind name version file role arch
    while IFS=$'\t' read -r kind name version file role; do
        arch=x86_64
        [[ $kind != manifest ]] || arch=none
        printf '[[artifacts]]\nname = "%s"\nversion = "%s"\narch = "%s"\n' "$name" "$version" "$arch"
        printf 'path = "artifacts/%s/%s"\nsha256 = "%s"\nsize = %d\nkind = "%s"\n' "$(basename "$1")" "$file" \
            "$(sha256sum "$1/$file" | cut -d ' ' -f 1)" "$(stat -c %s "$1/$file")" "$kind"
        [[ -z ${2:-} ]] || printf 'kubernetes = "%s"\n' "$2"
        [[ -z $role ]] || printf 'role = "%s"\n' "$role"
        echo
    done <"$1/lines"
}
