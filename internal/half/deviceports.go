package half

import (
	"slices"

	"usertcp/internal/tcp"
)

// Over the host's devices the same goes, with smaller blocks, of which a mask says which
// ports are lent: those that the connection server could bind in the kernel, where
// thousands may be in use. What is on the way out there is the kernel's to know, which the server asks;
// so what was learnt about an end holds for a moment only.

// DevicePorts is the number of ports in a block for the devices.
const DevicePorts = 64

// routeFresh is how long a way by the devices is believed, its local address and MTU.
const routeFresh = tcp.Second

// deviceIdle is how long no port of the devices' blocks has been used when they are
// given back.
const deviceIdle = 60 * tcp.Second

// devicePort is freePort for a way by the devices.
func (h *Half) devicePort(r *route) (port uint16, was uint32) {
	if h.now-r.at > routeFresh {
		return 0, none
	}
	port, was = h.freePort(r, &h.ports.onDevices, DevicePorts, ^uint64(0))
	h.ports.dialled = h.now
	return port, was
}

// LeaseDevice notes that of a block of ports for the devices those are this pool's whose
// bits are set: bit n for port first+n.
func (b *Bottom) LeaseDevice(first uint16, ports uint64) (ok bool) {
	b.Change(func() {
		_, err := b.ports.onDevices.add(first, ports)
		ok = err == nil
	})
	return ok
}

// DeviceLeases returns the first ports of the blocks for the devices, and how often
// there was no port.
func (b *Bottom) DeviceLeases() (first []uint16, short uint32) {
	b.Change(func() {
		l := &b.ports.onDevices
		first, short = slices.Clone(l.blocks()), l.short
	})
	return first, short
}

// IdleDeviceLeases forgets the blocks for the devices of which no connection has a port,
// if none was used of late or the application has ended, and returns their first ports.
func (b *Bottom) IdleDeviceLeases() (first []uint16) {
	b.Change(func() {
		if l := &b.ports.onDevices; l.n > 0 && (b.ended || b.now-b.ports.dialled > deviceIdle) {
			first = b.dropIdle(l, DevicePorts)
		}
	})
	return first
}

// dropIdle takes the blocks out of l, of size ports each, of which no connection has a
// port.
func (b *Bottom) dropIdle(l *lent, size uint16) (idle []uint16) {
	used := map[uint16]bool{}
	for i := range min(b.ctl.conns.Fresh, MaxConns) {
		if a := &b.aux[i]; a.use != useFree {
			used[b.conns[i].Flow.Local.Port&^(size-1)] = true
		}
	}
	n := uint32(0)
	for block, first := range l.blocks() {
		if used[first] {
			l.first[n], l.mask[n] = first, l.mask[block]
			n++
		} else {
			idle = append(idle, first)
		}
	}
	l.n, l.at = n, 0
	return idle
}

var _ [64]struct{} = [DevicePorts]struct{}{} // a bit of a mask for each
