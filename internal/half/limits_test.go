package half

import (
	"bytes"
	"math"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// another connects the host of pair with itself once more.
func (b *bench) another(listener uint32, port uint16) (active, passive uint32) {
	b.t.Helper()
	here := b.top.Conn(listener).Flow.Local
	from := here
	from.Port = port
	active, _ = b.top.Open()
	if !b.bottom.Connect(active, wire.Flow{Local: from, Remote: here}, 0) {
		b.t.Fatal("Connect failed")
	}
	b.run()
	passive, ok := b.top.Accept(listener)
	if !ok {
		b.t.Fatal("nothing to accept")
	}
	return active, passive
}

// allow says what the pool may have: change changes Unlimited.
func (b *bench) allow(change func(a *Allowance)) {
	a := Unlimited
	change(&a)
	b.bottom.Allow(a)
}

func (b *bench) load() Load {
	b.bottom.Look(true)
	return b.bottom.Load()
}

// As many orphans as are allowed wait for their peers; one more is reset and counted.
// An orphan that has ended, or is in TIME-WAIT, makes room.
func TestOneOrphanTooMany(t *testing.T) {
	b := newBench(t, 64)
	x1, y1, l := b.pair()
	x2, y2 := b.another(l, 1025)
	b.allow(func(a *Allowance) { a.Orphans = 1 })
	b.top.Close(x1)
	b.top.Close(x2)
	b.run()
	if c := b.top.Conn(y2); c.State != tcp.Closed || c.Error != tcp.ErrReset {
		t.Errorf("the peer of one orphan too many is %v, %v", c.State, c.Error)
	}
	if s := b.top.Conn(y1).State; s != tcp.CloseWait {
		t.Errorf("the first orphan's peer is %v", s)
	}
	if n := b.top.ctl.Counters.OrphansFull; n != 1 {
		t.Errorf("%d orphans too many, want 1", n)
	}
	if l := b.load(); l.Orphans != 1 {
		t.Errorf("%d orphans, want 1", l.Orphans)
	}
	b.top.Close(y1) // y1 in LAST-ACK is one more
	b.run()
	if n := b.top.ctl.Counters.OrphansFull; n != 2 {
		t.Errorf("%d orphans too many, want 2", n)
	}
	x3, y3 := b.another(l, 1026)
	b.top.Shutdown(y3)
	b.run()
	b.top.Close(x3) // LAST-ACK, and nobody's in a moment; y3 in TIME-WAIT is not an orphan's time
	b.run()
	b.top.Close(y3)
	b.run()
	if n := b.top.ctl.Counters.OrphansFull; n != 2 {
		t.Errorf("%d orphans too many, though there was room", n)
	}
	if s := b.top.Conn(y3).State; s != tcp.TimeWait || b.load().Orphans != 0 {
		t.Errorf("%v, %d orphans; want TIME-WAIT, none", s, b.load().Orphans)
	}
}

// Repair counts orphans anew, and so does the audit.
func TestRepairCountsOrphans(t *testing.T) {
	b := newBench(t, 64)
	x, _, _ := b.pair()
	b.top.Close(x)
	b.run()
	b.top.ctl.limits.orphans = 77
	if b.audit.Check(b.now) == nil {
		t.Error("a wrong count passes the audit")
	}
	b.bottom.Change(func() { b.bottom.repair(dropReserved) })
	check(t, b.audit.Check(b.now))
	if n := b.load().Orphans; n != 1 {
		t.Errorf("%d orphans, want 1", n)
	}
}

func TestOrphansWaitAsLongAsTheServerSays(t *testing.T) {
	b := newBench(t, 16)
	x, _, _ := b.pair()
	b.allow(func(a *Allowance) { a.FinWait = 7 * time.Second })
	b.top.Close(x)
	b.run()
	b.now += 6900 * tcp.Millisecond
	b.run()
	if s := b.top.Conn(x).State; s != tcp.FinWait2 {
		t.Fatalf("%v after 6.9 s, want FIN-WAIT-2", s)
	}
	b.now += 200 * tcp.Millisecond
	b.run()
	if n := b.load().Orphans; n != 0 {
		t.Errorf("%d orphans after 7.1 s", n)
	}
}

func TestOneSocketTooMany(t *testing.T) {
	b := newBench(t, 16)
	b.allow(func(a *Allowance) { a.Sockets = 2 })
	b.top.Open()
	b.top.Open()
	if _, ok := b.top.Open(); ok {
		t.Error("a third socket of two")
	}
	if l := b.load(); l.Sockets != 2 {
		t.Errorf("%d sockets, want 2", l.Sockets)
	}
	b.allow(func(*Allowance) {})
	if _, ok := b.top.Open(); !ok {
		t.Error("no socket, though there is room again")
	}
}

// What the program writes over the server's word is gone at the next tick.
func TestTheProgramCannotAllowItself(t *testing.T) {
	b := newBench(t, 16)
	b.allow(func(a *Allowance) { a.Level, a.Orphans = Full, 3 })
	b.top.ctl.limits = limits{}
	b.bottom.Look(true)
	if l := b.top.ctl.limits; l.level != Full || l.maxOrphans != 3 {
		t.Errorf("%+v", l)
	}
}

// While memory is full each connection gets a little each way, so that it comes to
// its end; the rest waits for memory, and then goes on.
func TestFullMemoryStopsWriters(t *testing.T) {
	b := newBench(t, 64)
	x, y, _ := b.pair()
	b.drv.deaf = true
	b.allow(func(a *Allowance) { a.Level = Full })
	big := make([]byte, 50_000)
	if n := b.top.Write(x, big); n != leastBuffer {
		t.Fatalf("wrote %d octets, want %d", n, leastBuffer)
	}
	if n := b.top.Write(x, big); n != 0 {
		t.Fatalf("wrote %d octets more", n)
	}
	b.top.Happenings(nil)
	b.run()
	if h := b.top.Happenings(nil); len(h) != 0 {
		t.Errorf("the writer was told %+v, and there is no memory", h)
	}
	b.drv.deaf = false
	for range 10 {
		b.now += 2 * tcp.Second
		b.run()
	}
	if got := b.readAll(y); got != leastBuffer {
		t.Errorf("%d octets arrived", got)
	}
	b.run()
	if n := b.top.Write(x, big); n != leastBuffer {
		t.Errorf("wrote %d octets when all had arrived, want %d", n, leastBuffer)
	}
	b.top.Write(x, big)
	b.top.Happenings(nil)
	b.allow(func(a *Allowance) { a.Level = Pressure })
	b.run()
	told := false
	for _, h := range b.top.Happenings(nil) {
		told = told || h.Socket == x && h.Events&tcp.EventWritable != 0
	}
	if n := b.top.Write(x, big); !told || n < leastBuffer {
		t.Errorf("there is memory again: told %v, wrote %d", told, n)
	}
}

func (b *bench) readAll(i uint32) (sum int) {
	p := make([]byte, 100_000)
	for {
		n, _ := b.top.Read(i, p)
		if sum += n; n == 0 {
			return sum
		}
		b.run()
	}
}

// A receiver whose host is full drops what it would have to keep, beyond a little. It
// comes again.
func TestFullMemoryStopsReceivers(t *testing.T) {
	b := newBench(t, 64)
	x, y, _ := b.pair()
	sent := octets(5, 12_000)
	for at := 0; at < len(sent); {
		at += b.top.Write(x, sent[at:])
		if at == len(sent) {
			break
		}
		b.run()
	}
	b.allow(func(a *Allowance) { a.Level = Full })
	b.run()
	if n := b.top.ctl.Counters.MemoryFull; n == 0 {
		t.Error("no packet was dropped")
	}
	if have, _ := b.top.Conn(y).Readable(); have < leastBuffer || have > leastBuffer+1500 {
		t.Errorf("%d octets are kept, want about %d", have, leastBuffer)
	}
	var got []byte
	p := make([]byte, len(sent))
	b.allow(func(a *Allowance) {})
	for range 20 {
		b.now += 2 * tcp.Second
		b.run()
		n, _ := b.top.Read(y, p)
		got = append(got, p[:n]...)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d octets arrived, of %d", len(got), len(sent))
	}
}

// What lies in the memory of a peer on the ring is the peer's to count.
func TestFullMemoryTakesWhatCostsNothing(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	b := &h.bottom.Half
	b.ctl.limits.level = Full
	b.conns[0].RcvQ.Bytes = leastBuffer
	for _, row := range []struct {
		name string
		p    pool.Packet
		want bool
	}{
		{"an acknowledgement", pool.Packet{Circuit: 3}, true},
		{"a short payload", pool.Packet{Circuit: 3, Payload: 100, Inline: 100}, false},
		{"by a device", pool.Packet{Circuit: pool.NIC, Payload: 9000, NPieces: 1}, false},
	} {
		if got := b.mayTake(0, &row.p); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
	b.conns[0].RcvQ.Bytes--
	if !b.mayTake(0, &pool.Packet{Circuit: pool.NIC, Payload: 9000, NPieces: 1}) {
		t.Error("less than a little was not taken")
	}
}

func TestPressureEndsTuning(t *testing.T) {
	b := newBench(t, 64)
	x, _, _ := b.pair()
	for _, row := range []struct {
		level Level
		grows bool
	}{{Pressure, false}, {Full, false}, {Plenty, true}} {
		b.allow(func(a *Allowance) { a.Level = row.level })
		b.top.SetOptions(x, func(o *tcp.ConnOptions) { o.SndBuf, o.SndMax = 4096, 1<<20 })
		b.top.Write(x, make([]byte, 3000))
		b.run()
		if grew := b.top.Conn(x).Opt.SndBuf > 4096; grew != row.grows {
			t.Errorf("level %d: the send buffer grew: %v", row.level, grew)
		}
	}
}

// A goroutine that waits for memory goes on when the server says that there is some.
func TestWriterWaitsForMemory(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	x, y := connect(t, a, b)
	full := Unlimited
	full.Level = Full
	a.bottom.Allow(full)
	sent := octets(9, 300_000)
	done := make(chan error, 1)
	go func() {
		_, err := x.Write(sent)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("300,000 octets went into a full host: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if u := a.top.Usage(); u.TxBuffers > 2 {
		t.Errorf("%d buffers are in use", u.TxBuffers)
	}
	a.bottom.Allow(Unlimited)
	wantRead(t, y, sent)
	check(t, <-done)
}

func TestLoadCountsBuffers(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	x, y := connect(t, a, b)
	if l := a.bottom.Load(); l.Buffers != 0 {
		t.Errorf("%d octets in use before anything was sent", l.Buffers)
	}
	sent := octets(4, 100_000)
	_, err := x.Write(sent)
	check(t, err)
	wantWithin(t, "the sender's buffers to be counted", func() bool { return a.bottom.Load().Buffers >= 100_000 })
	if l := a.bottom.Load(); l.Sockets == 0 || l.Sockets > 3 {
		t.Errorf("%d sockets", l.Sockets)
	}
	wantRead(t, y, sent)
	wantWithin(t, "the buffers to be free", func() bool { return a.bottom.Load().Buffers == 0 && b.bottom.Load().Buffers == 0 })
}

func TestLinger2OfTheHost(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	s, err := h.top.Open()
	check(t, err)
	a := Unlimited
	a.FinWait = 33 * time.Second
	h.bottom.Allow(a)
	for _, row := range [][2]int{{0, 33}, {5, 5}, {-1, -1}, {500, 33}} {
		check(t, s.SetOption(syscall.IPPROTO_TCP, syscall.TCP_LINGER2, row[0]))
		if v, err := s.Option(syscall.IPPROTO_TCP, syscall.TCP_LINGER2); err != nil || v != row[1] {
			t.Errorf("TCP_LINGER2 set to %d: %d, %v; want %d", row[0], v, err, row[1])
		}
	}
}

// Numbers that a program has made up do not become more than a segment can have.
func TestLoadOfARuinedSegment(t *testing.T) {
	b := newBench(t, 16)
	b.top.ctl.live, b.top.ctl.limits.orphans = math.MaxUint32, math.MaxUint32
	b.top.ctl.rx.Free.Free = math.MaxUint32
	b.bottom.Look(true)
	if l := b.bottom.Load(); l.Sockets > MaxConns || l.Orphans > MaxConns || l.Buffers > rxBuffers*rxSize {
		t.Errorf("%+v", l)
	}
}
