package half

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// crashCase is a kind of step: prepare brings two hosts to where it begins, and
// run, in a process of its own that dies, does it at host a. What prepare returns
// run gets, since run has nothing but the segment.
type crashCase struct {
	name    string
	who     mortal
	prepare func(w *crashWorld, c *crashBase) []uint32
	run     func(h *crashHost, at []uint32) func() // what it returns is the step
}

// mortal says who does a step, and dies.
type mortal int

const (
	program mortal = iota // its child goes on
	child                 // its program goes on, and gets another child
	both                  // the child after its program: another child goes on
)

// crashBase is what is there before any step: connections with data in every
// state, in both directions.
type crashBase struct {
	x, y    uint32 // a's end and b's: a has written
	written int    // by a on x
	u, v    uint32 // a's end and b's: b has written, more than a has read
	sent    int    // by b on v
	l       uint32 // a's listener
	gotY    int    // octets that b has read on y
	gotU    int    // octets that a has read on u
}

const crashPort = 80

func prepareBase(w *crashWorld) *crashBase {
	c := &crashBase{}
	c.x, c.y = w.a.pair(w.b, 1001)
	c.u, c.v = w.a.pair(w.b, 1002)
	c.l = w.a.listen(crashPort, 8)
	c.write(w, 100)
	c.write(w, 20000)
	w.settle()
	c.send(w, 300)
	c.send(w, 50000)
	w.settle()
	c.gotU, _ = w.a.top.Read(c.u, make([]byte, 1000))
	w.settle()
	return c
}

// write has a write n octets on x, a while after what was written before: nothing is
// held back.
func (c *crashBase) write(w *crashWorld, n int) {
	w.now += holdSoon
	c.writeSoon(w, n)
}

// writeSoon does so at once.
func (c *crashBase) writeSoon(w *crashWorld, n int) {
	c.written += w.a.top.Write(c.x, stream(c.x, c.written, n))
}

// send has b write n octets on v.
func (c *crashBase) send(w *crashWorld, n int) {
	w.now += holdSoon
	c.sent += w.b.top.Write(c.v, stream(c.v, c.sent, n))
}

func nothing(*crashWorld, *crashBase) []uint32 { return nil }

// sockets returns the base's connections for run.
func sockets(_ *crashWorld, c *crashBase) []uint32 {
	return []uint32{c.x, uint32(c.written), c.u, c.l}
}

// step is a step that needs no more than the host and what prepare has returned.
func step(f func(h *crashHost, at []uint32)) func(*crashHost, []uint32) func() {
	return func(h *crashHost, at []uint32) func() { return func() { f(h, at) } }
}

func writes(n int) func(*crashHost, []uint32) func() {
	return func(h *crashHost, at []uint32) func() {
		p := stream(at[0], int(at[1]), n)
		return func() { h.top.Write(at[0], p) }
	}
}

func reads(n int) func(*crashHost, []uint32) func() {
	return func(h *crashHost, at []uint32) func() {
		p := make([]byte, n)
		clear(p) // no page of it is to be touched for the first time
		return func() { h.top.Read(at[2], p) }
	}
}

var turn = step(func(h *crashHost, _ []uint32) { h.top.Step() })

// Steps that there are on a ring only, or over devices only.
const (
	synByServer = "a SYN by the server"
	holding     = "hold back what is written"
	releasing   = "send what the program has held back"
)

// isOn reports whether there is such a step over devices, or on a ring.
func (c *crashCase) isOn(devices bool) bool {
	switch c.name {
	case synByServer:
		return !devices
	case holding, releasing:
		return devices
	}
	return true
}

// heldBack has a write little until the last of it is held back.
func heldBack(w *crashWorld, c *crashBase) []uint32 {
	before := w.a.top.Counters().Held
	for range 2 * holdAfter {
		c.writeSoon(w, 200)
	}
	if w.a.top.Counters().Held == before {
		panic("BUG: nothing is held back")
	}
	return sockets(w, c)
}

