package tcp

import (
	"math/rand/v2"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

var cookieSecret = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// cookieTalk plays a handshake in which the listener forgets the SYN.
type cookieTalk struct {
	*talk
	opt ConnOptions
	syn Segment
	ack Segment // of the peer, to the SYN-ACK
}

func newCookieTalk(t *testing.T, mods ...func(*talk)) *cookieTalk {
	a := &cookieTalk{talk: newTalk(t, mods...)}
	a.opt = a.c.Opt
	a.c = Conn{}
	a.syn = Segment{Seq: peerISS, Flags: sS, Window: a.window, Options: a.synOptions()}
	CookieSynAck(a.now, &testFlow, &cookieSecret, &a.opt, &a.syn, &a.last)
	a.ack = Segment{Seq: a.last.Ack, Ack: a.last.Seq.Add(1), Flags: sA, Window: 500}
	if a.last.Options.Has(wire.HasTimestamps) {
		a.ack.Options = wire.Options{Present: wire.HasTimestamps, TSVal: a.tsval, TSEcr: a.last.Options.TSVal}
	}
	return a
}

func (a *cookieTalk) open() bool {
	a.t.Helper()
	ok := false
	a.do("OpenCookie", func(m *Memory) {
		ok = a.c.OpenCookie(m, a.now, testFlow, &cookieSecret, &a.opt, &a.ack)
	})
	return ok
}

func TestCookieKeepsWhatTheSynSaid(t *testing.T) {
	for _, x := range []struct {
		name string
		mods []func(*talk)
	}{
		{"nothing", nil},
		{"timestamps", []func(*talk){withTimestamps}},
		{"timestamps and SACK", []func(*talk){withTimestamps, withSACK}},
		{"timestamps and scale", []func(*talk){withTimestamps, withScale}},
		{"all", []func(*talk){withTimestamps, withSACK, withScale}},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newCookieTalk(t, x.mods...)
			if a.last.Flags != sSA || a.last.Ack != peerISS.Add(1) || a.last.Options.MSS == 0 {
				t.Fatalf("SYN-ACK is %+v", a.last)
			}
			b := newTalk(t, x.mods...) // what would have been without
			b.openPassive()
			b.want(sSA, 0, 1, 0)
			if a.last.Window != b.last.Window || a.last.Options.Present != b.last.Options.Present || a.last.Options.WindowScale != b.last.Options.WindowScale {
				t.Errorf("SYN-ACK differs:\n%+v\n%+v", a.last, b.last)
			}
			a.now += 3 * Second
			if !a.open() {
				t.Fatal("the cookie is not good")
			}
			a.do("Input", func(m *Memory) { a.c.Input(m, a.now, &a.ack) })
			a.wantState(Established)
			a.wantEvents(EventEstablished)
			const agreed = flagTimestamps | flagSACK | flagScaling
			if a.c.flags&agreed != b.c.flags&agreed || a.c.snd.scale != b.c.snd.scale || a.c.rcv.scale != b.c.rcv.scale {
				t.Errorf("agreed upon %b, scales %d %d; want %b, %d %d", a.c.flags&agreed, a.c.snd.scale, a.c.rcv.scale, b.c.flags&agreed, b.c.snd.scale, b.c.rcv.scale)
			}
			if a.c.rcv.edge != b.c.rcv.edge {
				t.Errorf("the window's edge is %d off", rel(a.c.rcv.edge, b.c.rcv.edge))
			}
		})
	}
}

func TestCookieConnectionCarriesData(t *testing.T) {
	a := newCookieTalk(t, withTimestamps, withSACK, withScale)
	a.ack.Len = 10
	a.ack.Payload = a.st.put(pattern(1, 10), slot)
	if !a.open() {
		t.Fatal("the cookie is not good")
	}
	a.do("Input", func(m *Memory) { a.c.Input(m, a.now, &a.ack) })
	if n := a.readAll(); n != 10 {
		t.Errorf("read %d octets", n)
	}
	a.write(100)
	var out Segment
	if !a.next(&out) || out.Len != 100 {
		t.Errorf("sends %+v", out)
	}
	if int32(out.Options.TSVal-a.ack.Options.TSEcr) < 0 {
		t.Error("the timestamp ran backwards")
	}
}

func TestCookieKeepsECN(t *testing.T) {
	a := newCookieTalk(t, withTimestamps)
	a.syn.Flags |= wire.ECE | wire.CWR
	CookieSynAck(a.now, &testFlow, &cookieSecret, &a.opt, &a.syn, &a.last)
	if a.last.Flags&wire.ECE == 0 {
		t.Error("the SYN-ACK does not agree")
	}
	a.ack.Options.TSEcr = a.last.Options.TSVal
	if !a.open() || a.c.ecn.on == 0 {
		t.Error("forgotten")
	}
}

