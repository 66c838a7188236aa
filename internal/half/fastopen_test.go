package half

import (
	"slices"
	"syscall"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/seq"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// fastBench is a host with a listener that takes data in SYNs.
type fastBench struct {
	*bench
	l    uint32
	port uint16
}

func newFastBench(t *testing.T, queue uint16) *fastBench {
	b := &fastBench{bench: newBench(t, 64), port: 5000}
	b.l, _ = b.top.Open()
	b.top.SetOptions(b.l, func(o *tcp.ConnOptions) { o.FastOpenQueue = queue })
	b.top.Listen(b.l, fastHere, 100)
	return b
}

var (
	fastHere  = wire.Endpoint{Addr: wire.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 1}, Port: 80}
	fastThere = wire.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 9}
)

// cookieOf is the cookie that the host gives to a client.
func (b *fastBench) cookieOf(addr wire.Addr) []byte {
	first, _ := b.top.fastKeys(b.l)
	c := tcp.FastCookie(first, &wire.Flow{Local: fastHere, Remote: wire.Endpoint{Addr: addr}})
	return c[:]
}

// syn gives the host a SYN of a client with octets and a cookie, from another port
// each time, and returns the connection that came of it.
func (b *fastBench) syn(addr wire.Addr, cookie []byte, octets string) uint32 {
	b.t.Helper()
	b.port++
	t := wire.TCP{SrcPort: b.port, DstPort: 80, Seq: seq.Number(b.port) << 16, Flags: wire.SYN, Window: 60000}
	t.Options.Present = wire.HasFastOpen | wire.HasMSS
	t.Options.MSS = 1000
	t.Options.CookieLen = uint8(copy(t.Options.Cookie[:], cookie))
	b.give(addr, &t, octets)
	return b.top.lookup(&wire.Flow{Local: fastHere, Remote: wire.Endpoint{Addr: addr, Port: b.port}})
}

// reset gives the host the RST of the last client.
func (b *fastBench) reset(addr wire.Addr, octets int) {
	t := wire.TCP{SrcPort: b.port, DstPort: 80, Seq: seq.Number(b.port)<<16 + 1 + seq.Number(octets), Flags: wire.RST, Window: 60000}
	b.give(addr, &t, "")
}

func (b *fastBench) give(addr wire.Addr, t *wire.TCP, octets string) {
	ip := wire.IP{Src: addr, Dst: fastHere.Addr, Proto: wire.ProtoTCP, TTL: 64}
	p := pool.Packet{Partial: true, ID: pool.None, Payload: uint32(len(octets)), Inline: uint16(len(octets))}
	n := ip.Emit(p.Data[:], t.Len()+len(octets))
	n += t.Emit(p.Data[n:])
	p.Header = uint16(n)
	copy(p.Data[n:], octets)
	b.drv.deaf = true // the client is not here
	b.drv.rx = append(b.drv.rx, p)
	b.run()
	b.drv.deaf = false
}

func TestDataOfASynIsAcceptedAtOnce(t *testing.T) {
	b := newFastBench(t, 10)
	b.syn(fastThere, b.cookieOf(fastThere), "hello")
	y, ok := b.top.Accept(b.l)
	if !ok {
		t.Fatal("nothing to accept")
	}
	got := make([]byte, 100)
	n, _ := b.top.Read(y, got)
	if string(got[:n]) != "hello" || b.top.Conn(y).State != tcp.SynReceived {
		t.Errorf("%q in %v", got[:n], b.top.Conn(y).State)
	}
	if n := b.top.Write(y, []byte("answer")); n != 6 {
		t.Errorf("%d octets of an answer", n)
	}
	check(t, b.audit.Check(b.now))
	b.top.repair(dropReserved) // and nothing of it is lost by a death
	b.drv.deaf = true
	b.run()
	check(t, b.audit.Check(b.now))
	if c := b.top.Conn(y); c.State != tcp.SynReceived || !c.FastPending() {
		t.Error("forgotten")
	}
}

func TestDataOfASynIsNotAccepted(t *testing.T) {
	b := newFastBench(t, 10)
	other := fastThere
	other[15]++
	for name, cookie := range map[string][]byte{
		"a request": nil, "made up": {1, 2, 3, 4, 5, 6, 7, 8}, "another client's": b.cookieOf(other), "part of one": b.cookieOf(fastThere)[:4],
	} {
		i := b.syn(fastThere, cookie, "hello")
		if i == none || b.top.Conn(i).FastPending() || b.top.Conn(i).RcvQ.Bytes != 0 {
			t.Errorf("%s: the data was taken", name)
		}
	}
	if _, ok := b.top.Accept(b.l); ok {
		t.Error("there is something to accept")
	}
	check(t, b.audit.Check(b.now))
}

