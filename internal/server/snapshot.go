package server

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// Snapshot is a server at one moment.
type Snapshot struct {
	RingID   int
	Addrs    []netip.Addr
	Children []ChildInfo // in the order of their VCIs
	Hosts    []ring.Host
	Counters Counters
	Ring     ring.StationCounters

	Limits    LimitsInfo
	TimeWaits int // connections in TIME-WAIT whose child has ended
	NIC       nic.Counters
}

// ChildInfo is what a server knows of one child.
type ChildInfo struct {
	VCI      wire.VCI
	PID      int // the child's
	AppPID   int // of the application, as it was when it connected
	UID      int // the application's
	Started  time.Time
	Ports    int // bound
	Flows    int // forwarded connections
	Leases   int // blocks of ports from which it connects without asking
	Circuits int
	Usage    message.PoolUsage // what it has said last

	// What the child says itself, if it was asked: see Status. Nil if it did not answer.
	Sockets *message.SocketList `json:",omitempty"`
}

// Snapshot returns the server's present state.
func (s *Server) Snapshot() Snapshot {
	snap := Snapshot{
		RingID: s.RingID(), Addrs: slices.Clone(s.cfg.Addrs), Counters: s.counters.snapshot(),
		TimeWaits: s.timeWaits.count(),
	}
	if s.station != nil {
		snap.Hosts, snap.Ring = s.station.Hosts(), s.station.Counters()
	}
	if s.nic != nil {
		snap.NIC, _ = s.nic.Counters()
		snap.Addrs = append(snap.Addrs, s.nic.Addrs()...)
	}
	s.mu.Lock()
	var ready []*child
	for _, c := range s.children {
		select {
		case <-c.ready:
			ready = append(ready, c)
		default: // its process is being started
		}
	}
	snap.Limits = s.ledger.info(s.perUID)
	s.mu.Unlock()
	for _, c := range ready {
		snap.Children = append(snap.Children, c.info())
	}
	slices.SortFunc(snap.Children, func(a, b ChildInfo) int { return cmp.Compare(a.VCI, b.VCI) })
	return snap
}

func (c *child) info() ChildInfo {
	ports, flows := c.s.ports.count(c.vci)
	c.mu.Lock()
	circuits, app := len(c.peers), c.app
	c.mu.Unlock()
	return ChildInfo{
		VCI: c.vci, PID: c.pid(), AppPID: app.pid, UID: app.uid, Started: c.started,
		Ports: ports, Flows: flows, Leases: c.s.ports.lent(c.vci), Circuits: circuits, Usage: c.s.ledger.usage(c),
	}
}
