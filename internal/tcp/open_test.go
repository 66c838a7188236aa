package tcp

import (
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// RFC 9293 figure 6: Basic Three-Way Handshake for Connection Synchronization.
func TestFigure6Handshake(t *testing.T) {
	t.Run("TCP peer A", func(t *testing.T) {
		a := newTalk(t)
		a.openActive()
		a.wantState(SynSent)
		a.want(sS, 0, -1, 0)
		a.wantNone()
		a.inject(sSA, 0, 1, 0)
		a.wantState(Established)
		a.wantEvents(EventEstablished | EventWritable)
		a.want(sA, 1, 1, 0)
		a.write(5)
		a.want(sPA, 1, 1, 5)
		a.wantNone()
	})
	t.Run("TCP peer B", func(t *testing.T) {
		b := newTalk(t)
		b.openPassive()
		b.wantState(SynReceived)
		b.want(sSA, 0, 1, 0)
		b.wantNone()
		b.inject(sA, 1, 1, 0)
		b.wantState(Established)
		b.wantEvents(EventEstablished)
		b.wantNone()
		b.inject(sA, 1, 1, 100)
		b.want(sA, 1, 101, 0)
		if n := b.readAll(); n != 100 {
			t.Errorf("read %d octets", n)
		}
	})
}

// RFC 9293 figure 7: Simultaneous Connection Synchronization.
func TestFigure7SimultaneousOpen(t *testing.T) {
	a := newTalk(t)
	a.openActive()
	a.want(sS, 0, -1, 0)
	a.inject(sS, 0, 0, 0)
	a.wantState(SynReceived)
	a.want(sSA, 0, 1, 0)
	a.wantNone()
	a.inject(sSA, 0, 1, 0)
	a.wantState(Established)
	a.want(sA, 1, 1, 0)
	a.wantNone()
	a.write(3)
	a.want(sPA, 1, 1, 3)
}

func TestSimultaneousOpenEndsWithPlainAckToo(t *testing.T) {
	a := newTalk(t)
	a.openActive()
	a.drain()
	a.inject(sS, 0, 0, 0)
	a.want(sSA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.wantState(Established)
	a.wantNone()
}

func TestSimultaneousOpenDoesNotScaleTheWindowOfASyn(t *testing.T) {
	a := newTalk(t, withScale)
	a.openActive()
	a.drain()
	a.inject(sS, 0, 0, 0)
	a.drain()
	a.inject(sSA, 0, 1, 0, window(8000))
	a.wantState(Established)
	if a.c.snd.wnd != 8000 {
		t.Errorf("the window is %d octets, want 8000", a.c.snd.wnd)
	}
}

// RFC 9293 figure 8: Recovery from Old Duplicate SYN. B is passive, and A's old
// SYN arrives first.
func TestFigure8OldDuplicateSyn(t *testing.T) {
	b := newTalk(t)
	b.openPassive()
	b.want(sSA, 0, 1, 0)
	// A finds that the acknowledgement is not for its SYN.
	b.inject(sR, 1, 0, 0)
	b.wantState(Closed)
	b.wantNone()

	a := newTalk(t)
	a.openActive()
	a.want(sS, 0, -1, 0)
	a.inject(sSA, 0, -9, 0)
	a.want(sR, -9, -1, 0)
	a.wantState(SynSent)
	a.inject(sSA, 0, 1, 0)
	a.want(sA, 1, 1, 0)
	a.wantState(Established)
}

// RFC 9293 figure 9: Half-Open Connection Discovery. A has forgotten the
// connection and opens it anew; B still has it.
func TestFigure9HalfOpen(t *testing.T) {
	b := established(t)
	b.inject(sS, 400, 0, 0)
	b.want(sA, 1, 1, 0)
	b.wantState(Established)
	b.inject(sR, 1, 0, 0)
	b.wantEnd(ErrReset)
	b.wantEvents(EventError | EventReadable | EventWritable | EventClosed)
	b.wantNone()

	a := newTalk(t)
	a.openActive()
	a.want(sS, 0, -1, 0)
	a.inject(sA, 300, 100, 0)
	a.want(sR, 100, -1, 0)
	a.wantState(SynSent)
	a.advance(initialRTO)
	a.want(sS, 0, -1, 0)
}

// RFC 9293 figure 10: Active Side Causes Half-Open Connection Discovery. A has
// no connection; B sends.
func TestFigure10ActiveSideDiscovers(t *testing.T) {
	var out Segment
	seg := Segment{Seq: 300, Ack: 100, Len: 10, Flags: sA}
	if !ResetFor(&seg, &out) || out.Seq != 100 || out.Flags != sR {
		t.Errorf("A answers %s %d", out.Flags, out.Seq)
	}
	b := established(t)
	b.write(10)
	b.want(sPA, 1, 1, 10)
	b.inject(sR, 1, 0, 0)
	b.wantEnd(ErrReset)
}

// RFC 9293 figure 11: Old Duplicate SYN Initiates a Reset on Two Passive Sockets.
func TestFigure11OldSynOnPassiveSockets(t *testing.T) {
	b := newTalk(t)
	b.openPassive()
	syn := *b.want(sSA, 0, 1, 0)
	// A listens too, and owns no connection that the SYN-ACK could be for.
	var out Segment
	if !ResetFor(&syn, &out) || out.Flags != sR || out.Seq != syn.Ack {
		t.Errorf("A answers %s %d", out.Flags, out.Seq)
	}
	b.inject(sR, 1, 0, 0)
	b.wantState(Closed)
}

func TestSynOptions(t *testing.T) {
	all := wire.HasMSS | wire.HasSACKPermitted | wire.HasTimestamps | wire.HasWindowScale
	on := func(tk *talk) { withTimestamps(tk); withSACK(tk); withScale(tk) }
	tests := []struct {
		name    string
		mod     func(*talk)
		offer   wire.OptionSet // of the peer
		syn     wire.OptionSet // want in our SYN
		synAck  wire.OptionSet // want in our SYN-ACK
		payload uint32         // want as largest payload
	}{
		{"all on, all offered", on, all, all, all, 988},
		{"a peer that offers nothing gets nothing", on, wire.HasMSS, all, wire.HasMSS, 1000},
		{"no MSS option means 536", on, 0, all, wire.HasMSS, 536},
		{"what is off here is not offered", func(*talk) {}, all, wire.HasMSS, wire.HasMSS, 1000},
		{"timestamps only", withTimestamps, all, wire.HasMSS | wire.HasTimestamps, wire.HasMSS | wire.HasTimestamps, 988},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			a := newTalk(t, x.mod, func(tk *talk) { tk.syn.Present = x.offer })
			a.openActive()
			if got := a.want(sS, 0, -1, 0).Options.Present; got != x.syn {
				t.Errorf("SYN carries %b, want %b", got, x.syn)
			}
			a.inject(sSA, 0, 1, 0)
			if a.c.snd.mss != x.payload {
				t.Errorf("payload %d, want %d", a.c.snd.mss, x.payload)
			}
			b := newTalk(t, x.mod, func(tk *talk) { tk.syn.Present = x.offer })
			b.openPassive()
			if got := b.want(sSA, 0, 1, 0).Options.Present; got != x.synAck {
				t.Errorf("SYN-ACK carries %b, want %b", got, x.synAck)
			}
		})
	}
}

