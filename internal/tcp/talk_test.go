package tcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// The flags of a test's segments, short enough for tables.
const (
	sS  = wire.SYN
	sSA = wire.SYN | wire.ACK
	sA  = wire.ACK
	sPA = wire.PSH | wire.ACK
	sFA = wire.FIN | wire.ACK
	sR  = wire.RST
	sRA = wire.RST | wire.ACK
)

// Initial sequence numbers close before the wrap, so that every conversation
// crosses it.
const (
	ourISS  = seq.Number(0xffffffc0)
	peerISS = seq.Number(0xfffffff0)
)

var testFlow = wire.Flow{
	Local:  wire.EndpointFrom(netip.MustParseAddrPort("10.1.0.1:80")),
	Remote: wire.EndpointFrom(netip.MustParseAddrPort("10.1.0.2:4242")),
}

// talk is a conversation between a connection and the test, which plays the
// peer. Sequence numbers in it are relative: 0 is the SYN of either side.
type talk struct {
	end
	t        *testing.T
	now      Time
	syn      wire.Options // what the peer's SYN offers
	synFlags wire.Flags   // … and asks for with flags
	window   uint16       // what the peer's segments offer
	pieces   int          // octets of a chunk, at most
	last     Segment      // that was wanted last
	wrote    int          // octets given to Append and Extend
	read     int          // octets taken by read
	tsval    uint32       // the peer's clock
	tsecho   uint32
}

// newTalk starts a conversation with a closed connection. Timestamps and SACK
// are off, congestion control is Reno, whose windows are easily foretold, and the
// peer has an MSS of 1000, unless mods say otherwise.
func newTalk(t *testing.T, mods ...func(*talk)) *talk {
	tk := &talk{t: t, now: 1000 * Second, window: 64000, pieces: slot}
	tk.st = newStore(512)
	tk.c.Opt = DefaultOptions()
	tk.c.Opt.Timestamps, tk.c.Opt.SACK, tk.c.Opt.WindowScaling = 0, 0, 0
	tk.c.Opt.RcvBuf = 32000
	tk.c.Opt.SndMax, tk.c.Opt.RcvMax = 0, 0
	tk.c.Opt.Congestion = CongestionReno
	tk.c.Opt.ECN = ECNPassive
	tk.syn = wire.Options{Present: wire.HasMSS, MSS: 1000}
	for _, mod := range mods {
		mod(tk)
	}
	return tk
}

// option is a mod that changes socket options.
func option(f func(*ConnOptions)) func(*talk) { return func(tk *talk) { f(&tk.c.Opt) } }

func withTimestamps(tk *talk) {
	tk.c.Opt.Timestamps = 1
	tk.syn.Present |= wire.HasTimestamps
	tk.tsval = 5000
}

func withSACK(tk *talk) {
	tk.c.Opt.SACK = 1
	tk.syn.Present |= wire.HasSACKPermitted
}

func withScale(tk *talk) {
	tk.c.Opt.WindowScaling = 1
	tk.c.Opt.RcvBuf = 1 << 20
	tk.syn.Present |= wire.HasWindowScale
	tk.syn.WindowScale = 3
}

func (tk *talk) do(what string, f func(m *Memory)) {
	tk.t.Helper()
	tk.step(tk.t, what, func() { f(&tk.st.m) })
}

func (tk *talk) openActive() {
	tk.t.Helper()
	tk.do("OpenActive", func(m *Memory) { tk.c.OpenActive(m, tk.now, testFlow, ourISS) })
}

// openPassive gives the connection the peer's SYN.
func (tk *talk) openPassive() {
	tk.t.Helper()
	syn := Segment{Seq: peerISS, Flags: sS, Window: tk.window, Options: tk.synOptions()}
	opt := tk.c.Opt
	tk.do("OpenPassive", func(m *Memory) { tk.c.OpenPassive(m, tk.now, testFlow, ourISS, &opt, &syn) })
}

func (tk *talk) synOptions() wire.Options {
	o := tk.syn
	if o.Has(wire.HasTimestamps) {
		o.TSVal, o.TSEcr = tk.tsval, tk.tsecho
	}
	return o
}

