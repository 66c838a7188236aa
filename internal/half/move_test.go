package half

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/seq"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// audited reports what is wrong with h's segment.
func (h *host) audited(t *testing.T) {
	t.Helper()
	h.bottom.Change(func() {
		check(t, NewAuditor(h.bottom, h.drv.Fits).Check(h.bottom.now))
	})
}

// another is another pool of a's program, and leads to b through the servers only: a
// connection that goes there goes so.
func another(t *testing.T, b *host) *host {
	t.Helper()
	n := newHost(t, 1, SpinOff)
	n.vci = wire.NewVCI(1, 2)
	n.slow = func(ip []byte) { b.bottom.Arrive(ip, pool.NoCircuit) }
	return n
}

// moved moves socket s from a to n and returns what it is there.
func moved(t *testing.T, a, n *host, s *Socket) *Socket {
	t.Helper()
	to, err := n.top.Open()
	check(t, err)
	check(t, Move(a.top, n.top, a.vci, n.vci, []Moving{{s, to}}))
	return to
}

// A connection goes to another pool with what lies in it both ways, and the old one
// passes over what still comes until its peer has been told.
func TestMove(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	n := another(t, b)
	ca, cb := joined(t, a, b, n)
	out, in := octets(1, 700_000), octets(2, 600_000)
	check2(t)(ca.Write(out))
	check2(t)(cb.Write(in))
	read := make([]byte, 1000)
	check(t, readFull(ca, read))
	flow := ca.Flow()
	cn := moved(t, a, n, ca)
	a.audited(t)
	n.audited(t)
	if _, err := ca.Read(read); !errors.Is(err, os.ErrClosed) {
		t.Errorf("what has gone can be read: %v", err)
	}
	if err := ca.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("what has gone can be closed: %v", err)
	}
	if c := n.bottom.Unclaimed(); len(c) != 1 || c[0].Flow != flow || c[0].From != a.vci || c[0].Origin != ca.Index() {
		t.Errorf("to be claimed: %+v", c)
	} else if !n.bottom.Claimed(c[0], RegisteredFlow, 0) || len(n.bottom.Unclaimed()) != 0 {
		t.Error("it can't be claimed")
	}
	if b.bottom.Reroute(wire.Flow{Local: flow.Remote, Remote: flow.Local}, 7, pool.NoCircuit) {
		t.Error("it went by another circuit")
	}
	if !b.bottom.Reroute(wire.Flow{Local: flow.Remote, Remote: flow.Local}, 0, pool.NoCircuit) {
		t.Fatal("the peer has no such connection")
	}
	got, back := make([]byte, len(out)), make([]byte, len(in)-len(read))
	var all sync.WaitGroup
	all.Go(func() { check(t, readFull(cb, got)) })
	all.Go(func() { check(t, readFull(cn, back)) })
	all.Wait()
	if !bytes.Equal(got, out) || !bytes.Equal(append(read, back...), in) {
		t.Error("what was read is not what was written")
	}
	check(t, errors.Join(cn.Close(), cb.Close()))
}

// joined runs the hosts and returns a connection from a to b. What b sends through the
// servers goes to a before that, and to n afterwards.
func joined(t *testing.T, a, b, n *host) (ca, cb *Socket) {
	t.Helper()
	var there atomic.Bool
	before := b.slow
	b.slow = func(ip []byte) {
		if there.Load() {
			n.bottom.Arrive(ip, pool.NoCircuit)
		} else {
			before(ip)
		}
	}
	a.run()
	b.run()
	n.run()
	ca, cb = connect(t, a, b)
	there.Store(true)
	return ca, cb
}

// check2 checks a Write.
func check2(t *testing.T) func(int, error) {
	return func(_ int, err error) {
		t.Helper()
		check(t, err)
	}
}

