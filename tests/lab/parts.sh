# shellcheck shell=bash disable=SC2034,SC2154
# What the machines are made of: binaries from Go modules, images, a Debian root.
# Everything is kept in $lab_work and made again only when its input changed.

# What a node of Kubernetes and Hostler's packages need, so that no machine ever asks
# a network for a package. runc is Debian's; containerd and the rest are built.
root_packages=systemd,systemd-sysv,dbus,udev,kmod,libpam-systemd,polkitd,init-system-helpers,adduser,\
libc6,libgcc-s1,ca-certificates,openssh-client,iproute2,iputils-ping,iptables,nftables,conntrack,ethtool,socat,\
runc,procps,curl,less,openssh-server,sudo,cloud-init

parts_build() {
    mkdir -p "$lab_work"/{bin,images,log}
    build_kubernetes
    build_runtime
    build_programs
    build_images
    build_root
}

# go_build MODULE OUT [FLAGS...] PACKAGE...: Go's own cache decides what is done again.
# Nice, because these minutes are nobody's hurry but the lab's.
go_build() {
    local module=$1 out=$2
    shift 2
    (cd "$lab_here/$module" &&
        CGO_ENABLED=0 GOFLAGS=-buildvcs=false nice -n 10 go build -trimpath -o "$out" "$@") \
        >>"$lab_work/log/build.log" 2>&1 || { tail -20 "$lab_work/log/build.log" >&2; fail "go build in tests/lab/$module failed; all of it is in $lab_work/log/build.log"; }
}

build_kubernetes() {
    [[ -x $lab_work/bin/kubelet ]] || step "building Kubernetes $kubernetes_version (5 to 8 minutes of two cores, once)"
    go_build kubernetes "$lab_work/bin/" -ldflags "$(kubernetes_flags "$kubernetes_version")" tool
    step "Kubernetes is built"
}

# What its programs say of themselves.
kubernetes_flags() {
    local v=k8s.io/component-base/version minor=${1#v1.}
    printf '%s' "-s -w -X $v.gitVersion=$1 -X $v.gitMajor=1 -X $v.gitMinor=${minor%.*} \
-X $v.gitCommit=0000000000000000000000000000000000000000 -X $v.gitTreeState=clean -X $v.buildDate=2026-01-01T00:00:00Z"
}

# Only the judgement of thousands of pods needs it.
build_kwok() {
    [[ -x $lab_work/bin/kwok ]] || step "building kwok (5 minutes, once)"
    go_build kwok "$lab_work/bin/" -ldflags "-s -w" tool
    # What its nodes and pods go through; part of its module, not of its program.
    local stages
    stages=$(cd "$lab_here/kwok" && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
    rm -rf "$lab_work/kwok"
    mkdir -p "$lab_work/kwok"
    install -m 644 "$stages"/node/fast/node-*.yaml "$stages"/node/heartbeat-with-lease/node-*.yaml "$stages"/pod/fast/pod-*.yaml \
        "$lab_work/kwok/"
}

build_runtime() {
    [[ -x $lab_work/bin/containerd ]] || step "building etcd, containerd and the network plugins (2 minutes, once)"
    # The package of etcd's server is not named etcd, so each has its own output name.
    go_build etcd "$lab_work/bin/etcd" -ldflags "-s -w" go.etcd.io/etcd/server/v3
    go_build etcd "$lab_work/bin/etcdctl" -ldflags "-s -w" go.etcd.io/etcd/etcdctl/v3
    go_build etcd "$lab_work/bin/etcdutl" -ldflags "-s -w" go.etcd.io/etcd/etcdutl/v3
    go_build containerd "$lab_work/bin/" -ldflags "-s -w" tool
    go_build cni "$lab_work/bin/" -ldflags "-s -w" tool
    step "etcd, containerd and the network plugins are built"
}

build_programs() {
    local version
    go_build programs "$lab_work/bin/" -ldflags "-s -w" ./pause ./archive ./watcher ./judge
    for version in 1 2; do
        mkdir -p "$lab_work/bin/app-$version"
        go_build programs "$lab_work/bin/app-$version/app" -ldflags "-s -w -X main.version=$version" ./app
    done
}

# Images cannot be pulled here, so they are packed under the names kubeadm prints.
build_images() {
    local name
    while read -r name; do
        case $name in
        */kube-proxy:* | */coredns/*) ;; # skipped add-ons
        */kube-*) image "$name" "$(basename "${name%:*}")" ;;
        */etcd:*) image "$name" etcd etcdctl etcdutl ;;
        */pause:*)
            image "$name" pause
            echo "$name" >"$lab_work/images/pause.name" ;;
        *) fail "kubeadm wants the image $name, which the lab cannot make" ;;
        esac
    done < <("$lab_work/bin/kubeadm" config images list --kubernetes-version "$kubernetes_version" 2>/dev/null)
    image registry.lab/app:1 app-1/app
    image registry.lab/app:2 app-2/app
    step "images are packed"
}

# image NAME BINARY...: the first one is the entry point.
image() {
    local name=$1 tar binary stale=
    shift
    tar=$lab_work/images/$(tr '/:' '__' <<<"$name").tar
    local binaries=("${@/#/$lab_work/bin/}")
    for binary in "$lab_work/bin/archive" "${binaries[@]}"; do
        [[ $tar -nt $binary ]] || stale=1
    done
    [[ -z $stale ]] || "$lab_work/bin/archive" -name "$name" -out "$tar" "${binaries[@]}"
}

build_root() {
    if [[ -s $lab_work/root.tar && $(cat "$lab_work/root.packages" 2>/dev/null) == "$root_packages" ]]; then
        return
    fi
    step "making the Debian root (1 minute, once)"
    mmdebstrap --variant=minbase --include="$root_packages" bookworm "$lab_work/root.part.tar" \
        >"$lab_work/log/root.log" 2>&1 || { tail -20 "$lab_work/log/root.log" >&2; fail "mmdebstrap failed; all of it is in $lab_work/log/root.log"; }
    mv "$lab_work/root.part.tar" "$lab_work/root.tar"
    echo "$root_packages" >"$lab_work/root.packages"
    step "the Debian root is made"
}
