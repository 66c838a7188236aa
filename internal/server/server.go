package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"usertcp/internal/message"
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// Server is a running connection server.
type Server struct {
	cfg      Config
	log      *slog.Logger
	lis      *net.UnixListener
	station  *ring.Station // nil if the host is on no ring
	nic      *nic.Manager  // nil if it serves no devices
	ports    *portSpace
	counters counters
	wg       sync.WaitGroup // of all goroutines but the station's
	stopping chan struct{}
	stop     sync.Once

	// joined is closed when station is set: frames may come before.
	joined chan struct{}

	mu       sync.Mutex
	ledger   *ledger
	messages *turns // of applications
	polls    *turns // … that children have to answer
	streams  streams
	children map[int]*child // by stream
	meetings *meetings

	timeWaits  *timeWaits
	waiting    waiting
	foreign    []foreign                // children that stay without server
	formerLock *os.File                 // on the ring id, from the children of the server before
	apps       map[*message.Channel]int // whose they are
	perUID     map[int]int              // children
	offers     offers
}

// Run runs a server until ctx is done, and then stops it in order: its children
// are asked to end, and killed if they do not; or until cfg.Leave says so, and then
// the process has to end, as if it were killed. The error says why it could not
// start or did not stop cleanly.
func Run(ctx context.Context, cfg Config) error {
	s, err := Start(cfg)
	if err != nil {
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready(s)
	}
	select {
	case <-ctx.Done():
		return s.Close()
	case <-cfg.Leave:
		s.log.Info("gone: the children wait for the next server", "socket", cfg.Socket)
		return nil
	}
}

// Start starts a server. Applications can connect when it returns.
func Start(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log,
		ports:    newPortSpace(cfg.Addrs),
		ledger:   newLedger(cfg.Limits),
		messages: newTurns(messagePeriod, messageBurst),
		polls:    newTurns(pollPeriod, pollBurst),
		stopping: make(chan struct{}),
		joined:   make(chan struct{}),
		children: make(map[int]*child),
		apps:     make(map[*message.Channel]int),
		perUID:   make(map[int]int),
	}
	var err error
	if s.lis, err = listen(cfg.Socket); err != nil {
		cfg.program.close()
		return nil, err
	}
	if err := s.join(); err != nil {
		cfg.program.close()
		s.lis.Close()
		return nil, err
	}
	close(s.joined)
	s.takeCensus()
	s.wg.Go(s.watchForeign)
	s.wg.Go(s.grant)
	s.wg.Go(s.accept)
	s.log.Info("ready", "ring", cfg.Ring, "id", s.RingID(), "addresses", cfg.Addrs, "socket", cfg.Socket)
	return s, nil
}

// join goes on the ring, with the children of the server before this one if there
// are any.
func (s *Server) join() (err error) {
	if s.meetings, err = openMeetings(s.cfg.Socket); err != nil {
		return err
	}
	if s.timeWaits, err = openTimeWaits(s.meetings.path); err != nil {
		s.meetings.close()
		return err
	}
	s.ports.waiting, s.ports.waitingPorts = s.timeWaits.has, s.timeWaits.ports
	s.ports.waitingSince, s.ports.vacate = s.timeWaits.since, s.timeWaits.vacate
	s.ports.over = func(lender wire.VCI, f wire.Flow) { go s.tellOver(lender, f) }
	s.waiting.s = s
	s.timeWaits.tell(s.waiting.leave)
	lock, err := (*os.File)(nil), s.openNIC()
	if err == nil {
		lock, err = s.adoptChildren()
	}
	if err == nil && s.cfg.Ring != "" {
		s.station, err = ring.Rejoin(s.cfg.Ring, s.cfg.Addrs, s.fromStation, lock)
	}
	if err == nil {
		s.endPools()
		s.resumeTimeWaits()
		return nil
	}
	s.abandonChildren()
	s.timeWaits.close(true)
	s.meetings.close()
	return fmt.Errorf("server: %w", errors.Join(err, s.leaveNIC()))
}

// abandonChildren leaves the children for another server: this one can't start.
func (s *Server) abandonChildren() {
	close(s.stopping)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.children {
		c.control.Load().Channel().Close()
		c.frames.ch.Close()
		c.dropAll()
	}
}

// RingID returns the host's ring id, 0 if it is on no ring.
func (s *Server) RingID() int {
	if s.station == nil {
		return 0
	}
	return int(s.station.RingID())
}

// vci returns the server's own, well-known VCI.
func (s *Server) vci() wire.VCI { return wire.WellKnownVCI(s.RingID()) }

// Close stops the server: no more applications, then no more children, then off
// the ring. It returns when nothing of it runs any more.
func (s *Server) Close() error {
	var err error
	s.stop.Do(func() {
		close(s.stopping)
		err = s.lis.Close() // removes the socket's file too
		s.stopChildren()
		s.closeApplications()
		s.waiting.close()
		s.wg.Wait()
		if s.station != nil {
			err = errors.Join(err, s.station.Close())
		}
		err = errors.Join(err, s.closeNIC())
		s.timeWaits.close(false)
		s.cfg.program.close()
		s.meetings.close()
		s.log.Info("stopped", "socket", s.cfg.Socket)
	})
	return err
}

// hasJoined waits until the server is on the ring; it reports false if it stops
// before that.
func (s *Server) hasJoined() bool {
	select {
	case <-s.joined:
		return true
	case <-s.stopping:
	}
	select {
	case <-s.joined:
		return true
	default:
		return false
	}
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// counters count since the start.
type counters struct {
	spawned, exited, refused      atomic.Uint64
	restarted, adopted            atomic.Uint64
	syns, resets, toChild         atomic.Uint64
	relayed                       atomic.Uint64
	badApplication, badChild      atomic.Uint64
	forgedFrames, badPackets      atomic.Uint64
	unreachable, stuck, synsQueue atomic.Uint64
	killed                        atomic.Uint64
}

// Counters are what a server has counted since its start.
type Counters struct {
	Spawned uint64 // children started
	Exited  uint64 // children that have ended
	Refused uint64 // Spawns answered with an errno

	Restarted uint64 // children that got a new process
	Adopted   uint64 // children taken over from the server before
	Killed    uint64 // orphans ended by name

	Syns    uint64 // given to a listening child
	Resets  uint64 // sent in answer to segments that nobody owns
	ToChild uint64 // frames given to children
	Relayed uint64 // frames of children given to the ring

	BadApplication uint64 // applications whose channel was closed for garbage
	BadChild       uint64 // the same of children
	Forged         uint64 // frames of children in another's name, dropped
	BadPackets     uint64 // to the well-known VCI and not TCP for this host, dropped
	Unreachable    uint64 // PDUs returned for want of a host
	Stuck          uint64 // frames for children that did not read in time, dropped
	SynsQueue      uint64 // SYNs dropped since a child had too many to answer
}

func (c *counters) snapshot() Counters {
	return Counters{
		Spawned: c.spawned.Load(), Exited: c.exited.Load(), Refused: c.refused.Load(),
		Restarted: c.restarted.Load(), Adopted: c.adopted.Load(), Killed: c.killed.Load(),
		Syns: c.syns.Load(), Resets: c.resets.Load(), ToChild: c.toChild.Load(), Relayed: c.relayed.Load(),
		BadApplication: c.badApplication.Load(), BadChild: c.badChild.Load(),
		Forged: c.forgedFrames.Load(), BadPackets: c.badPackets.Load(),
		Unreachable: c.unreachable.Load(), Stuck: c.stuck.Load(), SynsQueue: c.synsQueue.Load(),
	}
}
