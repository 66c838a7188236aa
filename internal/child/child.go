package child

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// child is the state of the process.
type child struct {
	cfg     config
	started time.Time
	link    atomic.Pointer[link]    // to the server
	program atomic.Pointer[program] // the application's present process
	handing handing

	began  chan struct{} // closed when there is a segment
	legacy chan legacy   // of the child before this one
	coming legacy        // as far as it has come

	seg    *shm.Segment
	bell   *shm.Segment
	doors  [2]shm.Doorbell
	sem    shm.Semaphore // of a lock that is one
	driver *ring.Driver
	nic    *nic.Driver // nil if the pool has no device
	poll   int         // what the bottom half sleeps on; 0: its doorbell
	bottom *half.Bottom

	circuits     sync.Mutex                // one change of circuits at a time
	waiting      map[wire.VCI][]waitingSyn // SYNs from peers to whom a circuit is being made
	moving       map[wire.VCI][]wire.Flow  // connections that such peers have now
	claims       sync.Mutex                // one round of claims at a time
	record       record
	agreed       sync.RWMutex    // held while the server's word is on its way into record
	kept         map[uint16]bool // circuits that the server keeps for a successor; c.circuits is held
	sockets      [socketLocks]sync.Mutex
	leases       leases
	deviceLeases deviceLeases
	yielding     sync.Mutex    // while a connection in TIME-WAIT is given up for another
	requests     chan struct{} // room for requests in progress
	asked        chan struct{} // room for the server's questions
	sought       chan struct{} // room for questions where a connection has gone
	limits       limits
	ticker       *ticker
	kick         chan struct{} // there may be live connections
	ended        chan struct{} // closed when the application has gone
	owing        atomic.Int32  // sockets of which the server has to be told that they are no more
	alone        chan struct{} // closed when the application has gone and nothing else is left
}

// maxRequests is how many of the application's requests are worked on at once.
const maxRequests = 64

func newChild(cfg config, control, frames, user *message.Channel, userFile *os.File) (*child, error) {
	c := &child{
		cfg: cfg, started: time.Now(),
		began: make(chan struct{}), legacy: make(chan legacy, 1),
		waiting:  map[wire.VCI][]waitingSyn{},
		moving:   map[wire.VCI][]wire.Flow{},
		kept:     map[uint16]bool{},
		requests: make(chan struct{}, maxRequests),
		asked:    make(chan struct{}, maxAsked),
		sought:   make(chan struct{}, maxSought),
		limits:   limits{heard: make(chan struct{})},
		kick:     make(chan struct{}, 1),
		ended:    make(chan struct{}),
		alone:    make(chan struct{}),
	}
	var err error
	if c.ticker, err = newTicker(); err != nil {
		return nil, err
	}
	p := newProgram(user, userFile)
	p.taken = true
	c.program.Store(p)
	c.handing.takers = make(chan *program, 1)
	c.link.Store(newLink(control, frames, c.fromServer))
	return c, nil
}

// begin makes the segment, or takes over that of the child that was before.
func (c *child) begin() error {
	if c.cfg.successor {
		return c.succeed()
	}
	if err := c.makeSegment(); err != nil {
		return err
	}
	return c.useSegment()
}

// makeSegment makes all that the application will share with its child.
func (c *child) makeSegment() error {
	var err error
	if c.seg, err = shm.Create("usertcp-segment", half.Version, half.Specs(append(ring.Specs(), nic.Specs()...))...); err != nil {
		return err
	}
	if err := errors.Join(half.Initialise(c.seg, c.cfg.mtu), half.CheckPorts(c.seg), ring.Initialise(c.seg, c.cfg.crc), nic.Initialise(c.seg), c.arrange()); err != nil {
		return err
	}
	if c.bell, err = ring.NewBellPage(); err != nil {
		return err
	}
	for i := range c.doors {
		if c.doors[i], err = shm.NewDoorbell(); err != nil {
			return err
		}
	}
	return nil
}

// arrange sets up who takes packets, where buffers come from, how often payloads are
// copied, and which lock there is.
func (c *child) arrange() (err error) {
	for _, o := range []struct {
		on  bool
		set func(*shm.Segment) error
	}{{c.cfg.takes, half.SetChildTakes}, {c.cfg.cache, half.SetBufferCache}, {c.cfg.copies, half.SetCopies}, {c.cfg.unplaced, half.SetUnplaced}} {
		if o.on {
			err = errors.Join(err, o.set(c.seg))
		}
	}
	if c.cfg.lock == shm.LockSemaphore {
		var e error
		c.sem, e = shm.NewSemaphore()
		err = errors.Join(err, e)
	}
	return errors.Join(err, half.SetLock(c.seg, c.cfg.lock, c.cfg.cpu))
}

