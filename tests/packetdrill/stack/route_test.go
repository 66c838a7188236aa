package stack

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"usertcp/internal/testnet"
)

// The MTU of a route on the script's device is found, and found again when it changes.
func TestMTUOfTheScriptsRoute(t *testing.T) {
	testnet.New(t).Do(func() {
		var r routes
		defer r.close()
		if mtu, _ := r.mtu(theirs.Addr); mtu != 0 {
			t.Errorf("without a device a route has an MTU of %d", mtu)
		}
		l := addScriptDevice(t)
		to := theirs.Addr.Netip().AsSlice()
		route := netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: to, Mask: net.CIDRMask(32, 32)}}
		epoch := -1
		for _, want := range []int{640, 1500, 0} {
			route.MTU, route.MTULock = want, want != 0
			if err := netlink.RouteReplace(&route); err != nil {
				t.Fatal(err)
			}
			mtu, changes := r.mtu(theirs.Addr)
			if int(mtu) != want || changes == epoch {
				t.Errorf("MTU %d after %d changes, before that %d; want %d", mtu, changes, epoch, want)
			}
			epoch = changes
			if mtu, changes := r.mtu(theirs.Addr); int(mtu) != want || changes != epoch {
				t.Errorf("then MTU %d after %d changes", mtu, changes)
			}
		}
	})
}
