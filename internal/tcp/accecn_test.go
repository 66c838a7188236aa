package tcp

import (
	"math/rand/v2"
	"testing"

	"usertcp/internal/wire"
)

const (
	fAE  = wire.AE
	fAll = wire.AE | wire.CWR | wire.ECE
	f010 = wire.CWR
	f011 = wire.CWR | wire.ECE
	f100 = wire.AE
	f101 = wire.AE | wire.ECE // what a fresh counter says
	f110 = wire.AE | wire.CWR
)

func accurate(tk *talk) { tk.c.Opt.ECN = ECNAccurate }

// came is a mod that says how a segment's ECN field came out of the network.
func came(codepoint uint8) func(*Segment) { return func(s *Segment) { s.ECN = codepoint } }

// counters is a mod that puts an AccECN option of order 0 into a segment.
func counters(fields ...uint32) func(*Segment) {
	return func(s *Segment) {
		s.Options.Present |= wire.HasAccECN
		s.Options.AccECNCount = uint8(copy(s.Options.AccECN[:], fields))
	}
}

// accurateTalk is established by an active open, with AccECN.
func accurateTalk(t *testing.T, mods ...func(*talk)) *talk {
	t.Helper()
	a := newTalk(t, append(mods, accurate)...)
	a.openActive()
	a.want(sS|fAll, 0, -1, 0)
	a.advance(10 * Millisecond)
	a.inject(sSA|f010, 0, 1, 0, counters(1, 0, 1))
	a.want(sA|f010, 1, 1, 0)
	a.c.rcv.quick = 0
	return a
}

// accurateServer is established by a passive open, with AccECN.
func accurateServer(t *testing.T, third wire.Flags, mods ...func(*talk)) *talk {
	t.Helper()
	a := newTalk(t, append(mods, accurate)...)
	a.openPassiveWith(fAll, NotECT)
	a.want(sSA|f010, 0, 1, 0)
	a.inject(sA|third, 1, 1, 0, counters(1, 0, 1))
	a.wantState(Established)
	a.c.rcv.quick = 0
	return a
}

// openPassiveWith gives the connection a SYN with flags of ECN.
func (tk *talk) openPassiveWith(flags wire.Flags, codepoint uint8) {
	tk.t.Helper()
	syn := Segment{Seq: peerISS, Flags: sS | flags, ECN: codepoint, Window: tk.window, Options: tk.synOptions()}
	opt := tk.c.Opt
	tk.do("OpenPassive", func(m *Memory) { tk.c.OpenPassive(m, tk.now, testFlow, ourISS, &opt, &syn) })
}

// wantCounters fails the test unless the last segment has an option with these
// fields, in order 0; none means no option.
func (tk *talk) wantCounters(fields ...uint32) {
	tk.t.Helper()
	o := &tk.last.Options
	if o.Has(wire.HasAccECN) != (len(fields) > 0) || int(o.AccECNCount) != len(fields) || o.AccECNOrder != 0 {
		tk.t.Fatalf("option %s, want %d", o, fields)
	}
	for i, want := range fields {
		if o.AccECN[i] != want {
			tk.t.Fatalf("option %s, want %d", o, fields)
		}
	}
}

// Table 2 of RFC 9768, from the client's side.
func TestAccurateClientNegotiates(t *testing.T) {
	for _, x := range []struct {
		name   string
		synAck wire.Flags
		on     uint8
		third  wire.Flags // of the acknowledgement
		traits uint8
	}{
		{"AccECN, the SYN came as it was sent", f010, ecnAccurate, f010, 0},
		{"AccECN, the SYN came as ECT(1)", f011, ecnAccurate, f010, ecnNoECT},
		{"AccECN, the SYN came as ECT(0)", f100, ecnAccurate, f010, ecnNoECT},
		{"AccECN, the SYN came as CE", f110, ecnAccurate, f010, ecnNoECT | ecnSynMarked},
		{"reserved", f101, ecnAccurate, f010, 0},
		{"RFC 3168", fECE, ecnClassic, 0, 0},
		{"no ECN", 0, ecnOff, 0, 0},
		{"broken", fAll, ecnOff, 0, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newTalk(t, accurate)
			a.openActive()
			a.want(sS|fAll, 0, -1, 0)
			a.wantECN(NotECT)
			a.inject(sSA|x.synAck, 0, 1, 0)
			a.want(sA|x.third, 1, 1, 0)
			if a.c.ecn.on != x.on || a.c.ecn.traits&^ecnOptTrial != x.traits {
				t.Errorf("mode %d, traits %b", a.c.ecn.on, a.c.ecn.traits)
			}
			a.write(100)
			a.next(&a.last)
			want := uint8(ECT0)
			if x.on == ecnOff || x.traits&ecnNoECT != 0 {
				want = NotECT
			}
			a.wantECN(want)
		})
	}
}

