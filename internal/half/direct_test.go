package half

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// bench is one host without goroutines: its packets go to itself.
type bench struct {
	t      testing.TB
	now    tcp.Time
	top    *Direct
	bottom *Bottom
	drv    *loop
	audit  *Auditor
	seg    *shm.Segment
}

// loop is a driver with one circuit that leads back to its own host.
type loop struct {
	pool.Driver // what is not needed panics
	octets      []byte
	list        pool.List
	bufs        pool.Buffers
	rx          []pool.Packet
	held        [][]uint32 // buffers of each packet that was sent
	asked       int        // calls of Notify for released buffers
	deaf        bool
	offload     uint32
	see         func(*pool.Packet)
	loses       func(*pool.Packet) bool
	refuses     func(*pool.Packet) bool
}

func newLoop(buffers int) *loop {
	l := &loop{octets: make([]byte, buffers*2048)}
	l.bufs = pool.NewBuffers(&l.list, make([]uint32, buffers), make([]uint32, buffers), 2048, 0)
	l.bufs.Reset(buffers)
	return l
}

func (l *loop) Receive(p *pool.Packet) bool {
	if len(l.rx) == 0 {
		return false
	}
	*p, l.rx = l.rx[0], l.rx[1:]
	return true
}

func (l *loop) Send(p *pool.Packet) bool {
	if l.refuses != nil && l.refuses(p) {
		return false
	}
	if l.deaf || l.loses != nil && l.loses(p) {
		return true
	}
	if l.see != nil {
		l.see(p)
	}
	for _, b := range p.Bufs[:p.NPieces] {
		l.bufs.Ref(b)
	}
	q := *p
	q.ID, q.Region = uint32(len(l.held)), pool.RxRegion(0)
	l.held = append(l.held, slices.Clone(p.Bufs[:p.NPieces]))
	l.rx = append(l.rx, q)
	return true
}

func (l *loop) Release(_ uint16, id uint32, pieces int) {
	if pieces != len(l.held[id]) {
		panic("BUG: pieces are released one by one")
	}
	for _, b := range l.held[id] {
		l.bufs.Unref(b)
	}
	l.held[id] = nil
}

func (l *loop) Execute(ops []pool.Op)          { pool.Perform(l, ops) }
func (l *loop) MayRefuse(uint16) bool          { return l.refuses != nil }
func (l *loop) Crossings() uint64              { return 0 }
func (l *loop) Crowded(uint16) bool            { return true }
func (l *loop) Usable(c uint16) bool           { return c == 0 }
func (l *loop) Use(uint16, int)                {}
func (l *loop) Room(uint16) int                { return 64 }
func (l *loop) Backlog(uint16) int             { return 0 }
func (l *loop) Flush(*shm.Rings)               {}
func (l *loop) Arm() bool                      { return l.Pending() }
func (l *loop) Awake()                         {}
func (l *loop) Pending() bool                  { return len(l.rx) > 0 }
func (l *loop) Glance() bool                   { return l.Pending() }
func (l *loop) Notice()                        {}
func (l *loop) Changed() bool                  { return false }
func (l *loop) Mapped(uint16) bool             { return true }
func (l *loop) Offload(uint16) uint32          { return l.offload }
func (l *loop) BufferSize() int                { return 2048 }
func (l *loop) Octets(uint16) []byte           { return l.octets }
func (l *loop) Ref(_ uint16, b uint32)         { l.bufs.Ref(b) }
func (l *loop) Unref(_ uint16, b uint32)       { l.bufs.Unref(b) }
func (l *loop) Alloc(uint16) (b, off uint32)   { return l.bufs.Alloc() }
func (l *loop) Notify(_ uint16, _, freed bool) { l.asked += map[bool]int{true: 1}[freed] }
func (l *loop) Rebuild(tx, _ func(uint16, uint32) uint32) {
	l.bufs.Rebuild(func(b uint32) uint32 { return tx(pool.TxRegion(0), b) })
}

