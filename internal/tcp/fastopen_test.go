package tcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

var someCookie = []byte{1, 2, 3, 4, 5, 6, 7, 8}

// fastTalk has begun an active open with Fast Open.
func fastTalk(t *testing.T, cookie []byte, mods ...func(*talk)) *talk {
	t.Helper()
	a := newTalk(t, mods...)
	a.do("OpenActive", func(m *Memory) {
		a.c.OpenActive(m, a.now, testFlow, ourISS)
		a.c.AskFast(a.now, cookie, 1000)
	})
	return a
}

// wantCookie fails the test unless the last segment has this cookie, or if it is
// empty, the request for one.
func (tk *talk) wantCookie(cookie []byte) {
	tk.t.Helper()
	o := &tk.last.Options
	if !o.Has(wire.HasFastOpen) || string(o.Cookie[:o.CookieLen]) != string(cookie) {
		tk.t.Fatalf("option %s, want cookie %x", o, cookie)
	}
}

func (tk *talk) wantNoCookie() {
	tk.t.Helper()
	if tk.last.Options.Has(wire.HasFastOpen) {
		tk.t.Fatalf("option %s", &tk.last.Options)
	}
}

// cookie is a mod that puts the option into a segment.
func cookie(x []byte) func(*Segment) {
	return func(s *Segment) {
		s.Options.Present |= wire.HasFastOpen
		s.Options.CookieLen = uint8(copy(s.Options.Cookie[:], x))
	}
}

func (tk *talk) wantFast(taken bool, fail FastFail) {
	tk.t.Helper()
	if i := tk.c.Info(tk.now); i.FastOpen != taken || i.FastOpenFail != fail {
		tk.t.Errorf("taken %v, failure %d", i.FastOpen, i.FastOpenFail)
	}
}

func TestFastOpenAsksForACookie(t *testing.T) {
	a := fastTalk(t, nil)
	a.want(sS, 0, -1, 0)
	a.wantCookie(nil)
	a.inject(sSA, 0, 1, 0, cookie(someCookie))
	a.want(sA, 1, 1, 0)
	a.wantNoCookie()
	a.wantEvents(EventFastOpen | EventEstablished)
	if got, mss, taken, lost := a.c.FastOutcome(); string(got) != string(someCookie) || mss != 1000 || taken || lost {
		t.Errorf("%x %d %v %v", got, mss, taken, lost)
	}
	a.wantFast(false, FastFailNoCookie)
}

func TestDataTravelsInTheSyn(t *testing.T) {
	for name, mods := range map[string][]func(*talk){
		"plain": nil, "SACK and timestamps": {withSACK, withTimestamps}, "AccECN": {withSACK, accurate},
	} {
		t.Run(name, func(t *testing.T) {
			a := fastTalk(t, someCookie, mods...)
			a.wantNone() // it waits for the data
			if !a.c.FastHeld() {
				t.Fatal("not held")
			}
			a.write(300)
			ecn := wire.Flags(0)
			if a.c.Opt.ECN == ECNAccurate {
				ecn = fAll
			}
			a.want(sS|ecn, 0, -1, 300)
			a.wantCookie(someCookie)
			a.wantNone()
			a.advance(10 * Millisecond)
			third := wire.Flags(0)
			if ecn != 0 {
				ecn, third = f010, f010
			}
			a.inject(sSA|ecn, 0, 301, 0)
			a.wantState(Established)
			a.want(sA|third, 301, 1, 0)
			a.wantNone()
			a.wantFast(true, FastFailNone)
			if a.c.SndQ.Count != 0 || a.c.Stats.BytesAcked != 300 || a.c.armed(timerResend) {
				t.Errorf("%+v", a.c.Stats)
			}
			a.write(500)
			a.drain()
			a.inject(sA, 1, 801, 0)
			if a.c.flight() != 0 {
				t.Error("not acknowledged")
			}
		})
	}
}