func TestDefaultMSSOfIPv6(t *testing.T) {
	a := newTalk(t, func(tk *talk) { tk.syn.Present = 0 })
	flow := testFlow
	flow.Remote.Addr = wire.Addr{0: 0xfd, 15: 1}
	a.do("OpenActive", func(m *Memory) { a.c.OpenActive(m, a.now, flow, ourISS) })
	a.drain()
	a.inject(sSA, 0, 1, 0)
	if a.c.snd.mss != 1220 {
		t.Errorf("payload is %d, want 1220", a.c.snd.mss)
	}
}

func TestTinyMSSIsRaised(t *testing.T) {
	a := established(t, func(tk *talk) { tk.syn.MSS = 1 })
	if a.c.snd.mss != minMSS {
		t.Errorf("payload is %d", a.c.snd.mss)
	}
}

func TestOurOwnMSSBoundsToo(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.MSS = 500 }))
	a.write(700)
	a.want(sA, 1, 1, 500)
}

// Windows of Linux, whose buffers by default have room for 65,536 octets at first.
func TestSynWindowIsUnscaledAndWholeSegmentsOfTheBuffer(t *testing.T) {
	for _, x := range []struct {
		buffer uint32
		mss    uint16
		want   uint16
	}{{1 << 16, 1460, 64240}, {1 << 20, 1460, 65535}, {1 << 20, 600, 65535}, {1 << 16, 600, 65400}, {1000, 1460, 1000}} {
		a := newTalk(t, option(func(o *ConnOptions) { o.RcvBuf, o.MSS = x.buffer, x.mss }))
		a.openActive()
		if syn := a.want(sS, 0, -1, 0); syn.Window != x.want {
			t.Errorf("%+v: window %d", x, syn.Window)
		}
	}
}

