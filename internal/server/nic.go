package server

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/nic"
	"usertcp/internal/wire"
)

// A host may have devices of its own beside the ring, or instead of it. Each child
// gets a pool then, which owns what its application listens at and is connected to:
//
//	Listen bind     a local end, from the kernel too
//	Listen listen   Pool.Listen: what comes for it is the pool's
//	Forward open    a way by a device: Pool.Connect
//	Listen close    Pool.Unlisten; connections that outlive it were forwarded before
//	Forward close   Pool.Disconnect
//
// What no pool owns is the kernel's.

// openNIC takes the devices, if there are any to be served.
func (s *Server) openNIC() (err error) {
	if s.cfg.NIC == nil {
		return nil
	}
	cfg := *s.cfg.NIC
	if cfg.Log == nil {
		cfg.Log = s.log
	}
	cfg.Grew = s.ledger.grew
	if s.nic, err = nic.Open(cfg); err != nil {
		return err
	}
	s.ledger.grew(s.nic.MostMTU())
	s.ports.devices = s.nic.Addrs
	s.ports.ports = kernelPorts
	return nil
}

// closeNIC leaves the devices as they were.
func (s *Server) closeNIC() error {
	if s.nic == nil {
		return nil
	}
	return s.nic.Close()
}

// kernelPorts returns the kernel's range of ephemeral ports.
func kernelPorts() (first, last uint16) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	f := bytes.Fields(b)
	if err == nil && len(f) == 2 {
		low, err := strconv.ParseUint(string(f[0]), 10, 16)
		high, err2 := strconv.ParseUint(string(f[1]), 10, 16)
		if err == nil && err2 == nil && 0 < low && low <= high {
			return uint16(low), uint16(high)
		}
	}
	return firstEphemeral, lastEphemeral
}

// route returns the ring id of the host that has an address.
func (s *Server) route(a wire.Addr) (id uint8, ok bool) {
	if s.station == nil {
		return 0, false
	}
	return s.station.Route(a.Netip())
}

// onRing reports whether a host of the ring has an address.
func (s *Server) onRing(a wire.Addr) bool {
	_, ok := s.route(a)
	return ok
}

// leaveNIC is closeNIC for a server that could not start: pools that it has taken over
// are left for another one.
func (s *Server) leaveNIC() error {
	if s.nic == nil || len(s.nic.Pools()) > 0 {
		return nil
	}
	return s.nic.Close()
}

// endPools gives the pools that were taken over to their children, and ends those of
// which the child is no more.
func (s *Server) endPools() {
	if s.nic == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.nic.Pools() {
		if c := s.children[p.VCI().Stream()]; c != nil && c.vci == p.VCI() {
			c.pool = p
		} else if err := p.Close(); err != nil {
			s.log.Error("ending a pool of the server before", "vci", p.VCI(), "err", err)
		}
	}
}

// kernelAddrs returns the addresses at which the kernel has to keep a port for us:
// with devices any that it has, without them those of the ring that are the kernel's
// too.
func (s *Server) kernelAddrs(local wire.Addr) []netip.Addr {
	switch {
	case s.nic == nil || s.ports.onRing(local):
		return s.cfg.Addrs
	case local == wire.Addr{}:
		return []netip.Addr{netip.IPv6Unspecified()}
	}
	return []netip.Addr{local.Netip()}
}

// makePool gives a child its pool.
func (c *child) makePool() (err error) {
	if c.s.nic != nil && c.pool == nil {
		c.pool, err = c.s.nic.NewPool(c.vci)
	}
	return err
}

func (c *child) closePool() {
	if c.pool == nil {
		return
	}
	if err := c.pool.Close(); err != nil {
		c.s.log.Error("closing a pool", "vci", c.vci, "err", err)
	}
}

// tap returns the descriptor of the pool's device, or nil.
func (c *child) tap() *os.File {
	if c.pool == nil {
		return nil
	}
	return c.pool.File()
}