func newBench(t testing.TB, buffers int) *bench {
	t.Helper()
	b := &bench{t: t, now: 1000 * tcp.Second, drv: newLoop(buffers)}
	seg, err := shm.Create("test-direct", Version, Specs(nil)...)
	check(t, err)
	t.Cleanup(func() { seg.Close() })
	check(t, Initialise(seg, 1500))
	b.seg = seg
	cfg := Config{
		Segment: seg, Driver: b.drv, Bell: new(shm.Bell),
		Doorbells: [2]shm.Doorbell{shm.NoDoorbell, shm.NoDoorbell},
		Clock:     func() tcp.Time { return b.now },
	}
	b.top, err = NewDirect(cfg)
	check(t, err)
	b.bottom, err = NewBottom(cfg, b)
	check(t, err)
	b.audit = NewAuditor(b.bottom, func(tx, _ func(uint16, uint32) uint32) error { return nil })
	return b
}

func (b *bench) Send([]byte) { b.t.Error("a packet without a circuit") }

func (b *bench) Gone(_ uint32, _ Registered, _ wire.Flow, done func()) { done() }

// run drives until nothing happens.
func (b *bench) run() {
	b.t.Helper()
	for b.top.Step() {
		check(b.t, b.audit.Check(b.now))
	}
	b.bottom.Look(false)
	check(b.t, b.audit.Check(b.now))
}

// pair connects the host with itself and returns both ends and the listener.
func (b *bench) pair() (active, passive, listener uint32) {
	b.t.Helper()
	here := wire.Endpoint{Addr: wire.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 1}, Port: 80}
	listener, _ = b.top.Open()
	b.top.Listen(listener, here, 4)
	active, _ = b.top.Open()
	from := here
	from.Port = 1024
	if !b.bottom.Connect(active, wire.Flow{Local: from, Remote: here}, 0) {
		b.t.Fatal("Connect failed")
	}
	b.run()
	passive, ok := b.top.Accept(listener)
	if !ok {
		b.t.Fatalf("nothing to accept; %v", b.top.Conn(active).State)
	}
	return active, passive, listener
}

func TestDirectTalks(t *testing.T) {
	b := newBench(t, 16)
	x, y, l := b.pair()
	if n := b.top.Write(x, []byte("hello")); n != 5 {
		t.Fatalf("wrote %d", n)
	}
	b.top.Shutdown(x)
	b.run()
	got := make([]byte, 100)
	n, fin := b.top.Read(y, got)
	if string(got[:n]) != "hello" || !fin {
		t.Errorf("read %q, end %v", got[:n], fin)
	}
	b.top.Close(y)
	b.top.Close(x)
	b.top.Close(l)
	b.run()
	if b.audit.Nothing() == nil {
		t.Error("TIME-WAIT has gone already")
	}
	b.now += 61 * tcp.Second
	b.run()
	check(t, b.audit.Nothing())
}

// The end of a listener aborts the connections that nobody has accepted. An abort
// gave up the chunks of what was not sent, and the close behind it, in the same
// step, found them not taken yet: the program panicked with the lock.
func TestAbortWithDataUnsent(t *testing.T) {
	b := newBench(t, 16)
	x, y, l := b.pair()
	b.drv.deaf = true
	if n := b.top.Write(x, make([]byte, 5000)); n != 5000 {
		t.Fatalf("wrote %d", n)
	}
	b.top.Abort(x)
	b.run()
	b.top.Abort(y)
	b.top.Close(l)
	b.run()
	check(t, b.audit.Nothing())
}

// A writer that found no buffer was told at each turn that it could write again,
// asked again, and was told again: it used a whole CPU until some came.
func TestWriterWithoutBuffersIsNotToldInVain(t *testing.T) {
	b := newBench(t, 4)
	x, _, _ := b.pair()
	b.drv.deaf = true // what is sent gets lost: the buffers stay in use
	for b.top.Write(x, make([]byte, 8192)) > 0 {
	}
	b.run()
	b.top.Happenings(nil)
	if n := b.top.Write(x, []byte("x")); n != 0 {
		t.Fatalf("wrote %d without a buffer", n)
	}
	asked := b.drv.asked
	b.top.Step()
	if got := b.top.Happenings(nil); len(got) != 0 {
		t.Errorf("the writer is told %v, and there is no buffer", got)
	}
	if b.drv.asked == asked {
		t.Error("the driver was not asked again for a wake-up when buffers are released")
	}
	for i := range uint32(4) { // the peer has acknowledged: simulated by giving room
		if b.drv.bufs.Refs(i) == 0 {
			t.Fatalf("buffer %d is free", i)
		}
	}
	b.drv.bufs = newLoop(8).bufs
	b.top.Step()
	if got := b.top.Happenings(nil); len(got) != 1 || got[0].Socket != x || got[0].Events&tcp.EventWritable == 0 {
		t.Errorf("there are buffers again, and the writer is told %v", got)
	}
}