func TestSynWindowIsUnscaled(t *testing.T) {
	a := newTalk(t, withScale)
	a.openActive()
	syn := a.want(sS, 0, -1, 0)
	if syn.Window != 65535 || syn.Options.WindowScale != 7 {
		t.Errorf("window %d, shift %d", syn.Window, syn.Options.WindowScale)
	}
	a.inject(sSA, 0, 1, 0, window(500))
	if a.c.snd.wnd != 500 {
		t.Errorf("the window of the SYN-ACK is %d, want 500", a.c.snd.wnd)
	}
	if ack := a.want(sA, 1, 1, 0); ack.Window != 1<<20>>7 {
		t.Errorf("window field of the ACK is %d", ack.Window)
	}
	a.inject(sA, 1, 1, 0, window(500))
	if a.c.snd.wnd != 500<<3 {
		t.Errorf("the window is %d, want %d", a.c.snd.wnd, 500<<3)
	}
}

func TestShiftCountAbove14Is14(t *testing.T) {
	a := established(t, withScale, func(tk *talk) { tk.syn.WindowScale = 15 })
	if a.c.snd.scale != 14 {
		t.Errorf("shift is %d", a.c.snd.scale)
	}
}

func TestWindowScale(t *testing.T) {
	for buf, want := range map[uint32]uint8{1000: 7, 1 << 20: 7, 65535 << 7: 7, 65536 << 7: 8, 1 << 30: 14} {
		o := ConnOptions{RcvBuf: buf, WindowScaling: 1}
		if got := windowScale(&o); got != want {
			t.Errorf("a buffer of %d has shift %d, want %d", buf, got, want)
		}
	}
}

func TestSynIsRepeatedUntilPatienceEnds(t *testing.T) {
	a := newTalk(t)
	a.openActive()
	a.want(sS, 0, -1, 0)
	wait := initialRTO
	for range a.c.Opt.SynRetries {
		a.advance(wait - 1)
		a.wantNone()
		a.advance(1)
		a.want(sS, 0, -1, 0)
		a.wantNone()
		wait *= 2
	}
	a.advance(wait)
	a.wantEnd(ErrTimeout)
	a.wantNone()
}

func TestSynAckIsRepeatedUntilPatienceEnds(t *testing.T) {
	b := newTalk(t)
	b.openPassive()
	b.want(sSA, 0, 1, 0)
	for i := range b.c.Opt.SynAckTries {
		b.advance(initialRTO << i)
		b.want(sSA, 0, 1, 0)
	}
	b.advance(initialRTO << b.c.Opt.SynAckTries)
	b.wantEnd(ErrTimeout)
}

func TestSynThatComesAgainGetsItsAnswerAgain(t *testing.T) {
	b := inState(t, SynReceived)
	b.inject(sS, 0, 0, 0)
	b.want(sSA, 0, 1, 0)
	b.inject(sS, 0, 0, 0)
	b.wantNone() // not so soon
	b.advance(oddPause)
	b.inject(sS, 0, 0, 0)
	b.want(sSA, 0, 1, 0)
}

