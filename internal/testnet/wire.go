package testnet

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"usertcp/internal/netns"
)

// End is one end of a wire.
type End struct {
	In    *Namespace
	Name  string   // of the device
	Addrs []string // with the length of their prefix: "10.9.0.1/24"
}

// Wire describes a veth pair.
type Wire struct {
	A, B End
	MTU  int // of both; 0: 1500
}

// Join makes a wire, with both ends up and running.
func Join(w Wire) {
	w.A.In.t.Helper()
	if err := netns.Join(netns.Wire{A: w.A.end(), B: w.B.end(), MTU: w.MTU}); err != nil {
		w.A.In.t.Fatal(err)
	}
}

func (e End) end() netns.End {
	end := netns.End{In: e.In.in, Name: e.Name}
	for _, a := range e.Addrs {
		end.Addrs = append(end.Addrs, netip.MustParsePrefix(a))
	}
	return end
}

// The addresses of Pair.
const (
	PairA4, PairB4 = "10.9.0.1", "10.9.0.2"
	PairA6, PairB6 = "fd09::1", "fd09::2"
)

// Pair joins two namespaces: va with 10.9.0.1/24 and fd09::1/64 in a, and vb with
// 10.9.0.2/24 and fd09::2/64 in b.
func Pair(a, b *Namespace, mtu int) {
	a.t.Helper()
	Join(Wire{
		A:   End{a, "va", []string{PairA4 + "/24", PairA6 + "/64"}},
		B:   End{b, "vb", []string{PairB4 + "/24", PairB6 + "/64"}},
		MTU: mtu,
	})
}

// link calls f with a device of the namespace; an error ends the test.
func (n *Namespace) link(name string, f func(netlink.Link) error) {
	n.t.Helper()
	if err := n.in.Link(name, f); err != nil {
		n.t.Fatalf("%s: %v", name, err)
	}
}

// Index returns the number of a device.
func (n *Namespace) Index(name string) (index int) {
	n.t.Helper()
	n.link(name, func(l netlink.Link) error { index = l.Attrs().Index; return nil })
	return index
}

// Up and Down switch a device.
func (n *Namespace) Up(name string) { n.t.Helper(); n.link(name, netlink.LinkSetUp) }

// Down switches a device off.
func (n *Namespace) Down(name string) { n.t.Helper(); n.link(name, netlink.LinkSetDown) }

// Remove deletes a device, of a veth pair both.
func (n *Namespace) Remove(name string) { n.t.Helper(); n.link(name, netlink.LinkDel) }

// MTU sets a device's MTU, octets.
func (n *Namespace) MTU(name string, mtu int) {
	n.t.Helper()
	n.link(name, func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
}

// AddAddr gives a device an address, which may be used at once.
func (n *Namespace) AddAddr(name, prefix string) {
	n.t.Helper()
	n.link(name, func(l netlink.Link) error { return netlink.AddrAdd(l, addr(prefix)) })
}

// RemoveAddr takes one away.
func (n *Namespace) RemoveAddr(name, prefix string) {
	n.t.Helper()
	n.link(name, func(l netlink.Link) error { return netlink.AddrDel(l, addr(prefix)) })
}

func addr(prefix string) *netlink.Addr {
	return &netlink.Addr{IPNet: netns.IPNet(netip.MustParsePrefix(prefix))}
}

// Route is a route of a namespace.
type Route struct {
	To   string // prefix
	Via  string // gateway; empty: none
	Dev  string // may be empty if there is a gateway
	MTU  int    // 0: the device's
	Lock bool   // MTU holds for what is forwarded, too
	Type int    // unix.RTN_UNREACHABLE and the like; 0: unicast
}

// SetRoute adds a route, or puts it in the place of the one to the same prefix.
func (n *Namespace) SetRoute(r Route) {
	n.t.Helper()
	route := &netlink.Route{Dst: netns.IPNet(netip.MustParsePrefix(r.To)), MTU: r.MTU, MTULock: r.Lock, Type: r.Type}
	if r.Via != "" {
		route.Gw = netip.MustParseAddr(r.Via).AsSlice()
	}
	if r.Dev != "" {
		route.LinkIndex = n.Index(r.Dev)
	}
	n.Do(func() {
		if err := netlink.RouteReplace(route); err != nil {
			n.t.Fatalf("route %+v: %v", r, err)
		}
	})
}

// RemoveRoute removes the routes to a prefix.
func (n *Namespace) RemoveRoute(to string) {
	n.t.Helper()
	n.Do(func() {
		if err := netlink.RouteDel(&netlink.Route{Dst: netns.IPNet(netip.MustParsePrefix(to))}); err != nil {
			n.t.Fatalf("route to %s: %v", to, err)
		}
	})
}

// Forward makes a router of the namespace.
func (n *Namespace) Forward() {
	n.t.Helper()
	n.Sysctl("ipv4/ip_forward", "1")
	n.Sysctl("ipv6/conf/all/forwarding", "1")
}

// Devices returns the names of the namespace's devices, in order.
func (n *Namespace) Devices() []string {
	n.t.Helper()
	var names []string
	n.Do(func() {
		links, err := netlink.LinkList()
		if err != nil {
			n.t.Fatal(err)
		}
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
	})
	slices.Sort(names)
	return names
}
