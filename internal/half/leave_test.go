package half

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
)

// void is a segment of nobody's.
func void(t *testing.T, h *host) Config {
	t.Helper()
	seg, err := shm.Create("test-void", Version, Specs(ring.Specs())...)
	check(t, err)
	check(t, Initialise(seg, 65535))
	check(t, ring.Initialise(seg, false))
	drv, err := ring.NewDriver(seg, h.vci)
	check(t, err)
	page, err := ring.NewBellPage()
	check(t, err)
	bell, err := shm.One[shm.Bell](page, ring.SectionBell)
	check(t, err)
	return Config{Segment: seg, Driver: drv, Bell: bell, Doorbells: [2]shm.Doorbell{shm.NoDoorbell, shm.NoDoorbell}}
}

// replace gives h another top half, as another process would be, with mappings of its
// own; those of the one before are no more.
func (h *host) replace(t *testing.T) {
	t.Helper()
	bell, clock := h.top.bell, h.top.clock
	old, oldDrv := h.top.seg, h.topDrv
	seg, err := shm.Attach(duplicate(t, old.Fd()), Version, true)
	check(t, err)
	check(t, h.top.Leave(void(t, h)))
	oldDrv.Forsake()
	check(t, old.Close())
	if h.bottom.Vacate(func() bool { return false }) {
		t.Error("it has left with the lock")
	}
	h.topDrv, err = ring.NewDriver(seg, h.vci)
	check(t, err)
	h.top, err = NewTop(Config{Segment: seg, Driver: h.topDrv, Bell: bell, Doorbells: h.doors, Clock: clock}, SpinOff, h.fetch)
	check(t, err)
}

// take is what the new top half does with the socket that the old one had.
func (h *host) take(t *testing.T, i uint32) *Socket {
	t.Helper()
	s, err := h.top.Take(i)
	check(t, err)
	return s
}

// seeded returns random numbers and octets by a seed that the test's output has.
func seeded(t *testing.T, n int) (*rand.Rand, []byte) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 5)), octets(seed, n)
}

// One end of a transfer both ways goes from top half to top half at random moments;
// its calls of that moment say what they have done, and nothing is lost.
func TestLeaveAndTake(t *testing.T) {
	rng, data := seeded(t, 16<<20)
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	got, back := make([]byte, 0, len(data)), make([]byte, len(data))
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := cb.Write(data); err != nil {
			t.Errorf("write: %v", err)
		}
	})
	all.Go(func() { check(t, readFull(cb, back)) })
	sent, buf := 0, make([]byte, 100_000)
	for sent < len(data) || len(got) < len(data) {
		var calls sync.WaitGroup
		calls.Go(func() {
			for sent < len(data) {
				n, err := ca.Write(data[sent:])
				if sent += n; err != nil {
					wantClosed(t, err)
					return
				}
			}
		})
		calls.Go(func() {
			for len(got) < len(data) {
				n, err := ca.Read(buf)
				if got = append(got, buf[:n]...); err != nil {
					wantClosed(t, err)
					return
				}
			}
		})
		time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
		gone := ca
		a.replace(t)
		calls.Wait()
		ca = a.take(t, gone.Index())
		a.top.Settle()
		if err := gone.Close(); err != os.ErrClosed {
			t.Errorf("close of a socket that has gone: %v", err)
		}
	}
	all.Wait()
	if string(got) != string(data) || string(back) != string(data) {
		t.Error("other octets came than were sent")
	}
}

func wantClosed(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("a call that was cut short: %v", err)
	}
}

// What nobody takes is closed, and what is not there can't be taken.
func TestSettleClosesTheRest(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	ca, cb := connect(t, a, b)
	a.replace(t)
	for _, i := range []uint32{MaxConns, none, ca.Index() + 7} {
		if _, err := a.top.Take(i); err != syscall.EBADF {
			t.Errorf("socket %d: %v", i, err)
		}
	}
	a.take(t, ca.Index())
	if _, err := a.top.Take(ca.Index()); err != syscall.EBADF {
		t.Errorf("taken twice: %v", err)
	}
	a.top.Settle()
	a.replace(t)
	a.top.Settle()
	cb.SetDeadline(true, true, time.Now().Add(patience))
	if n, err := cb.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the peer of a socket that nobody has taken reads %d, %v", n, err)
	}
}