// Table 2 from the server's side, the third block and forward compatibility
// included.
func TestAccurateServerNegotiates(t *testing.T) {
	for _, x := range []struct {
		name   string
		ours   uint8
		syn    wire.Flags
		came   uint8
		synAck wire.Flags
		on     uint8
	}{
		{"AccECN", ECNAccurate, fAll, NotECT, f010, ecnAccurate},
		{"AccECN, ECT(1)", ECNAccurate, fAll, ECT1, f011, ecnAccurate},
		{"AccECN, ECT(0)", ECNAccurate, fAll, ECT0, f100, ecnAccurate},
		{"AccECN, CE", ECNAccurate, fAll, CE, f110, ecnAccurate},
		{"RFC 3168", ECNAccurate, f011, NotECT, fECE, ecnClassic},
		{"no ECN", ECNAccurate, 0, NotECT, 0, ecnOff},
		{"not known yet: 001", ECNAccurate, fECE, NotECT, f010, ecnAccurate},
		{"not known yet: 010", ECNAccurate, f010, NotECT, f010, ecnAccurate},
		{"not known yet: 100", ECNAccurate, f100, NotECT, f010, ecnAccurate},
		{"not known yet: 101", ECNAccurate, f101, NotECT, f010, ecnAccurate},
		{"not known yet: 110", ECNAccurate, f110, NotECT, f010, ecnAccurate},
		{"tcp_ecn 0", ECNOff, fAll, NotECT, 0, ecnOff},
		{"tcp_ecn 1", ECNOn, fAll, NotECT, fECE, ecnClassic},
		{"tcp_ecn 2", ECNPassive, fAll, NotECT, fECE, ecnClassic},
		{"tcp_ecn 4", ECNAcceptAccurate, fAll, NotECT, f010, ecnAccurate},
		{"tcp_ecn 5", ECNPassiveAccurate, fAll, NotECT, f010, ecnAccurate},
		{"tcp_ecn 5, RFC 3168", ECNPassiveAccurate, f011, NotECT, fECE, ecnClassic},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newTalk(t, option(func(o *ConnOptions) { o.ECN = x.ours }))
			a.openPassiveWith(x.syn, x.came)
			a.want(sSA|x.synAck, 0, 1, 0)
			a.wantECN(NotECT)
			if a.c.ecn.on != x.on {
				t.Errorf("mode %d", a.c.ecn.on)
			}
			if x.on == ecnAccurate {
				a.wantCounters(1, 0, 1)
			} else {
				a.wantCounters()
			}
		})
	}
}

// What our SYN asks for, and what it asks for when it is sent again.
func TestSynAsksForECN(t *testing.T) {
	for _, x := range []struct {
		ours uint8
		syns [3]wire.Flags
	}{
		{ECNOff, [3]wire.Flags{}},
		{ECNOn, [3]wire.Flags{f011}},
		{ECNPassive, [3]wire.Flags{}},
		{ECNAccurate, [3]wire.Flags{fAll, fAll}},
		{ECNAcceptAccurate, [3]wire.Flags{f011}},
		{ECNPassiveAccurate, [3]wire.Flags{}},
	} {
		a := newTalk(t, option(func(o *ConnOptions) { o.ECN = x.ours }))
		a.openActive()
		for _, flags := range x.syns {
			a.want(sS|flags, 0, -1, 0)
			a.advance(a.c.RTO())
		}
	}
}

// A SYN-ACK may answer one of the first SYNs even when the last had no flags.
func TestSynAckAnswersAnEarlierSyn(t *testing.T) {
	a := newTalk(t, accurate)
	a.openActive()
	for range 3 {
		a.drain()
		a.advance(a.c.RTO())
	}
	a.drain()
	a.inject(sSA|f010, 0, 1, 0)
	a.want(sA|f010, 1, 1, 0)
	a.write(10)
	a.want(sPA|f101, 1, 1, 10)
	a.wantECN(ECT0)
}