func TestListenerWithoutFastOpenTakesNone(t *testing.T) {
	b := newFastBench(t, 0)
	i := b.syn(fastThere, b.cookieOf(fastThere), "hello")
	if b.top.Conn(i).FastPending() {
		t.Error("the data was taken")
	}
}

// So many at one time; and one that was reset counts for a minute, lest somebody
// opens and resets them without end.
func TestConnectionsOpenedByDataAreLimited(t *testing.T) {
	b := newFastBench(t, 2)
	open := func() bool { return b.top.Conn(b.syn(fastThere, b.cookieOf(fastThere), "hello")).FastPending() }
	for n := range 2 {
		if !open() {
			t.Fatalf("not even two: %d", n)
		}
	}
	if open() {
		t.Error("a third")
	}
	for range 2 {
		i, _ := b.top.Accept(b.l)
		b.port = b.top.Conn(i).Flow.Remote.Port
		b.reset(fastThere, 5)
		if b.top.Conn(i).State != tcp.Closed {
			t.Fatalf("%v after RST", b.top.Conn(i).State)
		}
		b.top.Close(i)
	}
	b.port = 7000
	if open() {
		t.Error("two were reset and a third is opened")
	}
	b.now += (fastGrudge + 1) * tcp.Second
	if !open() {
		t.Error("none after a minute")
	}
	if n := b.top.Counters(); n.FastTaken != 3 || n.FastFull != 2 {
		t.Errorf("%d taken, %d not", n.FastTaken, n.FastFull)
	}
	check(t, b.audit.Check(b.now))
}

func (b *fastBench) setKeys(first, second [16]byte) {
	b.t.Helper()
	check(b.t, b.top.SetFastOpenKeys(b.l, first, second))
}

// Keys are a listener's own, and not those of who gets its slot after it.
func TestKeysAreAListenersOwn(t *testing.T) {
	b := newFastBench(t, 10)
	secret := b.cookieOf(fastThere)
	b.setKeys([16]byte{1}, [16]byte{2})
	if slices.Equal(b.cookieOf(fastThere), secret) {
		t.Error("the key has changed nothing")
	}
	other, _ := b.top.Open()
	if first, second := b.top.fastKeys(other); first != &b.top.ctl.secret || second != first {
		t.Error("another socket has a key of this listener's")
	}
	b.top.Close(b.l)
	b.top.aux[b.l].gen++
	if b.top.ownKeys(b.l) != nil {
		t.Error("who gets the slot has the key that was there")
	}
}

// There are places for the keys of some; those of sockets that are no more are free.
func TestKeysOfManyListeners(t *testing.T) {
	b := newFastBench(t, 10)
	var all []uint32
	for range fastKeyed {
		i, ok := b.top.Open()
		if !ok {
			t.Fatal("no socket")
		}
		check(t, b.top.SetFastOpenKeys(i, [16]byte{1}, [16]byte{2}))
		check(t, b.top.SetFastOpenKeys(i, [16]byte{byte(i)}, [16]byte{2})) // in the same place
		all = append(all, i)
	}
	if err := b.top.SetFastOpenKeys(b.l, [16]byte{1}, [16]byte{2}); err != syscall.ENOBUFS {
		t.Errorf("one more: %v", err)
	}
	for _, i := range all {
		if first, _ := b.top.fastKeys(i); *first != [16]byte{byte(i)} {
			t.Errorf("socket %d has the key %x", i, *first)
		}
	}
	b.top.aux[all[7]].gen++ // it has gone
	b.setKeys([16]byte{9}, [16]byte{2})
	if n := b.top.aux[b.l].keys; n != 8 {
		t.Errorf("place %d", n)
	}
	b.top.aux[b.l].keys = 1 << 31 // the segment is ruined
	if first, _ := b.top.fastKeys(b.l); first != &b.top.ctl.secret {
		t.Error("not the secret")
	}
}

// A listener that goes to another segment takes its keys along.
func TestKeysOfAListenerThatMoves(t *testing.T) {
	a, b := newHost(t, 1, SpinOff), newHost(t, 2, SpinOff)
	of, err := a.top.Open()
	check(t, err)
	to, err := b.top.Open()
	check(t, err)
	if _, _, ok := of.FastOpenKeys(); ok {
		t.Error("keys that nobody has set")
	}
	check(t, of.SetFastOpenKeys([16]byte{5}, [16]byte{6}))
	a.top.Change(func() { a.top.conns[of.i].Flow.Local = endpoint("10.1.0.1:80") })
	to.ListenFor(of, 1)
	if first, second, ok := to.FastOpenKeys(); !ok || first != [16]byte{5} || second != [16]byte{6} {
		t.Errorf("%v: %x, %x", ok, first, second)
	}
}

