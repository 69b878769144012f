// Command flannel is flannel's own code for nodes in one network, its backend host-gw: a route to every other node's pods.
// Beside flanneld's main it leaves out the backends of clouds, whose modules are not published, and writes the
// configuration of the network plugins itself, which flannel's plugin of its own would make from the subnet file.
//
//	flannel -conf /etc/kube-flannel/net-conf.json -plugins /etc/cni/net.d/10-flannel.conflist
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
)

func main() {
	conf := flag.String("conf", "/etc/kube-flannel/net-conf.json", "flannel's network configuration")
	plugins := flag.String("plugins", "/etc/cni/net.d/10-flannel.conflist", "configuration of the network plugins to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *conf, *plugins); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, conf, plugins string) error {
	// Without an address and a kubeconfig it asks the API server as the pod's own account.
	subnets, err := kube.NewSubnetManager(ctx, "", "", "flannel.alpha.coreos.com", conf, true)
	if err != nil {
		return err
	}
	config, err := subnets.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	stack, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return err
	}
	outward, err := ipmatch.LookupExtIface("", "", "", stack, ipmatch.PublicIPOpts{})
	if err != nil {
		return err
	}
	routes, err := backend.NewManager(ctx, subnets, outward).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	network, err := routes.RegisterNetwork(ctx, &wait, config)
	if err != nil {
		return err
	}
	if err := writePlugins(plugins, network.Lease().Subnet, network.MTU()); err != nil {
		return err
	}
	log.Printf("pods of this node are %s", network.Lease().Subnet)
	wait.Go(func() { network.Run(ctx) })
	err = subnets.CompleteLease(ctx, network.Lease(), &wait)
	wait.Wait()
	return err
}

// writePlugins is what flannel's plugin would hand on to the bridge plugin. Beside and renamed: containerd reads it at any time.
func writePlugins(path string, subnet ip.IP4Net, mtu int) error {
	text, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0",
		"name":       "cbr0",
		"plugins": []map[string]any{{
			"type": "bridge", "bridge": "cni0", "mtu": mtu, "isDefaultGateway": true, "hairpinMode": true,
			"ipam": map[string]any{"type": "host-local", "ranges": [][]map[string]any{{{"subnet": subnet.String()}}}},
		}},
	}, "", "  ")
	if err != nil {
		return err
	}
	part := filepath.Join(filepath.Dir(path), ".flannel.part")
	if err := os.WriteFile(part, text, 0o644); err != nil {
		return err
	}
	return os.Rename(part, path)
}