// How the SYN-ACK came is told in a pure acknowledgement, before any data.
func TestThirdAckTellsHowTheSynAckCame(t *testing.T) {
	for codepoint, flags := range handshakeACE {
		a := newTalk(t, accurate)
		a.openActive()
		a.drain()
		a.inject(sSA|f010, 0, 1, 0, came(uint8(codepoint)))
		a.write(100)
		a.want(sA|flags, 1, 1, 0)
		want := f101
		if codepoint == CE {
			want = f110
		}
		a.want(sPA|want, 1, 1, 100)
		// The acknowledgement of another one says the same again, and a mark counts once.
		a.advance(2 * Second)
		a.drain()
		a.inject(sSA|f010, 0, 1, 0, came(CE))
		a.want(sA|f110, 101, 1, 0)
		if a.c.ecn.recvCEP != ecnFirstCEP+1 {
			t.Errorf("codepoint %d: r.cep is %d", codepoint, a.c.ecn.recvCEP)
		}
	}
}

// Table 4 of RFC 9768.
func TestServerReadsTheThirdAck(t *testing.T) {
	for ace, x := range [8]struct {
		cep    uint32
		traits uint8
	}{
		{5, ecnNoECT | ecnDeaf}, {5, 0}, {5, 0}, {5, ecnNoECT}, {5, ecnNoECT}, {5, 0}, {6, ecnNoECT | ecnSynMarked}, {5, 0},
	} {
		a := accurateServer(t, aceFlags(uint32(ace)))
		if a.c.ecn.sentCEP != x.cep || a.c.ecn.traits&^ecnOptSeen != x.traits {
			t.Errorf("ACE %d: s.cep %d, traits %b", ace, a.c.ecn.sentCEP, a.c.ecn.traits)
		}
		a.write(100)
		a.want(sPA|f101, 1, 1, 100)
	}
}

// A segment with data that completes the handshake has a counter in it.
func TestDataThatCompletesTheHandshakeHasACounter(t *testing.T) {
	a := newTalk(t, accurate)
	a.openPassiveWith(fAll, NotECT)
	a.drain()
	a.inject(sPA|f110, 1, 1, 10)
	if a.c.ecn.sentCEP != ecnFirstCEP || a.c.ecn.traits&ecnNoECT != 0 {
		t.Errorf("%+v", a.c.ecn)
	}
}

func TestSynAckIsSentAgainWithoutOptionThenWithoutECN(t *testing.T) {
	a := newTalk(t, accurate)
	a.openPassiveWith(fAll, NotECT)
	a.want(sSA|f010, 0, 1, 0)
	a.wantCounters(1, 0, 1)
	a.advance(a.c.RTO())
	a.want(sSA|f010, 0, 1, 0)
	a.wantCounters()
	a.advance(a.c.RTO())
	a.want(sSA, 0, 1, 0)
	a.inject(sA|f010, 1, 1, 0)
	a.write(10)
	a.want(sPA|f101, 1, 1, 10)
	a.wantECN(NotECT) // and yet it counts
	a.inject(sPA|f101, 1, 11, 10, came(CE))
	a.want(sA|f110, 11, 11, 0)
}

func TestSynThatComesAgainWithOtherECN(t *testing.T) {
	for _, x := range []struct {
		name          string
		first, second wire.Flags
		reset, noECT  bool
	}{
		{"the same", fAll, fAll, false, false},
		{"none", fAll, 0, false, true},
		{"RFC 3168", fAll, f011, true, false},
		{"RFC 3168 first", f011, fAll, true, false},
		{"RFC 3168 twice", f011, f011, false, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newTalk(t, accurate)
			a.openPassiveWith(x.first, NotECT)
			a.drain()
			a.inject(sS|x.second, 0, 0, 0, came(ECT0))
			if x.reset {
				a.want(sRA, 1, 1, 0)
				a.wantEnd(ErrReset)
				return
			}
			want := fECE
			if x.first == fAll {
				want = f100 // the latest SYN
			}
			a.want(sSA|want, 0, 1, 0)
			if got := a.c.ecn.traits&ecnNoECT != 0; got != x.noECT {
				t.Errorf("no ECT: %v", got)
			}
		})
	}
}