func TestOldKeyIsGoodForAWhile(t *testing.T) {
	b := newFastBench(t, 10)
	b.setKeys([16]byte{1}, [16]byte{2})
	old := b.cookieOf(fastThere)
	b.setKeys([16]byte{3}, [16]byte{1})
	if !b.top.Conn(b.syn(fastThere, old, "hello")).FastPending() {
		t.Error("the cookie of the second key is refused")
	}
	b.setKeys([16]byte{4}, [16]byte{3})
	if b.top.Conn(b.syn(fastThere, old, "hello")).FastPending() {
		t.Error("the cookie of a key that is no more is taken")
	}
}

// The cache of cookies has its bound, and forgets who was not asked for longest.
func TestCookiesOfManyServers(t *testing.T) {
	b := newFastBench(t, 0)
	at := func(n int) *wire.Addr {
		return &wire.Addr{10: 0xff, 11: 0xff, 12: 10, 13: byte(n >> 8), 14: byte(n), 15: 7}
	}
	for n := range 1000 {
		b.top.now += tcp.Second
		b.top.fastServer(at(n), true).n = 8
		if b.top.fastServer(at(n), false) == nil || n > 0 && b.top.fastServer(at(n-1), false) == nil && n < 2 {
			t.Fatalf("server %d is forgotten at once", n)
		}
	}
	known := 0
	for n := range 1000 {
		if b.top.fastServer(at(n), false) != nil {
			known++
		}
	}
	if known > fastCache || known < fastCache/2 {
		t.Errorf("%d servers are known", known)
	}
}

// A SYN that is lost ends Fast Open with its server for a while, for longer each
// time, until one is not.
// fastDialer dials with Fast Open over a bench that loses segments.
type fastDialer struct {
	*bench
	*testing.T
	l    uint32
	port uint16
}

func newFastDialer(t *testing.T) *fastDialer {
	b := newBench(t, 64)
	x, _, l := b.pair()
	b.top.Close(x)
	b.top.SetOptions(l, func(o *tcp.ConnOptions) { o.FastOpenQueue = 10 })
	return &fastDialer{b, t, l, 2000}
}

// handshake returns the flags of a packet that concern the handshake, and what a SYN has.
func handshake(p *pool.Packet) (flags wire.Flags, asked, data bool) {
	var ip wire.IP
	var seg wire.TCP
	wire.ParseIP(p.Data[:p.Header], &ip)
	wire.ParseTCP(p.Data[ip.HeaderLen:p.Header], &seg)
	return seg.Flags & (wire.SYN | wire.ACK), seg.Options.Has(wire.HasFastOpen), p.Payload > 0
}

// dial opens a connection, writes and closes it; the first segment with the flags lose
// is lost. It returns whether the first SYN had the option, and data.
func (d *fastDialer) dial(lose wire.Flags) (asked, data bool) {
	d.port++
	i, _ := d.top.Open()
	d.top.SetOptions(i, func(o *tcp.ConnOptions) { o.FastOpen = 1 })
	seen, lost := false, lose == 0
	d.drv.loses = func(p *pool.Packet) bool {
		flags, a, b := handshake(p)
		if flags == wire.SYN && !seen {
			asked, data, seen = a, b, true
		}
		drop := !lost && flags == lose
		lost = lost || drop
		return drop
	}
	from := fastHere
	from.Port = d.port
	if !d.bottom.Connect(i, wire.Flow{Local: from, Remote: fastHere}, 0) {
		d.Fatal("Connect failed")
	}
	d.run()
	d.top.Write(i, []byte("hello"))
	for range 3 {
		d.run()
		d.now += tcp.Second
	}
	d.run()
	if s := d.top.Conn(i).State; s != tcp.Established {
		d.Fatalf("%v", s)
	}
	y, _ := d.top.Accept(d.l)
	d.top.Close(y)
	d.top.Close(i)
	d.run()
	return asked, data
}

// want dials and checks what the first SYN had.
func (d *fastDialer) want(what string, lose wire.Flags, asked, data bool) {
	d.Helper()
	if a, b := d.dial(lose); a != asked || b != data {
		d.Errorf("%s: asked %v, data %v", what, a, b)
	}
}

func TestLostSynPausesFastOpen(t *testing.T) {
	d := newFastDialer(t)
	d.want("the first", 0, true, false)
	d.want("with a cookie", 0, true, true)
	d.want("lost", wire.SYN, true, true)
	d.want("after a loss", 0, false, false)
	d.now += fastPause * tcp.Second
	d.want("a minute later", wire.SYN, true, true)
	d.now += fastPause * tcp.Second
	d.want("a minute after the second", 0, false, false)
	d.now += fastPause * tcp.Second
	d.want("two minutes after the second", 0, true, true)
	d.want("all is well", 0, true, true)
}

// A cookie that comes at last shows that the option gets through.
func TestLostAnswerWithACookieDoesNotPauseFastOpen(t *testing.T) {
	d := newFastDialer(t)
	d.want("the first", wire.SYN|wire.ACK, true, false)
	d.want("the next", 0, true, true)
}
