//go:build linux

package half

import (
	"math/rand/v2"
	"testing"

	"usertcp/internal/tcp"
)

// patron is a program at host a that waits to read from a connection, and checks what
// it gets.
type patron struct {
	reader
	into   []byte // nil: it does not wait
	n      int    // octets that have been placed
	placed int    // in all
}

// patrons makes programs of host a's wait by turns.
func (h *crashHost) patrons(all ...*patron) {
	find := func(i uint32) *patron {
		for _, p := range all {
			if p.i == i && p.into != nil {
				return p
			}
		}
		return nil
	}
	h.top.wanted = func(i uint32) ([]byte, int) {
		if p := find(i); p != nil {
			return p.into[p.n:], p.n
		}
		return nil, 0
	}
	h.top.placed = func(i uint32, n int) { find(i).n += n }
}

// wait waits with memory of n octets.
func (p *patron) wait(n int) { p.into, p.n = make([]byte, n), 0 }

// take ends the wait, and checks what has been placed.
func (p *patron) take(t *testing.T) {
	t.Helper()
	if string(p.into[:p.n]) != string(stream(p.conn, p.got, p.n)) {
		t.Fatalf("octets %d to %d of connection %d are not those that were written", p.got, p.got+p.n, p.conn)
	}
	p.got += p.n
	p.placed += p.n
	p.into, p.n = nil, 0
}

// placeWorld is two hosts over devices, b of which sends to a: on each connection long
// payloads have been received, so that the next one is foreseen.
type placeWorld struct {
	*crashWorld
	t    *testing.T
	to   []*patron
	from []uint32 // b's ends
	sent []int
}

func newPlaceWorld(t *testing.T, conns int) *placeWorld {
	w := &placeWorld{crashWorld: newCrashWorld(t, true), t: t}
	for k := range conns {
		i, j := w.a.pair(w.b, uint16(1001+k))
		w.to = append(w.to, &patron{reader: reader{h: w.a, i: i, conn: j}})
		w.from, w.sent = append(w.from, j), append(w.sent, 0)
	}
	w.a.patrons(w.to...)
	for k := range conns {
		for range 8 {
			w.send(k, 60000)
			w.settle()
			w.readAll(k)
		}
		w.settle()
	}
	return w
}

func (w *placeWorld) send(k, n int) {
	w.sent[k] += w.b.top.Write(w.from[k], stream(w.from[k], w.sent[k], n))
}

// readAll reads what is there as always.
func (w *placeWorld) readAll(k int) {
	w.t.Helper()
	check(w.t, w.to[k].read())
}

// work returns the counters of what was placed: octets, and packets in vain.
func (w *placeWorld) work() (placed, missed uint64) {
	c := &w.a.top.ctl.Counters
	return c.Placed, c.PlaceMissed
}

// end wants every octet read, and nothing left.
func (w *placeWorld) end() {
	w.t.Helper()
	for k, p := range w.to {
		if p.into != nil {
			p.take(w.t)
		}
		w.settle()
		for range 200 {
			w.readAll(k)
			if p.got == w.sent[k] {
				break
			}
			w.now += 100 * tcp.Millisecond
			w.settle()
		}
		if p.got != w.sent[k] {
			w.t.Errorf("connection %d: %d octets read of %d", k, p.got, w.sent[k])
		}
	}
	check(w.t, w.a.audit.Check(w.now))
	check(w.t, w.crashWorld.end())
}

func TestPayloadLandsWhereItIsWaitedFor(t *testing.T) {
	w := newPlaceWorld(t, 1)
	p := w.to[0]
	p.wait(60000)
	w.send(0, 40000)
	w.a.top.Step()
	if have, _ := w.a.top.conns[p.i].Readable(); p.n != 40000 || have != 0 {
		t.Fatalf("%d octets placed, %d left to be read", p.n, have)
	}
	if _, held := w.a.nic.InUse(); held != 0 {
		t.Errorf("%d packets are held", held)
	}
	w.send(0, 20000) // the same call has room for that
	w.a.top.Step()
	p.take(t)
	if placed, missed := w.work(); placed != 60000 || missed != 0 {
		t.Errorf("%d octets placed, %d packets missed", placed, missed)
	}
	if k := w.b.top.Conn(w.from[0]); k.SndQ.Bytes != 0 {
		w.settle()
		if k := w.b.top.Conn(w.from[0]); k.SndQ.Bytes != 0 {
			t.Errorf("%d octets are not acknowledged", k.SndQ.Bytes)
		}
	}
	w.end()
}

// What there is no room for lies in the pool, and comes with the next calls.
func TestRestOfAPlacedPayload(t *testing.T) {
	w := newPlaceWorld(t, 1)
	p := w.to[0]
	p.wait(20000)
	w.send(0, 50000)
	w.send(0, 50000)
	w.a.top.Step()
	if p.n != 20000 || !w.a.drv.Pending() {
		t.Fatalf("%d octets placed; the turn went on: %v", p.n, !w.a.drv.Pending())
	}
	p.take(t)
	w.end()
}