// The acknowledgement of a SYN cookie found the listener's queue full and was
// dropped, to be sent again; the data behind it, by which no cookie can be known,
// was answered with RST, which ended a good connection.
func TestDataBehindACookieIsNotReset(t *testing.T) {
	b := newBench(t, 64)
	_, _, l := b.pair()
	la := &b.top.aux[l]
	steps := func() {
		for b.top.Step() {
		}
	}
	to := b.top.Conn(l).Flow.Local
	from := to
	from.Port = 2000
	la.embryos += 100 // as under a flood: the SYN gets a cookie
	x, _ := b.top.Open()
	b.bottom.Connect(x, wire.Flow{Local: from, Remote: to}, 0)
	b.top.Step()
	la.embryos -= 100
	la.acceptCount += 100 // and then the program does not accept for a while
	steps()
	if n := b.top.Counters().CookiesSent; n != 1 {
		t.Fatalf("%d cookies were sent", n)
	}
	if n := b.top.Write(x, make([]byte, 6000)); n != 6000 {
		t.Fatalf("wrote %d", n)
	}
	steps()
	if c := b.top.Conn(x); c.State != tcp.Established || b.top.Counters().ListenFull == 0 {
		t.Fatalf("%v, %v; queue full %d times", c.State, c.Error, b.top.Counters().ListenFull)
	}
	la.acceptCount -= 100
	for range 5 {
		b.now += tcp.Second
		b.run()
	}
	y, ok := b.top.Accept(l)
	if !ok {
		t.Fatalf("the cookie has made no connection; %v, %v", b.top.Conn(x).State, b.top.Conn(x).Error)
	}
	if n, _ := b.top.Read(y, make([]byte, 9000)); n != 6000 {
		t.Errorf("read %d octets of 6000", n)
	}
}

func TestDeathInAStep(t *testing.T) {
	deaths := map[string]func(b *bench, x, y uint32){
		"reading": func(b *bench, x, y uint32) { b.top.DieReading(y, 0xa5) },
		"writing": func(b *bench, x, y uint32) { b.top.DieWriting(x, make([]byte, 4000), 0xa5) },
	}
	for name, die := range deaths {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 16)
			x, y, _ := b.pair()
			b.top.Write(x, bytes.Repeat([]byte("usertcp "), 100))
			b.run()
			before := [2]tcp.Conn{*b.top.Conn(x), *b.top.Conn(y)}
			die(b, x, y)
			if b.audit.Check(b.now) == nil {
				t.Error("the segment is in order, so that there is nothing to repair")
			}
			b.bottom.ProgramEnded(func() bool { return true })
			check(t, b.audit.Check(b.now))
			if b.top.Counters().Repairs != 1 {
				t.Errorf("%d repairs", b.top.Counters().Repairs)
			}
			for i, c := range []*tcp.Conn{b.top.Conn(x), b.top.Conn(y)} {
				if c.Flow != before[i].Flow || c.Stats.BytesIn < before[i].Stats.BytesIn {
					t.Errorf("connection %d is not what it was", i)
				}
			}
			b.now += 300 * tcp.Second
			for range 5 {
				b.bottom.Look(true)
			}
			check(t, b.audit.Nothing())
		})
	}
}