// listenMTU returns the MTU of connections to a listener at a, 0 if no device leads
// there.
func (s *Server) listenMTU(a wire.Addr) uint32 {
	if s.nic == nil || !a.IsZero() && !s.ports.onDevice(a) {
		return 0
	}
	return uint32(s.nic.LeastMTU())
}

// listenNIC lets SYNs come for a socket: by the ring, and by the devices.
func (c *child) listenNIC(id socketID) unix.Errno {
	ports := c.s.ports
	if errno := ports.listen(id); errno != 0 {
		return errno
	}
	local, s, _ := ports.listensAt(id)
	if c.pool == nil || !local.Addr.IsZero() && !ports.onDevice(local.Addr) {
		return 0
	}
	if err := c.pool.ListenShard(local, s.at, s.of); err != nil {
		ports.deafen(id)
		return errnoIn(err)
	}
	return 0
}

// unlistenNIC ends that for the devices.
func (c *child) unlistenNIC(id socketID) {
	local, s, listening := c.s.ports.listensAt(id)
	if c.pool == nil || !listening {
		return
	}
	_ = c.pool.UnlistenShard(local, s.at, s.of) // it has none if the address is the ring's
}

// openNIC takes a connection by a device. The errno is what the kernel's connect would
// return.
func (c *child) openNIC(m *message.Message, again bool) (g grant, errno unix.Errno) {
	if m.Remote.Port == 0 {
		return grant{local: m.Local}, unix.EINVAL
	}
	mtu, source, errno := c.wayNIC(m)
	if errno != 0 {
		return grant{local: m.Local}, errno
	}
	from := *m
	from.Local.Addr = source
	if m.Socket == message.NoSocket {
		g.local, errno = from.Local, c.s.ports.accepted(socketID{c.vci, m.Socket}, from.Local, m.Remote, false)
	} else {
		g, errno = c.open(&from, again)
	}
	if errno != 0 {
		return grant{local: m.Local}, errno
	}
	flow := wire.Flow{Local: g.local, Remote: m.Remote}
	if g.again {
		g.follows, errno = c.follow(flow)
	} else {
		errno = errnoIn(c.pool.Connect(flow))
	}
	if errno != 0 {
		c.s.ports.close(c.vci, flow)
		return grant{local: m.Local}, errno
	}
	g.mtu = mtu
	return g, 0
}

// wayNIC finds the way to the remote end of a connection, and its local address.
func (c *child) wayNIC(m *message.Message) (mtu uint32, source wire.Addr, errno unix.Errno) {
	remote, service := m.Remote.Addr.Netip(), m.Remote.Port
	if m.Socket == message.NoSocket {
		service = m.Local.Port
	}
	if err := c.s.nic.Permit(remote, service); err != nil {
		return 0, source, errnoIn(err)
	}
	r, err := c.s.nic.Route(remote)
	if err != nil {
		return 0, source, errnoIn(err)
	}
	if source = m.Local.Addr; source.IsZero() {
		source = wire.AddrFrom(r.Source)
	}
	c.know(source)
	switch {
	case m.Local.Addr.IsZero():
		return uint32(r.MTU), source, 0
	case !c.s.ports.onDevice(m.Local.Addr):
		return 0, source, unix.EADDRNOTAVAIL
	case m.Local.Addr.Is4() != m.Remote.Addr.Is4():
		return 0, source, unix.ENETUNREACH
	}
	return uint32(r.MTU), m.Local.Addr, 0
}

// know sees to it that an address which the host has just got is known.
func (c *child) know(a wire.Addr) {
	if c.s.nic != nil && !c.s.ports.onRing(a) {
		c.s.nic.Know(a)
	}
}

// disconnectNIC ends that. A connection by the ring has nothing there.
func (c *child) disconnectNIC(flow wire.Flow) {
	if c.pool != nil && c.s.ports.owns(c.vci, flow) {
		_ = c.pool.Disconnect(flow)
	}
}

// errnoIn returns the errno that an error is about, 0 if there is none.
func errnoIn(err error) unix.Errno {
	var errno unix.Errno
	if err == nil {
		return 0
	}
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}