// Each of these packets is not what was foreseen. Nothing is lost or out of place by it.
func TestPayloadsThatAreNotForeseen(t *testing.T) {
	for _, row := range []struct {
		name  string
		do    func(w *placeWorld)
		miss  bool // something was placed in vain
		lands bool // what comes for the first connection is placed
	}{
		{"another connection's", func(w *placeWorld) { w.send(0, 40000) }, true, false},
		{"another connection's before it", func(w *placeWorld) { w.send(0, 3000); w.send(1, 40000) }, true, true},
		{"out of order", func(w *placeWorld) { w.send(1, 30000); w.a.drop(); w.send(1, 30000) }, true, false},
		{"urgent", func(w *placeWorld) {
			w.sent[1] += w.b.top.WriteUrgent(w.from[1], stream(w.from[1], w.sent[1], 30000))
			w.to[1].skip(w)
		}, true, false},
		{"unread octets before it", func(w *placeWorld) {
			w.to[1].into = nil
			w.send(1, 3000)
			w.a.step()
			w.to[1].wait(60000)
			w.send(1, 30000)
		}, false, false},
		{"other headers", func(w *placeWorld) { w.a.top.next.header = 64; w.send(1, 30000) }, false, false},
		{"the last one", func(w *placeWorld) { w.send(1, 30000); w.b.top.Shutdown(w.from[1]) }, false, true},
		{"a reset", func(w *placeWorld) {
			w.b.top.Abort(w.from[0])
			w.sent[0] = w.to[0].got
			w.to[0].end = true
			w.send(1, 30000)
		}, false, true},
		{"too little memory", func(w *placeWorld) { w.to[1].wait(placeLeast - 1); w.send(1, 30000) }, false, false},
		{"reading has ended", func(w *placeWorld) { w.a.top.CloseRead(w.to[1].i); w.send(1, 30000); w.to[1].got = w.sent[1] }, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newPlaceWorld(t, 2)
			w.to[1].wait(60000)
			row.do(w)
			w.a.step()
			placed, missed := w.work()
			if (missed > 0) != row.miss || (placed > 0) != row.lands {
				t.Errorf("%d octets placed, %d packets in vain", placed, missed)
			}
			w.to[1].take(t)
			w.end()
		})
	}
}

// skip leaves the urgent octet out that was written last: it is taken out of the stream,
// which Direct does not do, so that it is read as any other.
func (p *patron) skip(w *placeWorld) {
	w.a.top.SetOptions(p.i, func(o *tcp.ConnOptions) { o.UrgentInline = 1 })
}

// Where packets of two connections alternate a guess is wrong each time: there are fewer
// and fewer.
func TestGuessesThatFailBecomeRare(t *testing.T) {
	w := newPlaceWorld(t, 2)
	for n := range 200 {
		for k := range 2 {
			w.to[k].wait(60000)
		}
		w.send(n%2, 30000)
		w.settle()
		for k := range 2 {
			w.to[k].take(t)
			w.readAll(k)
		}
		w.settle()
	}
	if _, missed := w.work(); missed > 10 {
		t.Errorf("%d of 200 packets were copied in vain", missed)
	}
	// One connection alone is foreseen again.
	for range streakMost + 10 {
		w.to[0].wait(60000)
		w.send(0, 30000)
		w.settle()
		w.to[0].take(t)
		w.readAll(0)
	}
	w.to[0].placed = 0
	w.to[0].wait(60000)
	w.send(0, 30000)
	w.settle()
	if w.to[0].take(t); w.to[0].placed != 30000 {
		t.Error("not foreseen again")
	}
	w.end()
}

// One acknowledgement does for what lies there already, and none is owed for long.
func TestAcknowledgementsOfPlacedPayloads(t *testing.T) {
	w := newPlaceWorld(t, 1)
	p := w.to[0]
	before := w.a.top.ctl.Counters.PacketsOut
	for range 8 {
		w.send(0, 20000)
	}
	for range 8 {
		p.wait(20000)
		w.a.top.Step()
		p.take(t)
	}
	sent := w.a.top.ctl.Counters.PacketsOut - before
	if p.placed != 160000 || sent > foundLeast+1 {
		t.Errorf("%d octets placed, %d acknowledgements", p.placed, sent)
	}
	w.a.top.Step() // and there is no more
	w.settle()
	if k := w.b.top.Conn(w.from[0]); k.SndQ.Bytes != 0 {
		t.Errorf("%d octets are not acknowledged", k.SndQ.Bytes)
	}
	w.end()
}