// What the auditor is for: each row breaks something, and it is named.
func TestAuditorFinds(t *testing.T) {
	rows := []struct {
		want  string
		wreck func(b *bench, x, y uint32)
	}{
		{"not ended", func(b *bench, x, y uint32) { b.top.begin(x) }},
		{"not in the wheel", func(b *bench, x, y uint32) { b.top.wheel.remove(b.top.aux, x) }},
		{"chunks are free", func(b *bench, x, y uint32) { b.top.ctl.chunks.Free-- }},
		{"in a queue false, free false", func(b *bench, x, y uint32) { b.top.allocChunk() }},
		{"twice in the free list", func(b *bench, x, y uint32) {
			f := b.top.ctl.chunks.Head
			b.top.chunks[f].Next = f
		}},
		{"is in two queues", func(b *bench, x, y uint32) { b.top.conns[y] = b.top.conns[x] }},
		{"references", func(b *bench, x, y uint32) { b.top.rx.Ref(b.top.ctl.packing) }},
		{"connections are in use", func(b *bench, x, y uint32) { b.top.ctl.live++ }},
		{"say that they are in it", func(b *bench, x, y uint32) { b.top.aux[x].inLists |= 1 << listTop }},
		{"not looked at", func(b *bench, x, y uint32) { b.top.enlist(listTouched, x) }},
		{"embryos", func(b *bench, x, y uint32) { b.top.aux[0].embryos++ }},
		{"annex 0 is another connection's", func(b *bench, x, y uint32) {
			b.top.ctl.annexes.Alloc(b.top.annexLinks)
			for _, i := range []uint32{x, y} {
				b.top.begin(i).GiveAnnex(&b.top.mem, 0)
				b.top.end(i)
			}
		}},
		{"annexes are free", func(b *bench, x, y uint32) { b.top.ctl.annexes.Free-- }},
		{"annex 0 is lost", func(b *bench, x, y uint32) { b.top.ctl.annexes.Alloc(b.top.annexLinks) }},
		{"no timer is set", func(b *bench, x, y uint32) { stopTimers(&b.top.conns[x]) }},
	}
	for _, row := range rows {
		t.Run(row.want, func(t *testing.T) {
			b := newBench(t, 16)
			x, y, _ := b.pair()
			b.top.Write(x, []byte("to be packed"))
			b.run()
			b.drv.deaf = true
			b.top.Write(x, make([]byte, 3000))
			b.run()
			b.top.Read(y, make([]byte, 100)) // some chunks are free, some in use
			row.wreck(b, x, y)
			if err := b.audit.Check(b.now); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("found %v, want something with %q", err, row.want)
			}
		})
	}
}

// stopTimers takes a connection's timers away as a bug would.
func stopTimers(c *tcp.Conn) {
	state := *c
	*c = tcp.Conn{State: tcp.SynSent, Flow: state.Flow, Opt: state.Opt}
}

// A driver that cuts segments gets trains, with all their pieces and the size of
// what it is to make of them; one that does not gets none.
func TestDriverThatCutsSegmentsGetsTrains(t *testing.T) {
	const mss = 1448 // with timestamps
	for _, x := range []struct {
		name    string
		offload uint32
		most    int // octets of payload
	}{
		{"cuts nothing", 0, mss},
		{"cuts packets of up to 7300 octets", 7300, 4 * mss},
		{"more than a packet can refer to", pool.MaxPDU, (pool.MaxPieces - 1) * 2048 / mss * mss},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := newBench(t, 64)
			b.drv.offload = x.offload
			from, to, _ := b.pair()
			b.top.Half.conns[from].Opt.LeastTrain = 60
			b.drv.see = func(*pool.Packet) {}
			b.stream(from, to, []byte("the first data takes an option of accurate ECN along"))
			b.drv.see = func(p *pool.Packet) {
				want := uint16(0)
				if p.Payload > mss {
					want = mss
				}
				if p.SegSize != want {
					t.Errorf("%d octets of payload, to be cut into segments of %d, want %d", p.Payload, p.SegSize, want)
				}
			}
			text := bytes.Repeat([]byte("train "), 10000)
			longest := b.stream(from, to, text)
			if longest != x.most {
				t.Errorf("the longest packet has %d octets of payload, want %d", longest, x.most)
			}
		})
	}
}

// stream sends text from one end to the other and compares what arrives. It
// returns the longest payload of a packet.
func (b *bench) stream(from, to uint32, text []byte) (longest int) {
	b.t.Helper()
	see := b.drv.see
	b.drv.see = func(p *pool.Packet) {
		see(p)
		longest = max(longest, int(p.Payload))
	}
	var got []byte
	in := make([]byte, 1<<20)
	for rest := text; len(got) < len(text); {
		rest = rest[b.top.Write(from, rest):]
		b.run()
		n, _ := b.top.Read(to, in)
		if n == 0 && len(rest) == 0 {
			b.now += tcp.Second
		}
		got = append(got, in[:n]...)
		if b.now > 10_000*tcp.Second {
			b.t.Fatalf("%d octets of %d have arrived", len(got), len(text))
		}
	}
	if !bytes.Equal(got, text) {
		b.t.Error("the stream is not what was sent")
	}
	return longest
}
