package nic

import (
	"encoding/binary"
	"syscall"
	"time"

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
	routes bool         // a route that has an MTU of its own has come, changed or gone
	least  map[int]int  // the smallest MTU of each device
	served map[int]int  // the MTUs of those that are served, when the burst began
	ways   bool         // packets may go by another device
	to     map[int]bool // devices of routes that have come or changed
	from   map[int]bool // devices of routes that have gone
	down   map[int]bool // devices that were switched off, or have gone, and their routes
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
	*h = heard{least: map[int]int{}, served: m.served(), to: map[int]bool{}, from: map[int]bool{}, down: map[int]bool{}}
	for index, l := range m.links {
		h.least[index] = l.mtu
	}
}

// grown reports whether a packet to somebody may be larger now than when the burst was on,
// since a device or a route has grown, or if moved since it goes by another device; and
// begins anew.
func (m *Manager) grown(h *heard) (grown, moved bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	grown = h.routes
	for _, d := range m.devices {
		least, ok := h.least[d.index]
		grown = grown || ok && m.links[d.index].mtu > least
	}
	moved = m.moved(h)
	h.renew(m)
	return grown, moved
}

// moved reports whether packets may go by a device now that carries more than another
// that is served, by which they may have gone. What is this host's own does not move.
// m.mu is held.
func (m *Manager) moved(h *heard) bool {
	served := m.served()
	for index, mtu := range h.served {
		if _, ok := served[index]; !ok {
			served[index] = mtu // it has gone
		}
	}
	least, most := maxPacket, 0
	for _, mtu := range served {
		least, most = min(least, mtu), max(most, mtu)
	}
	if least >= most {
		return false
	}
	moved := h.ways
	for index := range h.to {
		moved = moved || served[index] > least
	}
	for index := range h.from {
		moved = moved || served[index] < most // or is not served, which carries nothing
	}
	for index := range h.down {
		_, ok := served[index]
		moved = moved || ok && served[index] < most
	}
	return moved
}

// served returns the MTUs of the devices that are served, less lo. m.mu is held.
func (m *Manager) served() map[int]int {
	served := map[int]int{}
	for name, d := range m.devices {
		if l, ok := m.links[d.index]; ok && name != loopback {
			served[d.index] = l.mtu
		}
	}
	return served
}

// movePause is how long after a word that packets may go by another device the next one
// is given at the earliest: connections that it does not concern try in vain what it says.
const movePause = 5 * time.Second

// growths says when a growth is to be told of.
type growths struct {
	last time.Time // when routes were told of that have moved
	owed time.Time // when such a word is due; zero: none is
}

// due reports whether it is to be told now that packets may be larger.
func (g *growths) due(now time.Time, grown, moved bool) bool {
	if moved && g.owed.IsZero() {
		g.owed = g.last.Add(movePause)
	}
	if !g.owed.IsZero() && !now.Before(g.owed) {
		g.last, g.owed = now, time.Time{}
		return true
	}
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
		case unix.RTM_NEWRULE, unix.RTM_DELRULE:
			h.ways = true
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			h.takeLink(m)
		}
	}
}

func (h *heard) takeRoute(m *syscall.NetlinkMessage) {
	device, within := 0, false
	h.each(m.Data, unix.SizeofRtMsg, func(kind uint16, value []byte) {
		switch {
		case kind == unix.RTA_METRICS:
			h.each(value, 0, func(kind uint16, _ []byte) { h.routes = h.routes || kind == unix.RTAX_MTU })
		case kind == unix.RTA_OIF && len(value) == 4:
			device = int(int32(binary.NativeEndian.Uint32(value)))
		case kind == unix.RTA_DST && len(value) == 16:
			within = within || value[0] == 0xff || value[0] == 0xfe && value[1]&0xc0 == 0x80
		}
	})
	const typeAt = 7 // of struct rtmsg
	switch {
	case within || len(m.Data) <= typeAt || m.Data[typeAt] != unix.RTN_UNICAST: // nothing goes from device to device there
	case device == 0:
		h.ways = true // it has several
	case m.Header.Type == unix.RTM_NEWROUTE:
		h.to[device] = true
	default:
		h.from[device] = true
	}
}

func (h *heard) takeLink(m *syscall.NetlinkMessage) {
	if len(m.Data) >= unix.SizeofIfInfomsg {
		h.takeFlags(m)
	}
	h.each(m.Data, unix.SizeofIfInfomsg, func(kind uint16, value []byte) {
		index := int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
		if least, ok := h.least[index]; ok && kind == unix.IFLA_MTU && len(value) == 4 {
			h.least[index] = min(least, int(binary.NativeEndian.Uint32(value)))
		}
	})
}

// takeFlags notes a device that is off, with which the kernel drops its routes of IPv4
// without a word.
func (h *heard) takeFlags(m *syscall.NetlinkMessage) {
	index := int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	flags, change := binary.NativeEndian.Uint32(m.Data[8:]), binary.NativeEndian.Uint32(m.Data[12:])
	if m.Header.Type == unix.RTM_DELLINK || change&unix.IFF_UP != 0 && flags&unix.IFF_UP == 0 {
		h.down[index] = true
	}
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