// TestPlacedStreamsAtRandom has connections send at random, packets get lost, and
// programs wait and read as they like.
func TestPlacedStreamsAtRandom(t *testing.T) {
	var placed, missed uint64
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 77))
		w := newPlaceWorld(t, 1+r.IntN(3))
		for range 300 {
			k := r.IntN(len(w.to))
			switch p := w.to[k]; r.IntN(7) {
			case 0, 1:
				w.send(k, 1+r.IntN(60000))
			case 2:
				if p.into == nil {
					p.wait(1 + r.IntN(100000))
				}
			case 3, 4:
				w.a.top.Step()
				w.b.top.Step()
			case 5:
				if r.IntN(4) == 0 {
					w.a.drop()
				}
				w.now += tcp.Time(r.IntN(50)) * tcp.Millisecond
			default:
				if p.into != nil {
					p.take(t)
				}
				w.readAll(k)
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		w.end()
		a, b := w.work()
		placed, missed = placed+a, missed+b
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if placed < 1<<19 || missed == 0 {
		t.Errorf("%d octets placed, %d packets in vain: nothing was tried", placed, missed)
	}
}

// Whose memory payloads may be placed in, and whose not.
func TestWhoseMemoryIsWanted(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	s, _ := connect(t, a, b)
	top := a.top
	for _, row := range []struct {
		name      string
		change    func()
		rest, had int
	}{
		{"who waits", func() {}, 90, 10},
		{"who follows", func() { s.rd.waiting = true }, 90, 0},
		{"who does not wait", func() { s.rd.order.into = nil }, 0, 0},
		{"whose socket is being closed", func() { s.closing = true }, 0, 0},
		{"who reads no more", func() { s.deaf = true }, 0, 0},
		{"whose time is over", func() { s.rd.passed = true }, 0, 0},
		{"who wants so much at least", func() { top.conns[s.i].Opt.RcvLowat = 2 }, 0, 0},
	} {
		top.enter()
		s.rd.order.into, s.rd.order.n = make([]byte, 100), 10
		row.change()
		rest, had := top.wantedBy(s.i)
		none, nobody := top.wantedBy(MaxConns - 1)
		s.rd.order.into, s.rd.order.n = nil, 0
		s.rd.waiting, s.closing, s.deaf, s.rd.passed, top.conns[s.i].Opt.RcvLowat = false, false, false, false, 1
		top.leave()
		if len(rest) != row.rest || had != row.had || none != nil || nobody != 0 {
			t.Errorf("%s: memory of %d octets, %d of them full; of nobody %d", row.name, len(rest), had, len(none))
		}
	}
}

// A program that reads what is there is not kept from looking for more for long.
func TestDrainingEndsSoon(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	s, peer := connect(t, a, b)
	peer.Write(octets(1, 50_000))
	wantRead(t, s, octets(1, 50_000)[:1000])
	top := a.top
	p := make([]byte, placeLeast)
	top.enter()
	defer top.leave()
	top.next.conn = s.i
	top.stepped = top.clock()
	calls := top.calls.Load()
	if !top.drain(s.i, p) || top.calls.Load() != calls+1 || !top.skipped {
		t.Error("a call that reads what is there looks for more")
	}
	for name, change := range map[string]func(){
		"for long":                  func() { top.stepped -= tcp.Time(drainMost) },
		"with little memory":        func() { p = p[:placeLeast-1] },
		"where nothing is foreseen": func() { top.next.conn++ },
		"where nothing is placed":   func() { top.wanted = nil },
	} {
		stepped, next, wanted, q := top.stepped, top.next, top.wanted, p
		change()
		if top.drain(s.i, p) {
			t.Error("not looked for more", name)
		}
		top.stepped, top.next, top.wanted, p = stepped, next, wanted, q
	}
}

// Whoever takes a short packet that somebody waits for reads it for him in the same step.
// What does not fit, or is not what comes next, lies in the pool.
func TestShortPacketsAreReadInTheirStep(t *testing.T) {
	for _, c := range []struct {
		name  string
		room  int // of who waits; 0: nobody does
		lost  bool
		wants int // octets that have been read in the step
	}{
		{"room for it", 100, false, 100},
		{"more room", 1000, false, 100},
		{"too little room", 99, false, 0},
		{"nobody waits", 0, false, 0},
		{"not what comes next", 1000, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newCrashWorld(t, false)
			i, j := w.a.pair(w.b, 1001)
			if c.lost {
				w.b.top.Write(j, stream(j, 0, 50))
				w.a.drop()
			}
			p := &patron{reader: reader{h: w.a, i: i, conn: j}}
			w.a.patrons(p)
			if c.room > 0 {
				p.wait(c.room)
			}
			at := 0
			if c.lost {
				at = 50
			}
			w.b.top.Write(j, stream(j, at, 100))
			w.a.top.Step()
			if p.n != c.wants {
				t.Fatalf("%d octets have been read, want %d", p.n, c.wants)
			}
			if k := w.a.top.Conn(i); c.wants > 0 && k.RcvQ.Count > 0 || k.Stats.DataSegsIn != 1 {
				t.Errorf("%d chunks lie there, of %d segments", k.RcvQ.Count, k.Stats.DataSegsIn)
			}
			if c.wants > 0 {
				p.take(t)
			}
			p.into = nil
			if c.lost {
				return
			}
			rest := make([]byte, 200)
			n, _ := w.a.top.Read(i, rest)
			if want := stream(j, c.wants, 100-c.wants); string(rest[:n]) != string(want) {
				t.Errorf("%d octets are left, or others than were written; want %d", n, len(want))
			}
		})
	}
}
