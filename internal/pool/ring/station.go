package ring

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// Bounds on what other hosts can cost a station.
const (
	helloTimeout = time.Second            // for the first frame of a connection, each way
	frameTimeout = 200 * time.Millisecond // for a host that does not read
	penalty      = time.Second            // during which frames to such a host are dropped at once
	maxIncoming  = 4 * MaxHosts           // connections
)

// Errors of Send.
var (
	ErrNoHost = errors.New("no such host on the ring")
	ErrStuck  = errors.New("host does not read its frames")
	ErrClosed = errors.New("station is closed")
)

// Station is a connection server's membership of a ring: it finds the other
// hosts in the ring's directory and exchanges frames with them. There is no hub.
type Station struct {
	self    *membership
	dir     directory
	addrs   []netip.Addr
	handler func(Frame)
	lis     *net.UnixListener
	routes  routes
	wg      sync.WaitGroup // of goroutines that receive

	outgoing [MaxHosts]neighbour

	mu       sync.Mutex
	closed   bool
	channels map[*message.Channel]bool // all that are open

	counters stationCounters
}

type stationCounters struct {
	sent, looped, received                 atomic.Uint64
	stuck, noHost, badFrame, badSrc, hello atomic.Uint64
}

// StationCounters counts frames since Join.
type StationCounters struct {
	Sent, Looped, Received uint64

	DroppedStuck  uint64 // to a host that did not read in time
	DroppedNoHost uint64 // to a host that is not there
	DroppedBad    uint64 // received and malformed
	DroppedSrc    uint64 // received with the Src of another host than its sender
	RefusedHello  uint64 // connections refused
}

// Join makes this process a host on the ring in dir, with the lowest free ring
// id. Frames for it go to handler: each in its turn for one peer, at once for
// several, and for frames that the host sends to itself within Send. A frame's
// Files are the handler's, its PDU is valid until the handler returns. It is an
// error if the ring is full, if a host of it has one of addrs, or speaks
// another version.
func Join(dir string, addrs []netip.Addr, handler func(Frame)) (*Station, error) {
	return Rejoin(dir, addrs, handler, nil)
}

// Rejoin is Join for a host whose server has died: lock, which it takes over, is
// the lock on its ring id (Lock) that others have kept meanwhile.
func Rejoin(dir string, addrs []netip.Addr, handler func(Frame), lock *os.File) (*Station, error) {
	if err := checkAddrs(addrs); err != nil {
		return nil, err
	}
	d, err := openDirectory(dir)
	if err != nil {
		return nil, err
	}
	s := &Station{
		dir: d, addrs: slices.Clone(addrs), handler: handler,
		routes: routes{dir: d}, channels: make(map[*message.Channel]bool),
	}
	if s.self, err = d.join(s.addrs, lock, s.listen); err != nil {
		if s.lis != nil {
			s.lis.Close()
		}
		return nil, err
	}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *Station) listen(m *membership) (err error) {
	path := s.dir.file(m.id, ".sock")
	s.lis, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	s.lis.SetUnlinkOnClose(false) // membership.release does, while it has the lock
	return nil
}

func checkAddrs(addrs []netip.Addr) error {
	if len(addrs) == 0 || len(addrs) > MaxAddrs {
		return fmt.Errorf("ring: a host has 1 to %d addresses, not %d", MaxAddrs, len(addrs))
	}
	for i, a := range addrs {
		switch {
		case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.Is4In6(), a.Zone() != "":
			return fmt.Errorf("ring: %v cannot be the address of a host", a)
		case slices.Contains(addrs[:i], a):
			return fmt.Errorf("ring: address %v is given twice", a)
		}
	}
	return nil
}

// RingID returns the host's ring id.
func (s *Station) RingID() uint8 { return uint8(s.self.id) }

// Lock returns the descriptor of the lock on the host's ring id. As long as a copy
// of it is open anywhere the id is this host's.
func (s *Station) Lock() int { return int(s.self.lock.Fd()) }

// Route returns the ring id of the live host with an address, which may be this one.
func (s *Station) Route(a netip.Addr) (ringID uint8, ok bool) {
	if slices.Contains(s.addrs, a) {
		return s.RingID(), true
	}
	id, ok := s.routes.route(a)
	return uint8(id), ok
}

// Hosts returns all hosts that live on the ring, this one too.
func (s *Station) Hosts() []Host { return s.routes.live() }

// Counters returns what has been counted.
func (s *Station) Counters() StationCounters {
	c := &s.counters
	return StationCounters{
		Sent: c.sent.Load(), Looped: c.looped.Load(), Received: c.received.Load(),
		DroppedStuck: c.stuck.Load(), DroppedNoHost: c.noHost.Load(),
		DroppedBad: c.badFrame.Load(), DroppedSrc: c.badSrc.Load(), RefusedHello: c.hello.Load(),
	}
}

// Close leaves the ring and waits until the handler has returned for the last
// time. It must not be called by the handler.
func (s *Station) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for ch := range s.channels {
		ch.Close()
	}
	s.mu.Unlock()
	err := s.lis.Close()
	s.wg.Wait()
	s.routes.mu.Lock()
	s.routes.forget()
	s.routes.mu.Unlock()
	return errors.Join(err, s.self.release(s.dir))
}

// adopt notes a channel, so that Close can close it; it refuses when the station
// is closed.
func (s *Station) adopt(ch *message.Channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		ch.Close()
		return false
	}
	s.channels[ch] = true
	return true
}

func (s *Station) drop(ch *message.Channel) {
	ch.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.channels, ch)
}

// hello is this host's first frame to host id.
func (s *Station) hello(id int) Frame {
	return hello(wire.WellKnownVCI(s.self.id), wire.WellKnownVCI(id), s.addrs)
}
