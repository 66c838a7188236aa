package stack

import (
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// routes knows what the namespace's routes on the script's device say of the MTU. It
// hears of changes by netlink, and looks again when there was one.
type routes struct {
	mu     sync.Mutex
	events []int // sockets that tell of changes; nil: not opened yet
	said   map[wire.Addr]uint16
	epoch  int // how often they have changed
}

// mtu returns what a route to an address says that packets may have in octets, 0 if it
// says nothing, and how often routes have changed.
func (r *routes) mtu(to wire.Addr) (octets uint16, epoch int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events == nil {
		r.events = []int{subscribe(unix.RTNLGRP_IPV4_ROUTE), subscribe(unix.RTNLGRP_IPV6_ROUTE)}
		r.said = map[wire.Addr]uint16{}
	}
	did := false
	for _, fd := range r.events {
		did = changed(fd) || did
	}
	if did {
		r.epoch++
		clear(r.said)
	}
	octets, known := r.said[to]
	if !known {
		octets = routeMTU(to)
		r.said[to] = octets
	}
	return octets, r.epoch
}

func (r *routes) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fd := range r.events {
		unix.Close(fd)
	}
	r.events = slices.Repeat([]int{-1}, len(r.events))
}

// routeMTU asks the kernel for the route.
func routeMTU(to wire.Addr) uint16 {
	l, err := netlink.LinkByName(scriptDevice)
	if err != nil {
		return 0
	}
	all, err := netlink.RouteGet(to.Netip().AsSlice())
	if err != nil {
		return 0
	}
	for _, r := range all {
		if r.LinkIndex == l.Attrs().Index && r.MTU >= 0 && r.MTU <= 65535 {
			return uint16(r.MTU)
		}
	}
	return 0
}

// follow tells a connection that is open of the MTU of its route, if routes have
// changed since the last call. Linux looks at each segment that leaves.
func (s *Stack) follow(k *socket) {
	if k.listens || !k.opened {
		return
	}
	mtu, epoch := s.dev.routes.mtu(k.sock.Flow().Remote.Addr)
	if epoch == k.routes {
		return
	}
	k.routes = epoch
	if mtu == 0 {
		mtu = s.mtu
	}
	k.sock.RouteMTU(uint32(mtu))
}