var crashCases = []crashCase{
	{"open", program, nothing, step(func(h *crashHost, _ []uint32) { h.top.Open() })},
	{"listen", program, nothing, step(func(h *crashHost, _ []uint32) { h.listen(81, 4) })},
	{"write little", program, sockets, writes(50)},
	{"write behind what is queued", program, sockets, writes(3000)},
	{holding, program, heldBack, writes(700)},
	{releasing, child, func(w *crashWorld, c *crashBase) []uint32 {
		heldBack(w, c)
		w.now += holdMax
		return nil
	}, step(func(h *crashHost, _ []uint32) { h.bottom.Look(false) })},
	{"write many buffers", program, sockets, writes(60000)},
	{"read little", program, sockets, reads(100)},
	{"read long payloads to their end", program, sockets, reads(60000)},
	{"take long packets", program, func(w *crashWorld, c *crashBase) []uint32 {
		c.send(w, 40000)
		return nil
	}, turn},
	{"take long packets into the program's memory", program, func(w *crashWorld, c *crashBase) []uint32 {
		return placeable(w, c, false)
	}, places(1)},
	{"take long packets into the program's memory in vain", program, func(w *crashWorld, c *crashBase) []uint32 {
		return placeable(w, c, true)
	}, places(0)},
	{"take short packets", program, func(w *crashWorld, c *crashBase) []uint32 {
		for range 4 {
			c.send(w, 120)
		}
		return nil
	}, turn},
	{"take short packets that the program waits for", program, func(w *crashWorld, c *crashBase) []uint32 {
		c.readAll(w)
		for range 3 {
			c.send(w, 60)
		}
		return sockets(w, c)
	}, awaits},
	{"take acknowledgements, with more to send", program, func(w *crashWorld, c *crashBase) []uint32 {
		for range 6 {
			c.write(w, 60000)
		}
		w.b.top.Step()
		c.readAt(w, 200000)
		w.b.top.Step()
		return nil
	}, turn},
	{"take what was sent out of order", program, outOfOrder, turn},
	{"get an annex", program, func(w *crashWorld, c *crashBase) []uint32 { return manyGaps(w, c, 3, false) }, turn},
	{"take what was sent out of order, with an annex", program, func(w *crashWorld, c *crashBase) []uint32 {
		return manyGaps(w, c, 5, true)
	}, turn},
	{"give an annex up", program, func(w *crashWorld, c *crashBase) []uint32 {
		manyGaps(w, c, 5, true)
		return sockets(w, c)
	}, step(func(h *crashHost, at []uint32) { h.top.Abort(at[2]) })},
	{"a timer", program, func(w *crashWorld, c *crashBase) []uint32 {
		c.write(w, 5000)
		w.now += 3 * tcp.Second
		return nil
	}, turn},
	{"a SYN", program, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.dial(w.a, 2001, crashPort)
		return nil
	}, turn},
	{"the handshake's end", program, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.dial(w.a, 2001, crashPort)
		w.a.top.Step()
		w.b.top.Step()
		return nil
	}, turn},
	{"accept", program, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.dial(w.a, 2001, crashPort)
		w.b.dial(w.a, 2002, crashPort)
		w.settle()
		return sockets(w, c)
	}, step(func(h *crashHost, at []uint32) { h.top.Accept(at[3]) })},
	{"close a listener", program, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.dial(w.a, 2001, crashPort)
		w.settle()
		w.b.dial(w.a, 2002, crashPort)
		w.a.top.Step()
		return sockets(w, c)
	}, step(func(h *crashHost, at []uint32) { h.top.Close(at[3]) })},
	{"close", program, sockets, step(func(h *crashHost, at []uint32) { h.top.Close(at[0]) })},
	{"close with data unread", program, sockets, step(func(h *crashHost, at []uint32) { h.top.Close(at[2]) })},
	{"shutdown", program, sockets, step(func(h *crashHost, at []uint32) { h.top.Shutdown(at[0]) })},
	{"close for reading", program, sockets, step(func(h *crashHost, at []uint32) { h.top.CloseRead(at[2]) })},
	{"abort", program, sockets, step(func(h *crashHost, at []uint32) { h.top.Abort(at[2]) })},
	{"a FIN", program, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.top.Shutdown(c.y)
		return nil
	}, turn},
	{"a RST", program, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.top.Abort(c.v)
		return nil
	}, turn},
	{"options", program, sockets, step(func(h *crashHost, at []uint32) {
		h.top.SetOptions(at[0], func(o *tcp.ConnOptions) { o.SndBuf = 1 << 20; o.NoDelay = 1 })
	})},
	{"connect", child, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.listen(82, 4)
		i, _ := w.a.top.Open()
		return []uint32{i}
	}, step(crashConnect)},
	{"connect after one in TIME-WAIT", child, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.listen(82, 4)
		i, _ := w.a.top.Open()
		return []uint32{i}
	}, crashConnectAfter},
	{synByServer, child, func(w *crashWorld, c *crashBase) []uint32 {
		return nil
	}, func(h *crashHost, _ []uint32) func() {
		syn := crashSyn(h)
		return func() { h.bottom.Arrive(syn, 0) }
	}},
	{"stand in", child, func(w *crashWorld, c *crashBase) []uint32 {
		c.send(w, 30000)
		c.write(w, 30000)
		w.b.top.Step()
		return nil
	}, step(func(h *crashHost, _ []uint32) { h.bottom.Look(true); h.bottom.Look(true) })},
	{"free sockets", child, func(w *crashWorld, c *crashBase) []uint32 {
		w.a.top.Abort(c.u)
		w.a.top.Close(c.l)
		return nil
	}, step(func(h *crashHost, _ []uint32) { h.bottom.Look(false) })},
	{"leave a connection to another pool", program, leaving, step(func(h *crashHost, at []uint32) {
		h.top.call(func() { h.top.departTo(at[0], crashElsewhere) })
	})},
	{"a packet for a connection that has gone", program, func(w *crashWorld, c *crashBase) []uint32 {
		return gone(w, c, 0, true)
	}, turn},
	{"hear that the server knows where a connection has gone", child, func(w *crashWorld, c *crashBase) []uint32 {
		return gone(w, c, 0, false)
	}, hears((*Bottom).ServerKnows)},
	{"hear that the peer knows where a connection has gone", child, func(w *crashWorld, c *crashBase) []uint32 {
		return gone(w, c, heardServer, false)
	}, hears(func(b *Bottom, f wire.Flow) {
		b.Change(func() { b.heard(b.graveOf(&f), heardPeer) }) // over devices there is no such peer
	})},
	{"find a connection that has gone on", child, func(w *crashWorld, c *crashBase) []uint32 {
		return gone(w, c, heardPeer, false)
	}, hears(func(b *Bottom, f wire.Flow) { b.Found(f, crashElsewhere+1) })},
	{"forget a connection that has gone", child, func(w *crashWorld, c *crashBase) []uint32 {
		at := gone(w, c, heardServer|heardPeer, false)
		w.now += (graveTime + 1) * tcp.Second
		return at
	}, func(h *crashHost, at []uint32) func() {
		h.bottom.Change(func() { h.bottom.bid(at[0]) }) // as its predecessor did
		return func() { h.bottom.Look(true) }
	}},
	{"the program has ended", both, sockets, step(func(h *crashHost, _ []uint32) {
		h.bottom.ProgramEnded(func() bool { return false })
	})},
	{"the program is dead", both, sockets, step(func(h *crashHost, _ []uint32) {
		h.bottom.ProgramEnded(func() bool { return true })
	})},
	{"repair after a death while writing", both, func(w *crashWorld, c *crashBase) []uint32 {
		w.a.top.DieWriting(c.x, stream(c.x, c.written, 30000), 0x5a)
		return nil
	}, step(func(h *crashHost, _ []uint32) { h.bottom.ProgramEnded(func() bool { return true }) })},
	{"repair after a death while reading", both, func(w *crashWorld, c *crashBase) []uint32 {
		w.b.dial(w.a, 2001, crashPort)
		c.write(w, 30000)
		w.settle()
		w.a.top.DieReading(c.u, 0xa5)
		return nil
	}, step(func(h *crashHost, _ []uint32) { h.bottom.ProgramEnded(func() bool { return true }) })},
}