func TestSimultaneousOpenAgreesToWhatBothAskFor(t *testing.T) {
	for _, x := range []struct {
		ours   uint8
		theirs wire.Flags
		on     uint8
		synAck wire.Flags
	}{
		{ECNAccurate, fAll, ecnAccurate, f010},
		{ECNAccurate, f011, ecnClassic, fECE},
		{ECNAccurate, 0, ecnOff, 0},
		{ECNOn, fAll, ecnClassic, fECE},
		{ECNAcceptAccurate, fAll, ecnClassic, fECE},
		{ECNPassiveAccurate, fAll, ecnOff, 0},
	} {
		a := newTalk(t, option(func(o *ConnOptions) { o.ECN = x.ours }))
		a.openActive()
		a.drain()
		a.inject(sS|x.theirs, 0, 0, 0)
		a.want(sSA|x.synAck, 0, 1, 0)
		a.inject(sSA|x.synAck, 0, 1, 0)
		a.wantState(Established)
		if a.c.ecn.on != x.on || a.c.ecn.traits&ecnNoECT != 0 || x.on == ecnAccurate && a.c.ecn.sentCEP != ecnFirstCEP {
			t.Errorf("tcp_ecn %d and flags %s: %+v", x.ours, x.theirs, a.c.ecn)
		}
	}
}

// Each segment tells the count of marks; marks are acknowledged at once when they
// begin and then every second one.
func TestMarksAreCountedAndAcknowledged(t *testing.T) {
	a := accurateTalk(t)
	a.inject(sPA|f101, 1, 1, 100, came(ECT0))
	a.advance(delayedAck)
	a.want(sA|f101, 1, 101, 0)
	a.inject(sPA|f101, 101, 1, 100, came(CE)) // the first after others
	a.want(sA|f110, 1, 201, 0)
	a.inject(sPA|f101, 201, 1, 100, came(CE))
	a.wantNone()
	a.inject(sPA|f101, 301, 1, 100, came(CE))
	a.want(sA|aceFlags(8), 1, 401, 0)
	a.inject(sA|f101, 401, 1, 0, came(CE)) // control packets count too
	a.wantNone()
	a.inject(sA|f101, 401, 1, 0, came(CE))
	a.wantNone()
	a.inject(sA|f101, 401, 1, 0, came(CE))
	a.want(sA|aceFlags(11), 1, 401, 0)
	a.inject(sPA|f101, 1, 1, 100, came(CE)) // not acceptable: old
	a.want(sA|aceFlags(11), 1, 401, 0)
	if i := a.c.Info(a.now); i.ECNReceived != (ECNCounts{CE: 6, CEBytes: 300, ECT0Bytes: 100}) || !i.AccECN || !i.ECN {
		t.Errorf("%+v", i.ECNReceived)
	}
}

func TestCWRIsNotSentWithAccurateECN(t *testing.T) {
	a := accurateTalk(t)
	a.write(4000)
	a.drain()
	a.inject(sA|f110, 1, 2001, 0, counters(1001, 1000))
	if a.c.Stats.ECE != 1 {
		t.Fatal("no reduction")
	}
	a.write(1000)
	a.next(&a.last)
	if a.last.Flags&fAll != f101 {
		t.Errorf("flags %s", a.last.Flags)
	}
}

// One reduction for each round trip, however many marks.
func TestFeedbackReducesOnceAWindow(t *testing.T) {
	a := accurateTalk(t)
	a.write(10000)
	a.drain()
	before, _ := a.c.Window()
	for i := range 9 {
		a.inject(sA|aceFlags(uint32(6+i)), 1, 1001+1000*i, 0)
	}
	if after, _ := a.c.Window(); a.c.Stats.ECE != 1 || after >= before {
		t.Errorf("%d reductions, cwnd %d -> %d", a.c.Stats.ECE, before, after)
	}
	if i := a.c.Info(a.now); i.ECNDelivered.CE != 9 {
		t.Errorf("the peer has told of %d marks", i.ECNDelivered.CE)
	}
	a.write(1000)
	a.drain()
	a.inject(sA|aceFlags(15), 1, 11001, 0) // all that was in flight
	if a.c.Stats.ECE != 2 {
		t.Errorf("%d reductions in two windows", a.c.Stats.ECE)
	}
}

