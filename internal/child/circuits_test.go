package child_test

import (
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/testhost"
	"usertcp/internal/wire"
)

// otherPool is the pool of another host, without a child: the test says what it sends.
type otherPool struct {
	t       *testing.T
	station *ring.Station
	vci, to wire.VCI
	driver  *ring.Driver
	bell    *shm.Segment
	frames  chan ring.Frame
	app     *application // to whose child it talks
	host    *testhost.Host
}

// newOtherPool makes one beside a host with an application, whose child it talks to.
func newOtherPool(t *testing.T) *otherPool {
	t.Helper()
	dir := testhost.Dir(t)
	p := &otherPool{t: t, host: testhost.Start(t, dir, testhost.Addrs(1)...), frames: make(chan ring.Frame, 64)}
	p.app = attach(t, p.host)
	wantChildren(t, p.host, 1)
	p.to = p.app.init.VCI
	var err error
	p.station, err = ring.Join(filepath.Join(dir, "ring"), []netip.Addr{netip.MustParseAddr("10.1.0.7")}, func(f ring.Frame) { p.frames <- f })
	p.check(err)
	t.Cleanup(func() { p.station.Close() })
	p.vci = wire.NewVCI(int(p.station.RingID()), 1)
	seg, err := shm.Create("test-ring", ring.Version, ring.Specs()...)
	p.check(err)
	p.driver, err = ring.NewDriver(seg, p.vci)
	p.check(err)
	p.bell, err = ring.NewBellPage()
	p.check(err)
	t.Cleanup(func() { p.bell.Close(); seg.Close() })
	return p
}

func (p *otherPool) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// memory makes this end's half of a circuit.
func (p *otherPool) memory() *shm.Segment {
	p.t.Helper()
	m, err := p.driver.NewMemory(p.to)
	p.check(err)
	p.t.Cleanup(func() { m.Close() })
	return m
}

// offer offers a half to the child.
func (p *otherPool) offer(m *shm.Segment) {
	p.t.Helper()
	memory, err := m.ReadOnly()
	p.check(err)
	bell, err := p.bell.ReadOnly()
	p.check(err)
	var doors [2]shm.Doorbell
	for i := range doors {
		doors[i], err = shm.NewDoorbell()
		p.check(err)
	}
	files := ring.Peer{Memory: memory, Bell: bell, Top: doors[0].Fd(), Bottom: doors[1].Fd()}.Files()
	defer message.CloseFiles(files)
	p.check(p.station.Send(ring.Frame{Type: ring.FrameAttach, Src: p.vci, Dst: p.to, N: ring.Version, Files: files}))
}

// lost says that this end's half is lost.
func (p *otherPool) lost() {
	p.t.Helper()
	p.check(p.station.Send(ring.Frame{Type: ring.FrameDetach, Src: p.vci, Dst: p.to, N: ring.LostHalf}))
}

// want returns the half that the next frame offers, 0 if the child says that its half is
// lost, which lost wants. An offer of the half not is one that is made again, and is
// passed over.
func (p *otherPool) want(lost bool, not uint64) (half uint64) {
	p.t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case f := <-p.frames:
			half = 0
			if f.Type == ring.FrameAttach {
				var s unix.Stat_t
				p.check(unix.Fstat(f.Files[0], &s))
				half = s.Ino
			}
			message.CloseFiles(f.Files)
			switch {
			case half != 0 && half == not:
			case half == 0 && (f.Type != ring.FrameDetach || f.N != ring.LostHalf), (half == 0) != lost:
				p.t.Fatalf("%v %d, of half %d", f.Type, f.N, half)
			default:
				return half
			}
		case <-timeout:
			p.t.Fatal("no frame")
		}
	}
}

// An offer that comes again is no other; another one than what is in use shows that the
// peer has lost our half, and the circuit is made anew.
func TestAnotherOfferThanTheOneInUse(t *testing.T) {
	p := newOtherPool(t)
	first := p.memory()
	p.offer(first)
	half := p.want(false, 0)
	for range 3 {
		p.offer(first)
	}
	p.offer(p.memory())
	p.want(true, half)
	p.offer(p.memory())
	if again := p.want(false, 0); again == half {
		t.Error("the half is the one that was lost")
	}
}

// Who has lost its half is offered another, again and again until it answers.
func TestALostHalfIsReplaced(t *testing.T) {
	p := newOtherPool(t)
	p.lost() // of no circuit: nobody needs one
	p.offer(p.memory())
	half := p.want(false, 0)
	p.lost()
	next := p.want(false, half)
	for range 2 {
		if again := p.want(false, 0); again != next {
			t.Errorf("half %d is offered, and then %d", next, again)
		}
	}
	p.offer(p.memory())
	p.lost()
	p.want(false, next)
}

// killChild kills the child, and waits for its successor.
func (p *otherPool) killChild() {
	p.t.Helper()
	pid := func() int { return p.host.Server.Snapshot().Children[0].PID }
	was := pid()
	p.check(syscall.Kill(was, syscall.SIGKILL))
	for end := time.Now().Add(patience); pid() == was; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatal("no successor")
		}
	}
}

// wantUp waits until circuit 0 is up, and the server has what a successor needs of it.
func (p *otherPool) wantUp() {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		r := p.app.call(p.t, message.Message{Type: message.NewSocket, Op: message.OpLink})
		message.CloseFiles(r.Files)
		if r.Errno == 0 {
			return
		}
		if time.Now().After(end) {
			p.t.Fatal("the circuit does not come up")
		}
	}
}

// The successor of a child that has died while it made a circuit says so; of one that was
// up it says nothing.
func TestASuccessorHasLostItsHalf(t *testing.T) {
	p := newOtherPool(t)
	p.offer(p.memory())
	half := p.want(false, 0)
	p.wantUp()
	p.killChild()
	p.lost()
	next := p.want(false, half)
	p.killChild()
	p.want(true, next)
}