// Who does not know that a connection has gone sends where it was: nothing answers,
// and the child is told to tell him, by the circuit by which it came.
func TestWhatComesForOneThatHasGone(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	n := another(t, b)
	told := &teller{host: a}
	a.bottom.out = told
	a.run()
	b.run()
	ca, cb := connect(t, a, b)
	moved(t, a, n, ca)
	before := a.top.Counters().Moved
	told.wait(t, 1)
	time.Sleep(2 * time.Duration(tellAgain))
	check2(t)(cb.Write([]byte("x")))
	told.wait(t, 2)
	if d := told.last(); d.To != n.vci || d.Circuit != 0 || d.Flow != cb.turned() {
		t.Errorf("told of %+v", d)
	}
	if a.top.Counters().Moved == before {
		t.Error("it was not counted")
	}
	if cb.Failure() != nil {
		t.Errorf("the peer has been answered: %v", cb.Failure())
	}
	// Long after, it is forgotten.
	a.bottom.Change(func() {
		a.bottom.aux[ca.Index()].born -= graveTime + 1
		a.bottom.aux[ca.Index()].heard = heardOver
	})
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		use := uint8(useMoved)
		a.top.Change(func() { use = a.top.aux[ca.Index()].use })
		if use == useFree {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the slot is never free again")
		}
	}
}

// turned returns the connection as the other end sees it.
func (s *Socket) turned() wire.Flow {
	f := s.Flow()
	return wire.Flow{Local: f.Remote, Remote: f.Local}
}

// teller is a host whose child is told of departures.
type teller struct {
	*host
	mu  sync.Mutex
	all []Departure
}

func (o *teller) Moved(d Departure) {
	o.mu.Lock()
	o.all = append(o.all, d)
	o.mu.Unlock()
}

func (o *teller) last() Departure {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all[len(o.all)-1]
}

func (o *teller) wait(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		o.mu.Lock()
		k := len(o.all)
		o.mu.Unlock()
		if k >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("told %d times, want %d", k, n)
		}
	}
}

// waitLate waits for a departure that is late.
func (o *teller) waitLate(t *testing.T) Departure {
	t.Helper()
	for n := 1; ; n++ {
		o.wait(t, n)
		o.mu.Lock()
		d := o.all[n-1]
		o.mu.Unlock()
		if d.Late {
			return d
		}
	}
}

// A listener goes with those that wait, in their order; a death just before the old
// slots are empty leaves nothing in them.
func TestMoveListener(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	n := another(t, b)
	l := a.listen(testPort)
	a.run()
	b.run()
	var ends []*Socket
	for range 3 {
		c := b.dial(a, testPort)
		check(t, c.Connected())
		ends = append(ends, c)
	}
	a.waitFor(t, func(h *Half) bool { return h.aux[l.i].acceptCount == 3 })
	to, err := n.top.Open()
	check(t, err)
	to.ListenFor(l, a.vci)
	check(t, Move(a.top, n.top, a.vci, n.vci, []Moving{{l, to}}))
	a.audited(t)
	n.audited(t)
	for _, c := range ends {
		s, err := to.Accept()
		check(t, err)
		if s.Flow() != c.turned() {
			t.Errorf("accepted %v, want %v", s.Flow(), c.turned())
		}
	}
	if err := Move(a.top, n.top, a.vci, n.vci, []Moving{{l, to}}); err != syscall.EBADF {
		t.Errorf("moved twice: %v", err)
	}
}

// waitFor waits until is is true of h's segment.
func (h *host) waitFor(t *testing.T, is func(*Half) bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		ok := false
		h.top.Change(func() { ok = is(&h.top.Half) })
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}

// The program dies when it has said that a connection has gone, and the old slot still
// has all: repair ends that. If it dies before, there are two, and the old one says all.
func TestDeathWhileMoving(t *testing.T) {
	for _, said := range []bool{false, true} {
		a, b := newHosts(t, SpinOff)
		n := another(t, b)
		ca, cb := joined(t, a, b, n)
		a.halt()
		n.halt()
		a.stop, n.stop = make(chan struct{}), make(chan struct{})
		check2(t)(ca.Write(octets(3, 100_000)))
		to, err := n.top.Open()
		check(t, err)
		n.top.enter()
		a.top.enter()
		n.top.transplant(to.i, &a.top.Half, ca.i, a.vci)
		if said {
			a.top.aux[ca.i].pool, a.top.aux[ca.i].use = uint16(n.vci)+1, useMoved
		}
		n.top.settle()
		n.top.lock.Unlock()
		a.dead = true // with the lock
		n.dead = true
		if !a.bottom.ProgramEnded(func() bool { return true }) {
			t.Error("it was not seen that it had the lock")
		}
		n.bottom.ProgramEnded(func() bool { return true })
		a.audited(t)
		n.audited(t)
		a.run()
		n.run()
		if !said {
			check(t, readFull(cb, make([]byte, 100_000)))
			continue
		}
		a.bottom.Change(func() {
			c := &a.bottom.conns[ca.i]
			if c.State != tcp.Closed || c.SndQ.Count != 0 || a.bottom.aux[ca.i].hashed == 0 {
				t.Errorf("the old slot is %v with %d chunks", c.State, c.SndQ.Count)
			}
		})
		if !b.bottom.Reroute(cb.Flow(), 0, pool.NoCircuit) {
			t.Error("the peer has no such connection")
		}
		check(t, readFull(cb, make([]byte, 100_000)))
	}
}

