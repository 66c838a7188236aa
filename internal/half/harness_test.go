package half

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// arrangement is how the segments of a test's hosts are set up.
var arrangement atomic.Pointer[[]func(*shm.Segment) error]

// arrange sets the segments of all hosts up that the test makes from now on.
func arrange(t testing.TB, set ...func(*shm.Segment) error) {
	arrangement.Store(&set)
	t.Cleanup(func() { arrangement.Store(nil) })
}

// host is an application and its child in one process: two halves, each with its
// own mapping of one segment and its own driver.
type host struct {
	t      testing.TB
	addr   wire.Addr
	vci    wire.VCI
	page   *shm.Segment
	doors  [2]shm.Doorbell
	drv    *ring.Driver // the bottom half's
	topDrv *ring.Driver
	top    *Top
	bottom *Bottom
	slow   func(ip []byte)
	gone   atomic.Int32 // sockets of which the server was told that they are no more
	dead   bool         // the application died with the lock
	stop   chan struct{}
	loop   sync.WaitGroup
}

func check(t testing.TB, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

func duplicate(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	check(t, err)
	return n
}

// newHost makes host n, 10.1.0.n. Its bottom half does nothing until run.
func newHost(t testing.TB, n int, spin Spin) *host {
	t.Helper()
	return newHostWithLock(t, n, spin, shm.LockAdaptive)
}

func newHostWithLock(t testing.TB, n int, spin Spin, lock shm.LockKind) *host {
	t.Helper()
	sem, err := shm.NewSemaphore()
	check(t, err)
	t.Cleanup(func() { sem.Close() })
	h := &host{t: t, addr: wire.AddrFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(n)})), vci: wire.NewVCI(n, 1), stop: make(chan struct{})}
	seg, err := shm.Create("test-half", Version, Specs(ring.Specs())...)
	check(t, err)
	check(t, Initialise(seg, 65535))
	check(t, SetLock(seg, lock, 0))
	if all := arrangement.Load(); all != nil {
		for _, set := range *all {
			check(t, set(seg))
		}
	}
	check(t, ring.Initialise(seg, false))
	h.page, err = ring.NewBellPage()
	check(t, err)
	for i := range h.doors {
		h.doors[i], err = shm.NewDoorbell()
		check(t, err)
	}
	other, err := shm.Attach(duplicate(t, seg.Fd()), Version, true)
	check(t, err)
	h.drv, err = ring.NewDriver(seg, h.vci)
	check(t, err)
	h.topDrv, err = ring.NewDriver(other, h.vci)
	check(t, err)
	bell, err := shm.One[shm.Bell](h.page, ring.SectionBell)
	check(t, err)
	clock := Clock()
	h.bottom, err = NewBottom(Config{Segment: seg, Driver: h.drv, Bell: bell, Doorbells: h.doors, Clock: clock, Semaphore: sem}, h)
	check(t, err)
	h.top, err = NewTop(Config{Segment: other, Driver: h.topDrv, Bell: bell, Doorbells: h.doors, Clock: clock, Semaphore: sem}, spin, h.fetch)
	check(t, err)
	t.Cleanup(func() {
		h.halt()
		if !h.dead {
			h.top.Close()
			// A timer that has fired already is still to find that out, and must not do
			// so under a test's scheduler.
			time.Sleep(20 * watchPeriod)
		}
	})
	return h
}

// Send and Gone are what the connection server does for the bottom half.
func (h *host) Send(ip []byte) {
	if h.slow != nil {
		h.slow(ip)
	}
}

func (h *host) Gone(_ uint32, _ Registered, _ wire.Flow, done func()) {
	h.gone.Add(1)
	go done()
}

// fetch maps in the top half what the bottom half has mapped.
func (h *host) fetch() error {
	var missing []uint16
	h.top.Change(func() {
		h.topDrv.Prune()
		missing = h.topDrv.Missing(nil)
	})
	for _, i := range missing {
		var files []int
		for _, fd := range h.drv.Files(i) {
			files = append(files, duplicate(h.t, fd))
		}
		var err error
		h.top.Change(func() { err = h.topDrv.Map(i, files) })
		if err != nil {
			return err
		}
	}
	return nil
}