func TestOldFeedbackIsIgnored(t *testing.T) {
	a := accurateTalk(t)
	a.write(4000)
	a.drain()
	a.inject(sA|f110, 1, 3001, 0)
	a.inject(sA|f101, 1, 1001, 0) // overtaken
	a.inject(sA|f101, 1, 3001, 0)
	if a.c.ecn.sentCEP != 6 {
		t.Errorf("s.cep is %d", a.c.ecn.sentCEP)
	}
}

// An acknowledgement of many segments may hide that the field has wrapped.
func TestWrapOfTheCounter(t *testing.T) {
	for _, x := range []struct {
		name    string
		packets int
		ace     uint32 // more than before, as far as it shows
		mods    []func(*Segment)
		stretch bool // many segments at once are usual
		option  bool // options have come
		want    uint32
	}{
		{"few packets", 7, 2, nil, false, false, 2},
		{"nine packets, two", 9, 2, nil, false, false, 2}, // the example of appendix A.2.1
		{"ten packets, two", 10, 2, nil, false, false, 10},
		{"eight packets, none", 8, 0, nil, false, false, 8},
		{"eight packets, none, the peer sends options", 8, 0, nil, false, true, 0},
		{"ten packets, two, the peer sends options, but none now", 10, 2, nil, false, true, 10},
		{"ten packets, two, as always", 10, 2, nil, true, false, 2},
		{"ten packets, two of 1000 octets", 10, 2, []func(*Segment){counters(1, 2000)}, false, true, 2},
		{"ten packets, two that are ten", 10, 2, []func(*Segment){counters(1, 10000)}, false, true, 10},
		{"ten packets, none, says the option", 10, 0, []func(*Segment){counters(8001)}, false, true, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := accurateTalk(t)
			a.c.cc.cwnd = 100000
			a.write(x.packets * 1000)
			a.drain()
			a.c.ecn.acked = 0
			if x.stretch {
				a.c.ecn.acked = 8 * 10
			}
			if !x.option {
				a.c.ecn.traits &^= ecnOptSeen
			}
			a.inject(sA|aceFlags(ecnFirstCEP+x.ace), 1, 1+1000*x.packets, 0, x.mods...)
			if got := a.c.ecn.sentCEP - ecnFirstCEP; got != x.want {
				t.Errorf("%d marks, want %d", got, x.want)
			}
		})
	}
}

func TestFieldThatIsCleared(t *testing.T) {
	a := accurateTalk(t)
	a.write(100)
	a.drain()
	a.inject(sA, 1, 101, 0)
	a.write(100)
	a.want(sPA|f101, 101, 1, 100)
	a.wantECN(NotECT)
	a.inject(sA|f110, 1, 201, 0)
	if a.c.Stats.ECE != 0 {
		t.Error("feedback that can't be right was heeded")
	}
}

// The counter of octets grows, that of packets does not.
func TestFeedbackThatContradictsItself(t *testing.T) {
	a := accurateTalk(t)
	a.write(100)
	a.drain()
	a.inject(sA|f101, 1, 101, 0, counters(1, 100))
	a.write(100)
	a.drain()
	a.wantECN(NotECT)
}

// Two engines over a network that marks and loses nothing: at the end each knows
// exactly what was marked of what it sent.
func TestCountersMatchWhatTheNetworkMarked(t *testing.T) {
	for seed := range uint64(200) {
		s := newSoak(t, rand.New(rand.NewPCG(seed, 9768)))
		s.loss, s.dup, s.jitter = 0, 0, 0
		if s.b.c.State != Closed { // a simultaneous open has no part in this
			continue
		}
		s.a.c.ecn, s.a.c.Opt.ECN, s.b.c.Opt.ECN = ecn{}, ECNAccurate, ECNAccurate
		s.output(s.a)
		for steps := 0; !s.done(); steps++ {
			if steps > 40000 || !s.turn() {
				t.Fatalf("seed %d: not done", seed)
			}
		}
		for _, h := range []*host{s.a, s.b} {
			told, counted := countsOf(h.c.ecn.sentCEP, &h.c.ecn.sent), countsOf(h.peer.c.ecn.recvCEP, &h.peer.c.ecn.recv)
			if h.c.Stats.Resent == 0 && (counted.CE != h.marked || counted.CEBytes != h.markedOctets || told.CE != counted.CE) {
				t.Errorf("seed %d: %d packets of %s with %d octets were marked, the peer has counted %+v and told %+v",
					seed, h.marked, h.name, h.markedOctets, counted, told)
			}
		}
	}
}

