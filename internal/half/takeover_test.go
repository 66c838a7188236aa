package half

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// dieWithLock lets the bottom half die in the middle of a step on connection i,
// which is left full of garbage.
func (h *host) dieWithLock(i uint32) {
	h.halt()
	b := h.bottom
	b.mu.Lock()
	b.lock.Lock(-1)
	c := b.begin(i)
	garbage := tcp.Queue{Head: 1 << 20, Tail: 77, Count: 1 << 30, Bytes: 5}
	*c = tcp.Conn{Flow: c.Flow, SndQ: garbage, RcvQ: garbage}
}

// succeed starts a bottom half in the place of the dead one.
func (h *host) succeed(known ...Known) (lost []Known) {
	h.t.Helper()
	old := h.bottom
	b, err := NewBottom(Config{
		Segment: old.seg, Driver: h.drv, Bell: old.bell, Doorbells: h.doors, Clock: old.clock,
	}, h)
	check(h.t, err)
	lost = b.TakeOver(known, func() bool { return false })
	h.bottom, h.stop = b, make(chan struct{})
	return lost
}

// The bottom half dies with the lock again and again while the program writes,
// reads, and copies outside the lock: nothing of it gets lost or comes twice.
func TestBottomHalfDiesWithTheLock(t *testing.T) {
	rng, data := seeded(t, 24<<20)
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	var all sync.WaitGroup
	all.Go(func() {
		for at := 0; at < len(data); {
			n := min(len(data)-at, 1+rng.IntN(200_000))
			if _, err := ca.Write(data[at : at+n]); err != nil {
				t.Errorf("write: %v", err)
				return
			}
			at += n
		}
	})
	got := make([]byte, len(data))
	all.Go(func() {
		if err := readFull(cb, got); err != nil {
			t.Errorf("read: %v", err)
		}
	})
	for n := range 40 {
		time.Sleep(time.Duration(n%7) * time.Millisecond)
		h, c := a, ca
		if n%2 == 1 {
			h, c = b, cb
		}
		h.dieWithLock(c.Index())
		h.succeed()
		h.run()
	}
	all.Wait()
	if !bytes.Equal(got, data) {
		t.Error("what was read is not what was written")
	}
	if n := a.top.Usage().Counters.Repairs; n != 20 {
		t.Errorf("%d repairs, want one for each death", n)
	}
	check(t, errors.Join(ca.Close(), cb.Close()))
	wantIdle(t, a)
	wantIdle(t, b)
}

// What a call of the program's has reserved stays its own when its child dies while it
// copies, even if that had the lock: another call that got the same buffers sent the
// octets of the first.
func TestReservationOutlivesTheChild(t *testing.T) {
	for name, die := range map[string]func(a *host, i uint32){
		"with the lock":    func(a *host, i uint32) { a.dieWithLock(i) },
		"without the lock": func(a *host, _ uint32) { a.halt() },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := runBoth(t, SpinOff)
			ca, cb := connect(t, a, b)
			da, db := connect(t, a, b)
			first, second := octets(1, 40_000), octets(2, 60_000)
			_, err := ca.Write(first[:3000]) // so that the reservation begins in its buffer
			check(t, err)
			var r reservation
			a.top.enter()
			n := a.top.reserve(ca.i, len(first)-3000, &r)
			a.top.leave()
			die(a, da.i)
			a.succeed()
			a.run()
			_, err = da.Write(second)
			check(t, err)
			a.top.enter()
			a.top.fill(&r, first[3000:])
			if !ca.queue(&r, n, written) {
				t.Error("what was reserved is not there any more")
			}
			a.top.settle()
			a.top.leave()
			wantRead(t, db, second)
			wantRead(t, cb, first[:3000+n])
			check(t, errors.Join(ca.Close(), cb.Close(), da.Close(), db.Close()))
			wantIdle(t, a)
			wantIdle(t, b)
		})
	}
}

// Without the lock there is nothing to undo, and the program goes on as before.
func TestBottomHalfDiesWithoutTheLock(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	ca, cb := connect(t, a, b)
	a.halt()
	a.succeed()
	a.run()
	data := octets(1, 100_000)
	_, err := ca.Write(data)
	check(t, err)
	wantRead(t, cb, data)
}

// What the connection server knows and the segment does not is given back; what
// the dead bottom half was about to give back is given back by the next.
func TestTakeOverSettlesWithTheServer(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	ca, cb := connect(t, a, b)
	defer cb.Close()
	a.halt()
	flow := ca.Flow()
	alien := wire.Flow{Local: flow.Remote, Remote: flow.Local}
	lost := a.succeed(
		Known{What: RegisteredFlow, Socket: ca.Index(), Flow: flow},
		Known{What: RegisteredBind, Socket: MaxConns - 1},
		Known{What: RegisteredFlow, Socket: ^uint32(0), Flow: alien},
	)
	if len(lost) != 2 || lost[0].Socket != MaxConns-1 || lost[1].Flow != alien {
		t.Errorf("lost %+v", lost)
	}
	before := a.gone.Load()
	check(t, ca.Options(func(o *tcp.ConnOptions) { o.LingerSet, o.Linger = 1, 0 }))
	check(t, ca.Close())
	a.succeed(Known{What: RegisteredFlow, Socket: ca.Index(), Flow: flow})
	wantWithin(t, "the server to be told", func() bool { return a.gone.Load() == before+1 })
	wantWithin(t, "the slot to be free", func() bool { return a.bottom.Live() == 0 })
}