// The server acknowledges the SYN alone: its data follows at once.
func TestDataOfTheSynThatIsNotTaken(t *testing.T) {
	for name, mods := range map[string][]func(*talk){"plain": nil, "SACK": {withSACK}} {
		t.Run(name, func(t *testing.T) {
			a := fastTalk(t, someCookie, mods...)
			a.write(300)
			a.want(sS, 0, -1, 300)
			a.inject(sSA, 0, 1, 0, cookie([]byte{9, 9, 9, 9}))
			a.want(sPA, 1, 1, 300)
			a.inject(sA, 1, 301, 0)
			a.wantNone()
			a.wantFast(false, FastFailNotAcked)
			if got, _, _, _ := a.c.FastOutcome(); len(got) != 4 {
				t.Errorf("cookie %x", got)
			}
		})
	}
}

// A part of the data is acknowledged.
func TestDataOfTheSynThatIsTakenInPart(t *testing.T) {
	a := fastTalk(t, someCookie, withSACK)
	a.write(300)
	a.want(sS, 0, -1, 300)
	a.advance(20 * Millisecond)
	a.inject(sSA, 0, 101, 0)
	a.want(sPA, 101, 1, 200) // at once
	a.inject(sA, 1, 301, 0)
	a.wantNone()
	a.wantFast(true, FastFailNone)
}

// The answer to the SYN measures the round trip, whatever it says of the data.
func TestSynAckMeasuresThoughDataIsNotTaken(t *testing.T) {
	for _, taken := range []int{0, 100, 300} {
		a := fastTalk(t, someCookie)
		a.write(300)
		a.want(sS, 0, -1, 300)
		a.advance(20 * Millisecond)
		a.inject(sSA, 0, 1+taken, 0)
		if rtt, _ := a.c.SmoothedRTT(); rtt != 20*Millisecond {
			t.Errorf("%d octets taken: round trip %v", taken, rtt)
		}
	}
}

// One that times out goes again without data and option.
func TestSynIsSentAgainWithoutData(t *testing.T) {
	a := fastTalk(t, someCookie)
	a.write(300)
	a.want(sS, 0, -1, 300)
	a.advance(a.c.RTO())
	a.want(sS, 0, -1, 0)
	a.wantNoCookie()
	a.inject(sSA, 0, 1, 0)
	a.want(sPA, 1, 1, 300)
	a.wantFast(false, FastFailResent)
	if _, _, _, lost := a.c.FastOutcome(); !lost {
		t.Error("the loss is not told of")
	}
}

func TestSynWithMoreThanASegment(t *testing.T) {
	a := fastTalk(t, someCookie)
	a.write(3000)
	a.want(sS, 0, -1, 960) // the server's MSS, and room for all options
	a.inject(sSA, 0, 961, 0)
	a.want(sA, 961, 1, 1000)
	a.want(sA, 1961, 1, 1000)
	a.want(sPA, 2961, 1, 40)
	a.wantNone()
}

// A program that does not write, but reads.
func TestSynDoesNotWaitForever(t *testing.T) {
	a := fastTalk(t, someCookie)
	a.advance(fastHold)
	a.want(sS, 0, -1, 0)
	a.wantCookie(someCookie)
	a.inject(sSA, 0, 1, 0)
	a.wantState(Established)
}

func TestWithoutCookieIfTheProgramSaysSo(t *testing.T) {
	a := fastTalk(t, nil, option(func(o *ConnOptions) { o.FastOpenNoCookie = 1 }))
	a.write(100)
	a.want(sS, 0, -1, 100)
	a.wantNoCookie()
}

// What Write has accepted arrives, though the program closes at once.
func TestCloseBehindDataInTheSyn(t *testing.T) {
	a := fastTalk(t, someCookie)
	a.write(100)
	a.close()
	a.want(sS, 0, -1, 100)
	a.inject(sSA, 0, 101, 0)
	a.wantState(FinWait1)
	a.want(sFA, 101, 1, 0)
	b := fastTalk(t, someCookie)
	b.close()
	b.wantState(Closed)
	d := fastTalk(t, someCookie)
	d.shutdown() // it may read on
	d.want(sS, 0, -1, 0)
	d.inject(sSA, 0, 1, 0)
	d.want(sFA, 1, 1, 0)
}