// ACE is what it is on every segment but the one that acknowledges the SYN-ACK.
func TestEveryFlagOfTheFieldIsInItsPlace(t *testing.T) {
	for n := range uint32(16) {
		f := aceFlags(n)
		want := wire.Flags(0)
		for bit, flag := range [3]wire.Flags{wire.ECE, wire.CWR, wire.AE} {
			if n>>bit&1 != 0 {
				want |= flag
			}
		}
		if f != want || aceOf(f|wire.ACK|wire.FIN|wire.URG) != n%8 {
			t.Errorf("%d: %s, read as %d", n, f, aceOf(f))
		}
	}
}

func TestAccurateCookieIsRecalledFromTheAck(t *testing.T) {
	for _, x := range []struct {
		name string
		ours uint8
		syn  wire.Flags
		ack  wire.Flags
		mods []func(*talk)
		on   uint8
	}{
		{"pure acknowledgement", ECNAccurate, fAll, f010, nil, ecnAccurate},
		{"with timestamps", ECNAccurate, fAll, f010, []func(*talk){withTimestamps}, ecnAccurate},
		{"data", ECNAccurate, fAll, f101, []func(*talk){withTimestamps}, ecnAccurate},
		{"no ECN", ECNAccurate, 0, 0, []func(*talk){withTimestamps}, ecnOff},
		{"RFC 3168", ECNAccurate, f011, 0, []func(*talk){withTimestamps}, ecnClassic},
		{"RFC 3168 without timestamps", ECNAccurate, f011, 0, nil, ecnOff},
		{"we do not do it", ECNPassive, 0, f010, nil, ecnOff},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newCookieTalk(t, append(x.mods, option(func(o *ConnOptions) { o.ECN = x.ours }))...)
			a.syn.Flags |= x.syn
			CookieSynAck(a.now, &testFlow, &cookieSecret, &a.opt, &a.syn, &a.last)
			a.ack.Ack, a.ack.Flags = a.last.Seq.Add(1), sA|x.ack
			a.ack.Options.TSEcr = a.last.Options.TSVal
			if !a.open() || a.c.ecn.on != x.on {
				t.Errorf("mode %d", a.c.ecn.on)
			}
			a.do("Input", func(m *Memory) { a.c.Input(m, a.now, &a.ack) })
			a.wantState(Established)
		})
	}
}

// What a device has put together of three marked segments counts as three.
func TestMergedSegmentsAreCountedOneByOne(t *testing.T) {
	a := accurateTalk(t)
	a.inject(sPA|f101, 1, 1, 2500, func(s *Segment) { s.ECN, s.SegSize = CE, 1000 })
	a.want(sA|aceFlags(8), 1, 2501, 0)
	if i := a.c.Info(a.now); i.ECNReceived != (ECNCounts{CE: 3, CEBytes: 2500}) {
		t.Errorf("%+v", i.ECNReceived)
	}
}

// Devices clear CWR in all segments of a train but the first: while it is part of
// the count there are no trains.
func TestNoTrainWhileTheCountHasCWR(t *testing.T) {
	a := accurateTalk(t, withSACK, longTrains)
	a.c.SetOffload(60000)
	a.write(1000)
	a.drain()
	a.inject(sA|f101, 1, 1001, 0)
	a.write(4000)
	if a.next(&a.last); a.last.SegSize == 0 {
		t.Error("no train")
	}
	a.drain()
	a.inject(sPA|f101, 1, 5001, 10, came(CE))
	a.drain()
	a.write(4000)
	for n := 0; a.next(&a.last); n++ {
		if a.last.SegSize != 0 || a.last.Flags&fCWR == 0 {
			t.Errorf("segment %d: flags %s, to be cut into %d", n, a.last.Flags, a.last.SegSize)
		}
	}
}