// crashElsewhere is another pool of a's host.
var crashElsewhere = wire.NewVCI(1, 2)

// leaving makes a connection that goes to another pool, and whose other end is no more:
// nobody misses it.
func leaving(w *crashWorld, _ *crashBase) []uint32 { return []uint32{alone(w, false)} }

// alone makes a connection of a's and ends it at b, after it has sent something if so
// wanted.
func alone(w *crashWorld, sends bool) uint32 {
	i, theirs := w.a.pair(w.b, 1003)
	w.now += holdSoon
	if sends {
		w.b.top.Write(theirs, make([]byte, 100))
	}
	w.b.bottom.Change(func() { w.b.bottom.fail(theirs, tcp.ErrReset) })
	w.b.top.Close(theirs)
	return i
}

// gone makes a connection of a's go to another pool, of which those have heard.
func gone(w *crashWorld, _ *crashBase, heard uint8, sends bool) []uint32 {
	i := alone(w, sends)
	w.a.bottom.Change(func() {
		w.a.bottom.departTo(i, crashElsewhere)
		w.a.bottom.heard(i, heard)
	})
	return []uint32{i}
}

// hears is a step in which the child hears of a connection that has gone.
func hears(f func(*Bottom, wire.Flow)) func(*crashHost, []uint32) func() {
	return step(func(h *crashHost, at []uint32) { f(h.bottom, h.top.conns[at[0]].Flow) })
}

// readAt has b read up to n octets on y, and checks nothing: who takes over does.
func (c *crashBase) readAt(w *crashWorld, n int) {
	for n > 0 {
		k, _ := w.b.top.Read(c.y, make([]byte, min(n, 64<<10)))
		if k == 0 {
			return
		}
		n -= k
		c.gotY += k
	}
}