func TestSimultaneousFastOpen(t *testing.T) {
	a := fastTalk(t, someCookie, withSACK)
	a.write(100)
	a.want(sS, 0, -1, 100)
	a.inject(sS, 0, 0, 0)
	a.want(sSA, 0, 1, 0)
	a.inject(sSA, 0, 1, 0)
	a.want(sPA, 1, 1, 100)
	a.inject(sA, 1, 101, 0)
	a.wantNone()
	a.wantState(Established)
}

// fastServerTalk has been opened by a SYN with n octets.
func fastServerTalk(t *testing.T, n int, mods ...func(*talk)) *talk {
	t.Helper()
	a := newTalk(t, mods...)
	syn := Segment{Seq: peerISS, Flags: sS | a.synFlags, Window: a.window, Options: a.synOptions(), Len: uint32(n)}
	opt := a.c.Opt
	a.do("OpenPassive", func(m *Memory) {
		a.c.OpenPassive(m, a.now, testFlow, ourISS, &opt, &syn)
		a.c.GrantFast(someCookie)
		a.c.AcceptFast()
	})
	syn.Payload = a.st.put(pattern(1, n), slot)
	a.do("Input", func(m *Memory) { a.c.Input(m, a.now, &syn) })
	a.st.give(syn.Payload)
	return a
}

func TestServerTakesDataOfTheSyn(t *testing.T) {
	for name, mods := range map[string][]func(*talk){"plain": nil, "SACK": {withSACK}, "deferred": {option(func(o *ConnOptions) { o.DeferAccept = 5 })}} {
		t.Run(name, func(t *testing.T) {
			a := fastServerTalk(t, 200, mods...)
			a.wantEvents(EventEstablished | EventReadable)
			if n := a.readAll(); n != 200 || !a.c.FastPending() {
				t.Fatalf("read %d octets", n)
			}
			a.write(3000)
			a.want(sSA, 0, 201, 0)
			a.wantCookie(someCookie)
			a.want(sA, 1, 201, 1000) // the answer does not wait for the handshake
			a.want(sA, 1001, 201, 1000)
			a.want(sPA, 2001, 201, 1000)
			a.wantNone()
			a.wantState(SynReceived)
			a.advance(10 * Millisecond)
			a.inject(sA, 201, 1, 0)
			a.wantState(Established)
			a.inject(sA, 201, 2001, 0)
			a.wantNone()
			a.inject(sA, 201, 3001, 0)
			if a.c.flight() != 0 || a.c.armed(timerResend) || a.c.SndQ.Count != 0 {
				t.Error("something is in flight")
			}
			a.wantFast(true, FastFailNone)
		})
	}
}

// The SYN-ACK is lost, and the answer with it.
func TestServerSendsTheSynAckAgain(t *testing.T) {
	a := fastServerTalk(t, 200, withSACK)
	a.write(500)
	a.want(sSA, 0, 201, 0)
	a.want(sPA, 1, 201, 500)
	a.inject(sS, 0, 0, 0) // without data, as it was not answered
	a.want(sSA, 0, 201, 0)
	a.inject(sA, 201, 1, 0)
	a.wantState(Established)
	a.advance(2 * Second)
	a.want(sPA, 1, 201, 500)
}

func TestServerClosesBeforeTheHandshakeIsComplete(t *testing.T) {
	a := fastServerTalk(t, 200)
	a.readAll()
	a.write(100)
	a.shutdown()
	a.want(sSA, 0, 201, 0)
	a.want(sPA, 1, 201, 100)
	a.wantNone() // the FIN waits
	a.inject(sA, 201, 101, 0)
	a.wantState(FinWait1)
	a.want(sFA, 101, 201, 0)
}

func TestResetBeforeTheHandshakeIsComplete(t *testing.T) {
	a := fastServerTalk(t, 200)
	a.want(sSA, 0, 201, 0)
	a.inject(sR, 201, 0, 0)
	a.wantEnd(ErrReset)
	if !a.c.FastFailed() {
		t.Error("it counts as one that was complete")
	}
}