// uses is a driver that only counts who uses circuits.
type uses struct {
	pool.Driver
	n map[uint16]int
}

func (u *uses) Use(circuit uint16, n int) { u.n[circuit] += n }

// A connection that goes from circuit to circuit keeps those in whose memory its octets
// may lie, and of others the last few.
func TestFormerCircuitsStay(t *testing.T) {
	a, _ := newHosts(t, SpinOff)
	s, err := a.top.Open()
	check(t, err)
	u := &uses{n: map[uint16]int{}}
	a.top.Change(func() {
		h := &a.top.Half
		defer func(d pool.Driver) { h.drv = d }(h.drv)
		u.Driver, h.drv = h.drv, u
		chunk := h.allocChunk()
		h.chunks[chunk] = tcp.Chunk{Region: pool.TxRegion(0), Len: 1, Next: none}
		h.conns[s.i].RcvQ = tcp.Queue{Head: chunk, Tail: chunk, Count: 1, Bytes: 1}
		for c := range uint16(9) {
			h.setCircuit(s.i, c)
			for range 2 { // the second time it is kept already
				if !h.keepFormer(s.i, c) {
					t.Errorf("circuit %d is one too many, though nothing lies there", c)
				}
			}
		}
		h.setCircuit(s.i, pool.NoCircuit)
		if !h.belongs(s.i, 0) || h.aux[s.i].circuit != pool.NoCircuit {
			t.Error("what came late by a former circuit has taken the connection back there, or is lost")
		}
		kept := 0
		for _, n := range u.n {
			kept += n
		}
		if kept != len(h.aux[0].former) || u.n[0] != 1 {
			t.Errorf("kept are %v", u.n)
		}
		h.conns[s.i].RcvQ = tcp.Queue{Head: none, Tail: none}
		h.forgetFormer(s.i)
		for c, n := range u.n {
			if n != 0 {
				t.Errorf("circuit %d has %d users", c, n)
			}
		}
	})
}

// A port served two connections to a listener in short order, and the second was rerouted
// while the server still sent what came for it to the pool that had the first, in TIME-WAIT
// there. That answered by its own circuit, on which the connection then stayed: neither end
// ever heard the other again.
func TestOldNamesakeDoesNotTakeAConnectionToItsCircuit(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	c, peer := connect(t, a, b)
	var in seq.Number // what each has sent is acknowledged
	b.top.Change(func() { in = b.top.conns[peer.i].Oldest() })
	a.top.Change(func() {
		h := &a.top.Half
		out := h.conns[c.i].Oldest()
		u := &uses{h.drv, map[uint16]int{}}
		was := h.aux[c.i].circuit
		defer func() { h.setCircuit(c.i, was); h.drv = u.Driver }()
		h.drv = u
		h.setCircuit(c.i, pool.NoCircuit)
		for _, x := range []struct {
			name     string
			seq, ack seq.Number
			want     uint16
		}{
			{"of other numbers both ways", in + 1<<30, out + 1<<30, pool.NoCircuit},
			{"of another stream of the peer's", in + 1<<30, out, pool.NoCircuit},
			{"of what was never sent", in, out + 1, pool.NoCircuit},
			{"of this connection", in, out, 7},
		} {
			h.arr = tcp.Segment{Flags: wire.ACK, Seq: x.seq, Ack: x.ack}
			if !h.belongs(c.i, 7) {
				t.Errorf("a segment %s is not looked at", x.name)
			}
			if got := h.aux[c.i].circuit; got != x.want {
				t.Errorf("after a segment %s it goes by circuit %d, want %d", x.name, got, x.want)
			}
		}
	})
}