func TestLostSynMeansSmallWindowAndLongTimeout(t *testing.T) {
	a := newTalk(t)
	a.openActive()
	a.want(sS, 0, -1, 0)
	a.advance(initialRTO)
	a.want(sS, 0, -1, 0)
	a.inject(sSA, 0, 1, 0)
	a.want(sA, 1, 1, 0)
	if cwnd, _ := a.c.Window(); cwnd != 1000 {
		t.Errorf("cwnd is %d, want one segment", cwnd)
	}
	if a.c.RTO() != fallbackRTO {
		t.Errorf("RTO is %d ms, want 3000", a.c.RTO()/Millisecond)
	}
}

func TestDataInTheThirdSegment(t *testing.T) {
	b := inState(t, SynReceived)
	b.inject(sFA, 1, 1, 50)
	b.wantState(CloseWait)
	b.want(sA, 1, 52, 0)
	if n := b.readAll(); n != 50 {
		t.Errorf("read %d octets", n)
	}
}

func TestDataInTheSynAck(t *testing.T) {
	a := inState(t, SynSent)
	a.inject(sSA, 0, 1, 0, func(s *Segment) {
		s.Len = 10
		s.Payload = a.st.put(pattern(1, 10), slot)
	})
	a.want(sA, 1, 11, 0)
	if n := a.readAll(); n != 10 {
		t.Errorf("read %d octets", n)
	}
}

func TestTimestampOffsetIsTheSameForAllConnectionsOfAFlow(t *testing.T) {
	secret := [16]byte{1}
	flow := testFlow
	first := tsOffset(5*Second, ISN(5*Second, &flow, &secret))
	later := tsOffset(500*Second, ISN(500*Second, &flow, &secret))
	if first != later {
		t.Errorf("offsets are %d and %d", first, later)
	}
	flow.Local.Port++
	if other := tsOffset(5*Second, ISN(5*Second, &flow, &secret)); other == first {
		t.Error("another flow has the same offset")
	}
}

func TestISN(t *testing.T) {
	secret := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	flow := testFlow
	a := ISN(0, &flow, &secret)
	if b := ISN(4*Millisecond, &flow, &secret); b.From(a) != 1000 {
		t.Errorf("in 4 ms it advances by %d", b.From(a))
	}
	other := flow
	other.Remote.Port++
	if ISN(0, &other, &secret) == a {
		t.Error("another flow has the same number")
	}
	secret[0]++
	if ISN(0, &flow, &secret) == a {
		t.Error("another secret makes the same number")
	}
	if seq.Number(0) == a {
		t.Error("zero")
	}
}

// The vectors of the reference implementation: key 00..0f, input 00, 00 01, …
func TestSipHash(t *testing.T) {
	key := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for n, want := range map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 7: 0xab0200f58b01d137,
		8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5,
	} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i)
		}
		if got := sipHash(&key, b); got != want {
			t.Errorf("of %d octets: %x, want %x", n, got, want)
		}
	}
}

func TestSynAckThatIsOwedIsForgottenWhenItHasArrived(t *testing.T) {
	b := inState(t, SynReceived)
	b.inject(sS, 0, 0, 0) // the SYN again, and at once
	b.inject(sA, 1, 1, 0) // the answer to the first SYN-ACK
	b.wantState(Established)
	b.wantNone()
	if b.c.HasOutput() {
		t.Error("something is still owed")
	}
}

func TestSynAckDoesNotTakeBackWhatAChallengePromised(t *testing.T) {
	b := newTalk(t, withScale, option(func(o *ConnOptions) { o.RcvBuf = 65000 }))
	b.openPassive()
	if seg := b.want(sSA, 0, 1, 0); seg.Window != 64240 {
		t.Errorf("window is %d, want 64240", seg.Window)
	}
	b.inject(sA, -5000, 1, 0) // outside the window
	b.want(sA, 1, 1, 0)
	promised := b.last.Window << 7 // rounded up to the unit of the field
	b.advance(initialRTO)
	if seg := b.want(sSA, 0, 1, 0); seg.Window < promised {
		t.Errorf("window is %d after %d", seg.Window, promised)
	}
}