func TestCookieMSSIsRoundedDown(t *testing.T) {
	for _, x := range []struct{ offered, want uint16 }{
		{0, minMSS}, {100, minMSS}, {536, 536}, {1459, 1440}, {1460, 1460}, {9000, 8940}, {65535, 65475},
	} {
		a := newCookieTalk(t, func(tk *talk) { tk.syn.MSS = x.offered; tk.c.Opt.MSS = 65495 })
		if !a.open() || a.c.snd.mss != uint32(x.want) {
			t.Errorf("offered %d: %d, want %d", x.offered, a.c.snd.mss, x.want)
		}
	}
	a := newCookieTalk(t, func(tk *talk) { tk.syn = wire.Options{} })
	if !a.open() || a.c.snd.mss != defaultMSS4 {
		t.Errorf("no MSS option: %d", a.c.snd.mss)
	}
}

func TestCookiesGrowOld(t *testing.T) {
	// What comes round after 256 units is under another hash.
	for age, good := range map[Time]bool{0: true, 60: true, 64: true, 127: true, 129: false, 200: false, 64 * 256: false, 64 * 300: false} {
		a := newCookieTalk(t)
		a.now = 64 * 1000 * Second // at the begin of a minute
		CookieSynAck(a.now, &testFlow, &cookieSecret, &a.opt, &a.syn, &a.last)
		a.ack.Ack = a.last.Seq.Add(1)
		a.now += age * Second
		if got := a.open(); got != good {
			t.Errorf("after %d s: %v", age, got)
		}
	}
}

func TestForgedCookiesAreRefused(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, 0))
	a := newCookieTalk(t)
	good := a.ack
	for name, forge := range map[string]func(){
		"other acknowledgement": func() { a.ack.Ack += seq.Number(1 + r.Uint32N(1<<23)) },
		"other sequence number": func() { a.ack.Seq += seq.Number(len(cookieMSS) + r.IntN(1<<20)) },
		"SYN":                   func() { a.ack.Flags |= wire.SYN },
		"RST":                   func() { a.ack.Flags |= wire.RST },
		"no ACK":                func() { a.ack.Flags = 0 },
	} {
		a.ack = good
		forge()
		if a.open() {
			t.Errorf("seed %d: %s was taken for a cookie", seed, name)
		}
		if a.c.State != Closed {
			t.Errorf("%s: refused, and changed", name)
		}
	}
	other := testFlow
	other.Remote.Port++
	if a.c.OpenCookie(&a.st.m, a.now, other, &cookieSecret, &a.opt, &good) {
		t.Error("the cookie of another flow was taken")
	}
	if a.c.OpenCookie(&a.st.m, a.now, testFlow, &[16]byte{9}, &a.opt, &good) {
		t.Error("the cookie of another secret was taken")
	}
}

// How often a blind guess succeeds: the MSS has 10 of 2^24 values, for 2 of 256
// counts.
func TestRandomAcknowledgementsAreNoCookies(t *testing.T) {
	const seed = 12
	r := rand.New(rand.NewPCG(seed, 0))
	hits := 0
	for range 200_000 {
		if _, ok := readCookie(1000*Second, &testFlow, &cookieSecret, seq.Number(r.Uint32()), seq.Number(r.Uint32())); ok {
			hits++
		}
	}
	if hits > 1 {
		t.Errorf("seed %d: %d of 200000 guesses were right", seed, hits)
	}
}

func TestCookieStampIsNeverAheadOfTheClock(t *testing.T) {
	var c Conn
	c.set(flagScaling | flagSACK)
	c.snd.scale = 14
	for now := uint32(0xffffff00); now != 0x100; now++ {
		ts := c.cookieStamp(now)
		if int32(ts-now) > 0 || now-ts > 2*64 || ts&0xf != 14 || ts&cookieSACK == 0 {
			t.Fatalf("at %#x: %#x", now, ts)
		}
	}
}

// Without timestamps nothing remembers the options of a SYN. The SYN-ACK agreed to
// window scaling all the same: the peer scaled its windows and ours by 128, and
// the connection that its acknowledgement made did not (seed 1215 of the simulator).
func TestCookieWithoutTimestampsAgreesToNothing(t *testing.T) {
	ecn := func(tk *talk) { tk.c.Opt.ECN = ECNOn }
	a := newCookieTalk(t, withSACK, withScale, ecn)
	if o := a.last.Options; o.Present != wire.HasMSS || a.last.Flags != sSA {
		t.Errorf("the SYN-ACK is %v with %v", a.last.Flags, o.String())
	}
	if !a.open() {
		t.Fatal("refused")
	}
	if a.c.has(flagScaling) || a.c.has(flagSACK) || a.c.ecn.on != 0 {
		t.Error("the connection has agreed to what the SYN-ACK did not offer")
	}
}
