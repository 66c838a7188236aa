package nic

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// LeastMTU returns the smallest MTU of the devices that are served, in octets: what a
// packet to whoever comes by any of them may have. That of lo counts only if there is
// no other.
func (m *Manager) LeastMTU() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	least := maxPacket
	for name, d := range m.devices {
		if l, ok := m.links[d.index]; ok && name != loopback {
			least = min(least, l.mtu)
		}
	}
	return least
}

// MostMTU returns the largest MTU of the devices that are served, lo among them.
func (m *Manager) MostMTU() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	most := 0
	for _, d := range m.devices {
		most = max(most, m.links[d.index].mtu) // 0 if it is not there
	}
	return min(most, maxPacket)
}

// heard is what netlink messages say of MTUs. Changes come in bursts, and what a device
// had in between is to be seen from the messages alone.
type heard struct {
	routes bool        // a route that has an MTU of its own has come, changed or gone
	least  map[int]int // the smallest MTU of each device
}

// hearing returns what is to be heard next, beginning with what the devices have now.
func (m *Manager) hearing() *heard {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := &heard{}
	h.renew(m)
	return h
}

// renew begins anew. m.mu is held.
func (h *heard) renew(m *Manager) {
	h.routes, h.least = false, map[int]int{}
	for index, l := range m.links {
		h.least[index] = l.mtu
	}
}

// grown reports whether a packet to somebody may be larger now than when the burst was on,
// and begins anew.
func (m *Manager) grown(h *heard) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	grown := h.routes
	for _, d := range m.devices {
		least, ok := h.least[d.index]
		grown = grown || ok && m.links[d.index].mtu > least
	}
	h.renew(m)
	return grown
}

// take takes the messages in b. What cannot be read may be anything.
func (h *heard) take(b []byte) {
	all, err := syscall.ParseNetlinkMessage(b)
	h.routes = h.routes || err != nil
	for i := range all {
		switch m := &all[i]; m.Header.Type {
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			h.takeRoute(m)
		case unix.RTM_NEWLINK:
			h.takeLink(m)
		}
	}
}

func (h *heard) takeRoute(m *syscall.NetlinkMessage) {
	h.each(m.Data, unix.SizeofRtMsg, func(kind uint16, value []byte) {
		if kind == unix.RTA_METRICS {
			h.each(value, 0, func(kind uint16, _ []byte) { h.routes = h.routes || kind == unix.RTAX_MTU })
		}
	})
}

func (h *heard) takeLink(m *syscall.NetlinkMessage) {
	h.each(m.Data, unix.SizeofIfInfomsg, func(kind uint16, value []byte) {
		index := int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
		if least, ok := h.least[index]; ok && kind == unix.IFLA_MTU && len(value) == 4 {
			h.least[index] = min(least, int(binary.NativeEndian.Uint32(value)))
		}
	})
}

// each calls f with the attributes in b, which are behind a header of some octets.
// (syscall.ParseNetlinkRouteAttr reads beyond the end of what is not as it should be.)
func (h *heard) each(b []byte, header int, f func(kind uint16, value []byte)) {
	if len(b) < header {
		h.routes = true
		return
	}
	for b = b[header:]; len(b) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			h.routes = true
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}