// inject gives the connection a segment of n octets from the peer.
func (tk *talk) inject(flags wire.Flags, s, ack, n int, mods ...func(*Segment)) {
	tk.t.Helper()
	seg := Segment{Seq: peerISS + seq.Number(s), Flags: flags, Window: tk.window, Len: uint32(n)}
	if flags&wire.ACK != 0 {
		seg.Ack = ourISS + seq.Number(ack)
	}
	if flags&wire.SYN != 0 {
		seg.Options = tk.synOptions()
	} else if tk.c.has(flagTimestamps) {
		seg.Options = wire.Options{Present: wire.HasTimestamps, TSVal: tk.tsval, TSEcr: tk.tsecho}
	}
	seg.Payload = tk.st.put(pattern(s, n), tk.pieces)
	for _, mod := range mods {
		mod(&seg)
	}
	tk.do(fmt.Sprintf("Input %s %d:%d(%d) ack %d", flags, s, s+n, n, ack), func(m *Memory) {
		tk.c.Input(m, tk.now, &seg)
	})
	tk.st.give(seg.Payload)
}

func window(n uint16) func(*Segment) { return func(s *Segment) { s.Window = n } }

// want fails the test unless the next segment is this one. ack is -1 if it has
// none.
func (tk *talk) want(flags wire.Flags, s, ack, n int) *Segment {
	tk.t.Helper()
	var out Segment
	if !tk.next(&out) {
		tk.t.Fatalf("no segment; want %s", describe(flags, s, ack, n))
	}
	got := describe(out.Flags, rel(out.Seq, ourISS), tk.relAck(&out), int(out.Len))
	if want := describe(flags, s, ack, n); got != want {
		tk.t.Fatalf("got  %s\nwant %s", got, want)
	}
	if n > 0 {
		from := s - 1
		if flags&wire.SYN != 0 {
			from = 0
		}
		if b := tk.st.read(out.First, out.Skip, out.Len); !bytes.Equal(b, pattern(from, n)) {
			tk.t.Fatalf("segment %s carries the wrong octets", got)
		}
	}
	return &tk.last
}

func (tk *talk) next(out *Segment) bool {
	tk.t.Helper()
	ok := false
	tk.do("NextSegment", func(m *Memory) {
		hint := tk.c.HasOutput()
		ok = tk.c.NextSegment(m, tk.now, out)
		if ok && !hint {
			tk.t.Fatal("HasOutput was false and there was a segment")
		}
	})
	if ok {
		tk.last = *out
		if out.Options.Has(wire.HasTimestamps) {
			tk.tsecho = out.Options.TSVal
		}
	}
	return ok
}

func (tk *talk) relAck(s *Segment) int {
	if s.Flags&wire.ACK == 0 {
		return -1
	}
	return rel(s.Ack, peerISS)
}

func describe(flags wire.Flags, s, ack, n int) string {
	return fmt.Sprintf("%s %d:%d(%d) ack %d", flags, s, s+n, n, ack)
}

// wantNone fails the test if there is a segment to send.
func (tk *talk) wantNone() {
	tk.t.Helper()
	var out Segment
	if tk.next(&out) {
		tk.t.Fatalf("want no segment, got %s",
			describe(out.Flags, rel(out.Seq, ourISS), tk.relAck(&out), int(out.Len)))
	}
}

// drain takes all segments there are and returns how many.
func (tk *talk) drain() int {
	tk.t.Helper()
	var out Segment
	n := 0
	for tk.next(&out) {
		if n++; n > 1000 {
			tk.t.Fatal("segments without end")
		}
	}
	return n
}

// advance lets time pass, and what is due happen.
func (tk *talk) advance(d Time) {
	tk.t.Helper()
	to := tk.now + d
	for n := 0; tk.c.Deadline() <= to; n++ {
		if n > 1000 || tk.c.Deadline() == Never {
			tk.t.Fatal("timeouts without end")
		}
		tk.now = max(tk.c.Deadline(), tk.now)
		tk.do("Timeout", func(m *Memory) { tk.c.Timeout(m, tk.now) })
	}
	tk.now = to
	tk.tsval += uint32(d / Millisecond)
}

// write gives the connection n octets in one call.
func (tk *talk) write(n int) {
	tk.t.Helper()
	q := tk.st.put(pattern(tk.wrote, n), tk.pieces)
	tk.wrote += n
	tk.do(fmt.Sprintf("Append %d", n), func(m *Memory) { tk.c.Append(m, tk.now, q) })
}

// extend writes n octets behind those of the last chunk.
func (tk *talk) extend(n int) {
	tk.t.Helper()
	ch := tk.st.m.Chunks[tk.c.SndQ.Tail]
	copy(tk.st.data[ch.Off+ch.Len:], pattern(tk.wrote, n))
	tk.wrote += n
	tk.do(fmt.Sprintf("Extend %d", n), func(m *Memory) { tk.c.Extend(m, tk.now, uint32(n)) })
}