// run does what the child does, until halt.
func (h *host) run() {
	h.loop.Go(func() {
		next := time.Now().Add(Tick)
		for {
			select {
			case <-h.stop:
				return
			default:
			}
			p := []unix.PollFd{{Fd: int32(h.doors[1].Fd()), Events: unix.POLLIN}}
			n, _ := unix.Poll(p, int(Tick/time.Millisecond))
			if n == 1 {
				h.doors[1].Clear()
				h.bottom.Look(false)
			}
			if time.Now().After(next) {
				next = time.Now().Add(Tick)
				h.bottom.Look(true)
			}
		}
	})
}

func (h *host) halt() {
	select {
	case <-h.stop:
	default:
		close(h.stop)
	}
	h.loop.Wait()
}

func (h *host) offers(mem *shm.Segment) (p ring.Peer) {
	var err error
	p.Memory, err = mem.ReadOnly()
	check(h.t, err)
	p.Bell, err = h.page.ReadOnly()
	check(h.t, err)
	p.Top, p.Bottom = duplicate(h.t, h.doors[0].Fd()), duplicate(h.t, h.doors[1].Fd())
	return p
}

func (h *host) offer(to *host) (i uint16, mem *shm.Segment) {
	mem, err := h.drv.NewMemory(to.vci)
	check(h.t, err)
	h.bottom.Change(func() { i, err = h.drv.Offer(to.vci, mem) })
	check(h.t, err)
	return i, mem
}

func (h *host) complete(i uint16, p ring.Peer) {
	var err error
	h.bottom.Change(func() { err = h.drv.Complete(i, p) })
	check(h.t, err)
}

// newHosts makes two hosts with a circuit, number 0 at both.
func newHosts(t testing.TB, spin Spin) (a, b *host) {
	t.Helper()
	return newHostsWithLock(t, spin, shm.LockAdaptive)
}

func newHostsWithLock(t testing.TB, spin Spin, lock shm.LockKind) (a, b *host) {
	t.Helper()
	a, b = newHostWithLock(t, 1, spin, lock), newHostWithLock(t, 2, spin, lock)
	ia, memA := a.offer(b)
	ib, memB := b.offer(a)
	a.complete(ia, b.offers(memB))
	b.complete(ib, a.offers(memA))
	a.slow = func(ip []byte) { b.bottom.Arrive(ip, ib) }
	b.slow = func(ip []byte) { a.bottom.Arrive(ip, ia) }
	return a, b
}

const testPort = 7000

func (h *host) listen(port uint16) *Socket {
	h.t.Helper()
	l, err := h.top.Open()
	check(h.t, err)
	l.Listen(wire.Endpoint{Addr: h.addr, Port: port}, 16)
	return l
}

var nextPort atomic.Uint32

// dial begins an active open.
func (h *host) dial(to *host, port uint16) *Socket {
	h.t.Helper()
	s, err := h.top.Open()
	check(h.t, err)
	flow := wire.Flow{
		Local:  wire.Endpoint{Addr: h.addr, Port: uint16(20000 + nextPort.Add(1)%20000)},
		Remote: wire.Endpoint{Addr: to.addr, Port: port},
	}
	if !h.bottom.Connect(s.Index(), flow, 0) {
		h.t.Fatal("Connect refused")
	}
	return s
}

// connect returns both ends of a new connection, which do without Nagle's
// algorithm, as the library's connections do.
func connect(t testing.TB, a, b *host) (ca, cb *Socket) {
	t.Helper()
	l := b.listen(testPort)
	ca = a.dial(b, testPort)
	cb, err := l.Accept()
	check(t, err)
	check(t, ca.Connected())
	check(t, l.Close())
	for _, s := range []*Socket{ca, cb} {
		check(t, s.Options(func(o *tcp.ConnOptions) { o.NoDelay = 1 }))
	}
	return ca, cb
}

// patience bounds every wait for what must happen. It costs nothing if that does.
const patience = time.Minute

// wantWithin waits until cond holds.
func wantWithin(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func octets(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// readFull reads as much as fits into p.
func readFull(s *Socket, p []byte) error {
	for at := 0; at < len(p); {
		n, err := s.Read(p[at:])
		if at += n; err != nil {
			return fmt.Errorf("after %d of %d octets: %w", at, len(p), err)
		}
	}
	return nil
}

func wantRead(t testing.TB, s *Socket, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	check(t, readFull(s, got))
	if !bytes.Equal(got, want) {
		t.Fatalf("read %d octets that are not those written", len(got))
	}
}

func wantIdle(t testing.TB, h *host) {
	t.Helper()
	wantWithin(t, "nothing to be in use", func() bool {
		u := h.top.Usage()
		return u.Idle()
	})
}
