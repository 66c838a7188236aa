package nic

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// maxPacket is the largest IP packet, octets.
const maxPacket = 65535

// Route asks the kernel for the way to remote. The errors are those that its own
// connect would return: ENETUNREACH, EHOSTUNREACH, EACCES (a prohibiting route); and
// EHOSTUNREACH if the way is by a device that is not served, which the log tells.
func (m *Manager) Route(remote netip.Addr) (Route, error) {
	remote = remote.Unmap()
	if !remote.IsValid() || remote.IsUnspecified() || remote.IsMulticast() || remote.Is6() && remote.IsLinkLocalUnicast() {
		return Route{}, unix.ENETUNREACH
	}
	found, err := m.routes.RouteGetWithOptions(remote.AsSlice(), nil)
	if err != nil {
		return Route{}, err
	}
	if len(found) == 0 {
		return Route{}, unix.ENETUNREACH
	}
	r := found[0]
	source, _ := netip.AddrFromSlice(r.Src)
	out := Route{Source: source.Unmap(), MTU: r.MTU, Local: r.Type == unix.RTN_LOCAL}
	if r.Type != unix.RTN_UNICAST && !out.Local {
		return Route{}, unix.ENETUNREACH
	}
	if out.Local {
		return m.inside(out)
	}
	return m.outside(out, r.LinkIndex)
}

// inside completes the route to one of the host's own addresses.
func (m *Manager) inside(r Route) (Route, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lo := m.devices[loopback]
	if lo == nil || lo.index == 0 {
		m.complain("an address of this host can be reached only if lo is served", "source", r.Source)
		return Route{}, unix.EHOSTUNREACH
	}
	r.Device = loopback
	r.MTU = min(m.links[lo.index].mtu, maxPacket)
	return r, nil
}

// outside completes the route by the device of this number.
func (m *Manager) outside(r Route, index int) (Route, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.links[index]
	if !ok { // it is very new
		return Route{}, fmt.Errorf("device %d: %w", index, unix.EHOSTUNREACH)
	}
	if d := m.devices[l.name]; d == nil || d.index != index {
		m.complain("the route is by a device that is not served", "device", l.name)
		return Route{}, fmt.Errorf("device %s is not served: %w", l.name, unix.EHOSTUNREACH)
	}
	r.Device = l.name
	if r.MTU == 0 || r.MTU > l.mtu {
		r.MTU = l.mtu
	}
	r.MTU = min(r.MTU, maxPacket)
	return r, nil
}

// complain writes into the log, once a second at most: who asks for routes is not to
// fill it. The caller holds the lock.
func (m *Manager) complain(text string, args ...any) {
	if now := time.Now(); now.Sub(m.complained) >= time.Second {
		m.complained = now
		m.log.Warn(text, args...)
	}
}