// The SYN's data has found no room: the connection is one like others.
func TestServerWithoutRoomForTheData(t *testing.T) {
	a := newTalk(t)
	syn := Segment{Seq: peerISS, Flags: sS, Window: a.window, Options: a.synOptions()}
	opt := a.c.Opt
	a.do("OpenPassive", func(m *Memory) {
		a.c.OpenPassive(m, a.now, testFlow, ourISS, &opt, &syn)
		a.c.AcceptFast()
	})
	a.want(sSA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.wantState(Established)
	a.write(100)
	a.want(sPA, 1, 1, 100)
}

func TestFastCookiesAreLinuxs(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = 0xa1 + byte(i/4)*0x11
	}
	for _, w := range []struct{ remote, local, want string }{
		{"192.0.2.1", "192.168.0.1", "3021b9d889017eeb"}, // seen of Linux 6.18 with this key
		{"fd3d:fa7b:d17d::1", "fd3d:a0b:17d6::1", "c1d1e9742a47a9bc"},
	} {
		flow := wire.Flow{
			Remote: wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr(w.remote)), Port: 1},
			Local:  wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr(w.local)), Port: 2},
		}
		if got := fmt.Sprintf("%x", FastCookie(&key, &flow)); got != w.want {
			t.Errorf("%s to %s: %s, want %s", w.remote, w.local, got, w.want)
		}
	}
}

func TestFastCookies(t *testing.T) {
	k1, k2 := [16]byte{1}, [16]byte{2}
	c := FastCookie(&k1, &testFlow)
	other := testFlow
	other.Remote.Port++
	if FastCookie(&k1, &other) != c {
		t.Error("a cookie is for all ports of a client")
	}
	other.Remote.Addr[15]++
	if FastCookie(&k1, &other) == c || FastCookie(&k2, &testFlow) == c {
		t.Error("the cookie of another address or key is the same")
	}
}

// Two engines, one of which opens with data, over a network that loses and doubles.
func TestFastOpenSoak(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 7413))
		s := newSoak(t, r)
		for _, h := range []*host{s.a, s.b} {
			*h = host{end: end{st: newStore(2048)}, name: h.name, write: h.write}
			h.c.Opt = s.options()
			h.c.Opt.FastOpenNoCookie = uint8(r.IntN(2))
		}
		s.a.peer, s.b.peer = s.b, s.a
		s.fast = true
		s.b.c.Flow, s.b.c.snd.iss = wire.Flow{Local: testFlow.Remote, Remote: testFlow.Local}, seq.Number(r.Uint32())
		s.a.c.OpenActive(&s.a.st.m, s.now, testFlow, seq.Number(r.Uint32()))
		s.a.c.AskFast(s.now, someCookie, uint16(r.IntN(1500)))
		for steps := 0; !s.done(); steps++ {
			if steps > 40000 || !s.turn() {
				t.Fatalf("seed %d: not done: %s, %s", seed, s.a.status(), s.b.status())
			}
		}
		s.verdict(seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// All that a SYN-ACK may have fits into its header, the cookie before all.
func TestCookieFindsRoomInTheSynAck(t *testing.T) {
	for _, told := range []uint8{0, 1} {
		a := fastServerTalk(t, 10, withTimestamps, withSACK, withScale, option(func(o *ConnOptions) {
			o.ECN, o.UserTimeoutOption, o.UserTimeout = ECNAccurate, told, 100_000
		}), func(tk *talk) { tk.synFlags = fAll })
		a.want(sSA|f010, 0, 11, 0)
		tcp := wire.TCP{Options: a.last.Options}
		var b [wire.MaxTCPLen]byte
		n := tcp.Emit(b[:])
		var back wire.TCP
		if _, err := wire.ParseTCP(b[:n], &back); err != nil || back.Options.Present != a.last.Options.Present || back.Options.CookieLen != 8 || !back.Options.Has(wire.HasAccECN) {
			t.Errorf("%s became %s", &a.last.Options, &back.Options)
		}
	}
}