// readAll reads all there is, checks the octets and returns their number.
func (tk *talk) readAll() int {
	tk.t.Helper()
	n, _ := tk.c.Readable()
	tk.readSome(int(n))
	return int(n)
}

func (tk *talk) readSome(n int) {
	tk.t.Helper()
	if n > 0 {
		b := tk.st.read(tk.c.RcvQ.Head, tk.c.RcvHead, uint32(n))
		if !bytes.Equal(b, pattern(1+tk.read, n)) {
			tk.t.Fatalf("read the wrong octets at %d", tk.read)
		}
	}
	tk.read += n
	tk.do(fmt.Sprintf("Consume %d", n), func(m *Memory) { tk.c.Consume(m, tk.now, uint32(n)) })
}

func (tk *talk) shutdown() {
	tk.t.Helper()
	tk.do("Shutdown", func(m *Memory) { tk.c.Shutdown(m, tk.now) })
}

func (tk *talk) close() {
	tk.t.Helper()
	tk.do("Close", func(m *Memory) { tk.c.Close(m, tk.now) })
}

func (tk *talk) abort() {
	tk.t.Helper()
	tk.do("Abort", func(m *Memory) { tk.c.Abort(m, tk.now) })
}

func (tk *talk) wantState(s State) {
	tk.t.Helper()
	if tk.c.State != s {
		tk.t.Fatalf("state is %s, want %s", tk.c.State, s)
	}
}

// wantEnd fails the test unless the connection is closed, for e.
func (tk *talk) wantEnd(e Error) {
	tk.t.Helper()
	tk.wantState(Closed)
	if tk.c.Error != e {
		tk.t.Fatalf("error is %q, want %q", tk.c.Error, e)
	}
}

// wantEvents takes the events and fails the test unless they contain all of x.
func (tk *talk) wantEvents(x Event) {
	tk.t.Helper()
	if tk.c.Events&x != x {
		tk.t.Fatalf("events %b lack some of %b", tk.c.Events, x)
	}
	tk.c.Events = 0
}

// established starts a conversation with an established connection, whose
// handshake took 10 ms.
func established(t *testing.T, mods ...func(*talk)) *talk {
	t.Helper()
	tk := newTalk(t, mods...)
	tk.openActive()
	tk.want(sS, 0, -1, 0)
	tk.advance(10 * Millisecond)
	tk.inject(sSA, 0, 1, 0)
	tk.want(sA, 1, 1, 0)
	tk.wantNone()
	tk.wantState(Established)
	tk.c.Events = 0
	return tk
}

// calm is a mod that ends the quick acknowledgements of a young connection. It
// works on what established returns.
func calm(tk *talk) *talk {
	tk.c.rcv.quick = 0
	tk.c.rcv.mss = 1000
	return tk
}

// inState starts a conversation with a connection in state s, in which the
// handshake and FINs are all that was sent: our next octet is 1, or 2 after our
// FIN, and so for the peer's.
func inState(t *testing.T, s State, mods ...func(*talk)) *talk {
	t.Helper()
	if s <= SynReceived {
		tk := newTalk(t, mods...)
		switch s {
		case Listen:
			tk.c.OpenListen(testFlow.Local)
		case SynSent:
			tk.openActive()
		case SynReceived:
			tk.openPassive()
		}
		tk.drain()
		return tk
	}
	tk := established(t, mods...)
	switch s {
	case FinWait1, FinWait2, Closing, TimeWait:
		tk.shutdown()
		tk.want(sFA, 1, 1, 0)
		if s == FinWait2 || s == TimeWait {
			tk.inject(sA, 1, 2, 0)
		}
		if s == Closing || s == TimeWait {
			tk.inject(sFA, 1, ackOf(s), 0)
		}
	case CloseWait, LastAck:
		tk.inject(sFA, 1, 1, 0)
		if s == LastAck {
			tk.shutdown()
		}
	}
	tk.drain()
	tk.wantState(s)
	tk.c.Events = 0
	return tk
}

// ackOf returns what the peer acknowledges in a state that inState leads to.
func ackOf(s State) int {
	switch s {
	case FinWait2, TimeWait:
		return 2
	}
	return 1
}

// nextOf returns the peer's next sequence number in a state of inState.
func nextOf(s State) int {
	switch s {
	case CloseWait, Closing, LastAck, TimeWait:
		return 2
	}
	return 1
}

// ourNextOf returns our next sequence number in a state of inState.
func ourNextOf(s State) int {
	switch s {
	case FinWait1, FinWait2, Closing, LastAck, TimeWait:
		return 2
	}
	return 1
}