// placeable has packets come for a connection of which nothing is to be read first; with
// gap one before them is lost.
func placeable(w *crashWorld, c *crashBase, gap bool) []uint32 {
	c.readAll(w)
	if gap {
		c.lose(w)
	}
	c.send(w, 9000)
	c.send(w, 30000)
	return sockets(w, c)
}

// readAll has a read all that has come on u.
func (c *crashBase) readAll(w *crashWorld) {
	for range 100 {
		n, _ := w.a.top.Read(c.u, make([]byte, 64<<10))
		c.gotU += n
	}
	w.settle()
}

// awaits is a turn in which a program waits for short packets, with room for few.
func awaits(h *crashHost, at []uint32) func() {
	into, n := make([]byte, 130), 0
	clear(into)
	h.top.wanted = func(i uint32) ([]byte, int) { return into[n:], n }
	h.top.placed = func(_ uint32, k int) { n += k }
	return func() {
		h.top.Step()
		if n == 0 {
			panic("BUG: nothing is tried")
		}
	}
}

// places is a turn for which a program waits with memory for payloads. Over devices so
// many packets at least land there, or if it is none, one is copied back.
func places(least uint64) func(*crashHost, []uint32) func() {
	return func(h *crashHost, at []uint32) func() {
		into, n := make([]byte, 64<<10), 0
		clear(into)
		h.top.wanted = func(i uint32) ([]byte, int) { return into[n:], n }
		h.top.placed = func(_ uint32, k int) { n += k }
		h.top.next = foresight{conn: at[2], header: 52, streak: streakMost}
		return func() {
			h.top.Step()
			if c := &h.top.ctl.Counters; h.w.devices && (c.Placed < least || (c.PlaceMissed > 0) != (least == 0)) {
				panic("BUG: nothing is tried")
			}
		}
	}
}

// outOfOrder has packets of b get lost, so that what comes next is out of order.
func outOfOrder(w *crashWorld, c *crashBase) []uint32 {
	before := w.a.top.Conn(c.u).Stats.OutOfOrder
	for k := range 6 {
		c.send(w, 3000)
		if k%2 == 0 {
			w.a.drop() // and nobody looks at it
		}
		w.a.step()
	}
	if w.a.top.Conn(c.u).Stats.OutOfOrder == before {
		panic("BUG: nothing came out of order")
	}
	c.send(w, 2000)
	c.send(w, 9000)
	return nil
}

// manyGaps is outOfOrder with n gaps at a, which has an annex then or has not, and
// another packet behind a further gap.
func manyGaps(w *crashWorld, c *crashBase, n int, annex bool) []uint32 {
	for range n {
		c.lose(w)
		c.send(w, 3000)
		w.a.step()
		for range 8 { // b is not told, or it would fill the gaps
			w.b.drop()
		}
	}
	if got := w.a.top.Conn(c.u).Annex != 0; got != annex {
		panic("BUG: nothing is tried")
	}
	c.lose(w)
	c.send(w, 2000)
	return nil
}

// lose has b send a packet that gets lost.
func (c *crashBase) lose(w *crashWorld) {
	c.send(w, 3000)
	w.a.drop()
}

// tracedCases are steps that there are not, for the test of what traces them.
var tracedCases = []crashCase{
	{"call with the lock", program, nothing, withLock(func() { unix.Getppid() })},
	{"be scheduled with the lock", program, nothing, withLock(runtime.Gosched)},
	{"have the runtime call with the lock", program, nothing, pollWithLock},
	{"call without the lock", program, nothing, step(func(*crashHost, []uint32) { unix.Getppid() })},
}

// pollWithLock has the runtime look what descriptors are ready, as it does whenever the
// world starts again.
func pollWithLock(h *crashHost, at []uint32) func() {
	if r, w, err := os.Pipe(); err == nil { // from now on there is something to look at
		r.Close()
		w.Close()
	}
	return withLock(func() { runtime.ReadMemStats(new(runtime.MemStats)) })(h, at)
}

func withLock(f func()) func(*crashHost, []uint32) func() {
	return step(func(h *crashHost, _ []uint32) {
		h.top.lock.Lock(-1)
		f()
		h.top.lock.Unlock()
	})
}

func caseNamed(name string) (*crashCase, error) {
	for _, all := range [][]crashCase{crashCases, tracedCases} {
		for i := range all {
			if all[i].name == name {
				return &all[i], nil
			}
		}
	}
	return nil, fmt.Errorf("no case %q", name)
}
