package tcp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// move moves the connection to a fresh memory, in pieces of at most most octets, and
// leaves nothing in the old one.
func (e *end) move(t testing.TB, now Time, most int) {
	t.Helper()
	to := newStore(len(e.st.m.Chunks))
	sent, read := e.c.Heads()
	var queues []Queue
	for k, q := range e.c.Queues(&e.st.m, nil) {
		skip := uint32(0)
		if k < 2 {
			skip = [2]uint32{sent, read}[k]
		}
		queues = append(queues, to.put(e.st.read(q.Head, skip, q.Bytes-skip), most))
	}
	annex := None
	if e.c.Annex != 0 {
		annex = 1
		to.annexes = to.annexes[:1]
	}
	moved := &end{st: to}
	moved.step(t, "Transplant", func() { moved.c.Transplant(&e.c, &e.st.m, &to.m, queues, annex) })
	if moved.c.State != e.c.State || moved.c.Deadline() != e.c.Deadline() {
		t.Fatalf("%v until %d has become %v until %d", e.c.State, e.c.Deadline(), moved.c.State, moved.c.Deadline())
	}
	e.step(t, "Depart", func() { e.c.Depart(&e.st.m, now) })
	if len(e.st.free) != len(e.st.m.Chunks) || len(e.st.annexes) != 2 || e.c.HasOutput() || e.c.Deadline() != Never || e.c.Events != 0 {
		t.Fatalf("%d chunks of %d are free in the old memory, %d annexes; it waits until %d, events %x",
			len(e.st.free), len(e.st.m.Chunks), len(e.st.annexes), e.c.Deadline(), e.c.Events)
	}
	*e = *moved
}

// Both ends of connections over a hostile network go from memory to memory in whatever
// state they are, and nothing comes of it.
func TestSoakMoving(t *testing.T) {
	first := uint64(time.Now().UnixNano())
	for n := range uint64(20) {
		s := newSoak(t, rand.New(rand.NewPCG(first+n, 9293)))
		for steps, moves := 0, 0; !s.done(); steps++ {
			if steps > 40000 || !s.turn() {
				t.Fatalf("seed %d: not done after %d steps and %d moves: %s, %s", first+n, steps, moves, s.a.status(), s.b.status())
			}
			for _, h := range []*host{s.a, s.b} {
				if s.r.IntN(10) == 0 && h.c.State != Closed && h.c.State != Listen {
					h.move(t, s.now, 100+s.r.IntN(2*s.piece))
					moves++
				}
			}
		}
		s.verdict(first + n)
		if t.Failed() {
			t.Fatalf("seed %d", first+n)
		}
	}
}

// What is in an annex goes along: many gaps, both ways.
func TestMoveWithManyGaps(t *testing.T) {
	a := withManyInFlight(t)
	r := rand.New(rand.NewPCG(1, 12))
	most, moves := uint32(0), 0
	for n, i := range r.Perm(200) {
		at := 10001 + 100*i
		a.inject(sA, 1+100*i, 10001, 100, sacks(at, at+100))
		most = max(most, a.c.ooo.n)
		if n%7 == 0 {
			a.end.move(t, a.now, 100+r.IntN(100))
			moves++
		}
	}
	a.drain()
	a.inject(sA, 20001, rel(a.c.snd.nxt, ourISS), 0)
	if n := a.readAll(); n != 20000 || most < 30 || moves < 20 {
		t.Errorf("%d octets read, %d ranges at most, %d moves", n, most, moves)
	}
}

// Announce owes an acknowledgement, and only where there is somebody to hear it.
func TestAnnounce(t *testing.T) {
	for s := Closed; s <= TimeWait; s++ {
		a := inState(t, s)
		a.drain()
		a.do("Announce", func(*Memory) { a.c.Announce() })
		n, want := a.drain(), 0
		if s.Synchronized() && s != TimeWait {
			want = 1
		}
		if n != want {
			t.Errorf("in %v it sends %d segments, want %d", s, n, want)
		}
	}
}