// useSegment makes the bottom half on the segment.
func (c *child) useSegment() error {
	bell, err := shm.One[shm.Bell](c.bell, ring.SectionBell)
	if err != nil {
		return err
	}
	if c.driver, err = ring.NewDriver(c.seg, c.cfg.vci); err != nil {
		return err
	}
	driver, err := c.joinNIC()
	if err != nil {
		return err
	}
	c.bottom, err = half.NewBottom(half.Config{
		Segment: c.seg, Driver: driver, Bell: bell, Doorbells: c.doors, Semaphore: c.sem,
	}, outside{c})
	return err
}

// serve works until the application has gone and all its connections have ended.
func (c *child) serve() error {
	close(c.began)
	c.awaitLimits()
	c.tell(c.keptMemory())
	p := c.program.Load()
	if err := c.greet(p); err != nil && !c.cfg.successor {
		return fmt.Errorf("application %d: %w", p.pid, err)
	}
	go c.receiveFrames(c.link.Load())
	go c.awaitServers()
	go c.servePrograms()
	go c.overlook()
	go c.hear()
	return c.tick()
}

// hear looks when the child's doorbell rings.
func (c *child) hear() {
	if c.nic != nil {
		c.hearNIC()
		return
	}
	fd, err := unix.FcntlInt(uintptr(c.doors[1].Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return // ticks do, more slowly
	}
	bell := os.NewFile(uintptr(fd), "doorbell")
	var b [8]byte
	for {
		c.look()
		if _, err := bell.Read(b[:]); err != nil {
			return
		}
	}
}

// letIn is how long the lock is left alone for others, after a long time with it.
const letIn = 100 * time.Microsecond

// look looks, first of all before anything has rung: if the child takes all packets its
// peers and its device wake it only when it has said that it sleeps.
func (c *child) look() {
	for c.bottom.Look(false) {
		time.Sleep(letIn)
	}
	c.wake()
}

// wake makes the ticking begin if there is something to tick for, and the next tick come
// soon.
func (c *child) wake() {
	c.ticker.hurry()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// tick looks at each tick, as long as there are live connections.
func (c *child) tick() error {
	t := c.ticker
	defer t.close()
	handed := time.Now()
	vacated := handed
	for {
		for c.bottom.Live() == 0 {
			if err := t.every(0); err != nil {
				return err
			}
			c.collect()
			c.report(true)
			select {
			case <-c.kick:
			case <-c.ended:
				if c.bottom.Live() == 0 {
					return c.leave()
				}
			}
		}
		if err := t.every(c.bottom.NextTick()); err != nil {
			return err
		}
		if err := t.wait(); err != nil {
			return err
		}
		c.mayLeave()
		if c.bottom.Look(true) {
			c.doors[1].Ring()
		}
		c.report(false)
		if time.Since(handed) >= remnantPeriod {
			c.collect()
			c.handRemnants()
			handed = time.Now()
		}
		if time.Since(vacated) >= lingerPeriod {
			c.vacate()
			vacated = time.Now()
		}
	}
}

// memoryFiles are the descriptors of all that the application shares with its child.
func (c *child) memoryFiles() []int {
	files := []int{c.seg.Fd(), c.bell.Fd(), c.doors[0].Fd(), c.doors[1].Fd()}
	if fd := c.sem.Fd(); fd >= 0 {
		files = append(files, fd)
	}
	if c.cfg.tap != 0 {
		files = append(files, c.cfg.tap)
	}
	return files
}

// leave tells the server, if it is there still, that the child ends.
func (c *child) leave() error {
	c.tell(message.Message{Type: message.Keep, N: message.KeepEnd})
	if err := c.link.Load().control.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// outside is what the bottom half needs of the child.
type outside struct{ c *child }

// Send implements half.Outside: the server finds the host that has the
// destination address.
func (o outside) Send(ip []byte) {
	c := o.c
	f := ring.NewPDU(c.cfg.vci, 0, ip)
	c.send(&f)
}

// Gone implements half.Outside.
func (o outside) Gone(socket uint32, what half.Registered, flow wire.Flow, done func()) {
	go func() {
		o.c.giveBackAtLast(socket, what, flow)
		done()
		o.c.wake()
	}()
}
