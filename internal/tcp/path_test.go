package tcp

import (
	"slices"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

func (tk *talk) pathMTU(mtu uint32, quoted int) {
	tk.t.Helper()
	tk.do("PathMTU", func(m *Memory) { tk.c.PathMTU(m, tk.now, mtu, ourISS+seq.Number(quoted)) })
}

func pathProbing(how uint8) func(*talk) { return option(func(o *ConnOptions) { o.MTUProbe = how }) }

func bigMSS(tk *talk) { tk.syn.MSS = 1460 }

func TestPacketTooBigIsChecked(t *testing.T) {
	for _, x := range []struct {
		name   string
		mtu    uint32
		quoted int
		want   uint32
	}{
		{"before what is in flight", 1000, 0, 1460},
		{"beyond what is in flight", 1000, 2000, 1460},
		{"at its end", 1000, 1001, 1460},
		{"not smaller", 1500, 1, 1460},
		{"larger", 9000, 1, 1460},
		{"believed", 1000, 1000, 960},
		{"too small to be true", 68, 1, minPath4 - 40},
		{"from a router that does not say", 0, 1, 1492 - 40},
	} {
		a := established(t, bigMSS)
		a.write(1000)
		a.drain()
		a.pathMTU(x.mtu, x.quoted)
		if a.c.snd.mss != x.want {
			t.Errorf("%s: MSS is %d, want %d", x.name, a.c.snd.mss, x.want)
		}
	}
}

func TestPacketTooBigInOtherStates(t *testing.T) {
	for _, s := range []State{Closed, Listen, SynSent, SynReceived, TimeWait} {
		a := newTalk(t)
		if s != Closed {
			a = inState(t, s)
		}
		a.pathMTU(600, 0)
		a.pathMTU(600, 1)
		if a.c.Stats.PathMTUs != 0 {
			t.Errorf("%s: taken", s)
		}
	}
}

func TestSmallerPathIsForgottenAfterTenMinutes(t *testing.T) {
	a := established(t, bigMSS, pathProbing(MTUProbeOff))
	a.write(1000)
	a.drain()
	a.pathMTU(1040, 1)
	a.drain()
	a.inject(sA, 1, 1001, 0)
	a.advance(pathRaise - Second)
	a.write(1000)
	a.want(sPA, 1001, 1, 1000)
	a.inject(sA, 1, 2001, 0)
	a.advance(2 * Second)
	a.write(1460)
	a.drain()
	if a.c.snd.mss != 1460 {
		t.Errorf("MSS is %d", a.c.snd.mss)
	}
}

// network lets the connection send n octets over a path that swallows packets of
// more than limit octets without a word. It returns what the search has found.
func (tk *talk) network(n int, limit uint32) uint16 {
	tk.t.Helper()
	next := ourISS + 1 // of the receiver
	held := map[seq.Number]uint32{}
	for steps := 0; tk.c.snd.una != ourISS+1+seq.Number(n); steps++ {
		if steps > 20000 || tk.c.State != Established {
			tk.t.Fatalf("stuck: %+v", tk.c.Info(tk.now))
		}
		if room := min(int(tk.c.SendSpace()), n-tk.wrote, slot*100); room > 0 {
			tk.write(room)
		}
		var flight []Segment
		for out := (Segment{}); tk.next(&out); {
			flight = append(flight, out)
		}
		if len(flight) == 0 {
			tk.advance(max(tk.c.Deadline()-tk.now, Millisecond))
			continue
		}
		tk.advance(10 * Millisecond)
		for _, out := range flight {
			if out.Len+40 <= limit {
				tk.arrive(held, &next, out)
			}
		}
	}
	return tk.c.path.mtu
}

// arrive lets a segment arrive at the peer, which acknowledges it.
func (tk *talk) arrive(held map[seq.Number]uint32, next *seq.Number, out Segment) {
	tk.t.Helper()
	held[out.Seq] = max(held[out.Seq], out.Len)
	for grown := true; grown; {
		grown = false
		for s, k := range held {
			if s.AtOrBefore(*next) {
				delete(held, s)
				if end := s.Add(seq.Size(k)); end.After(*next) {
					*next, grown = end, true
				}
			}
		}
	}
	tk.inject(sA, 1, rel(*next, ourISS), 0)
}

func TestSearchFindsThePath(t *testing.T) {
	for _, limit := range []uint32{1500, 1400, 1280} {
		a := established(t, bigMSS, pathProbing(MTUProbeOn), option(func(o *ConnOptions) { o.SndBuf = 1 << 18 }))
		if a.c.path.mtu != basePath {
			t.Fatalf("begins with %d", a.c.path.mtu)
		}
		got := uint32(a.network(1_500_000, limit))
		if got > limit || got+pathStep < limit-pathStep {
			t.Errorf("path of %d: found %d; %+v", limit, got, a.c.path)
		}
	}
}

func TestBlackHoleIsFoundAndLeft(t *testing.T) {
	a := established(t, bigMSS, option(func(o *ConnOptions) { o.SndBuf = 1 << 18 }))
	got := uint32(a.network(1_000_000, 1300))
	if got > 1300 || got < 700 {
		t.Errorf("found %d", got)
	}
	if a.c.Stats.MTUProbes == 0 {
		t.Error("nothing was tried")
	}
}

func TestNoBlackHoleIsSuspectedWhenOff(t *testing.T) {
	a := established(t, bigMSS, pathProbing(MTUProbeOff))
	a.write(1460)
	a.drain()
	for range 6 {
		a.advance(a.c.Deadline() - a.now)
		if a.want(sPA, 1, 1, 1460); a.c.path.hole != 0 {
			t.Fatal("suspected")
		}
	}
}

func TestLossOfAProbeIsNoCongestion(t *testing.T) {
	a := established(t, bigMSS, pathProbing(MTUProbeOn), option(func(o *ConnOptions) { o.SndBuf = 1 << 18 }))
	a.c.cc.cwnd = 40000
	a.write(40000)
	var out Segment
	for a.next(&out) && out.Len <= a.c.snd.mss {
	}
	if out.Len != 1460 {
		t.Fatalf("the probe has %d octets", out.Len)
	}
	a.drain()
	at := rel(out.Seq, ourISS)
	a.inject(sA, 1, at, 0)
	cwnd, ssthresh := a.c.Window()
	for range 3 {
		a.inject(sA, 1, at, 0)
	}
	a.want(sA, at, 1, int(a.c.snd.mss))
	if w, s := a.c.Window(); w < cwnd || s < ssthresh {
		t.Errorf("windows %d %d, were %d %d", w, s, cwnd, ssthresh)
	}
	if a.c.path.tries != 1 || a.c.path.probe != 0 {
		t.Errorf("after its loss: %+v", a.c.path)
	}
}

// Linux's sizes: its test of tcp_mtu_probing with a base of 512 octets, on a route
// whose MTU has grown from 640 to 1500, has this conversation.
func TestProbeOnARouteThatHasGrown(t *testing.T) {
	a := newTalk(t, bigMSS, pathProbing(MTUProbeOn), option(func(o *ConnOptions) { o.MSS, o.BaseMSS = 600, 512 }))
	a.openPassive()
	a.c.TrustRoute()
	a.want(sSA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.wantState(Established)
	a.routeMTU(1500)
	a.write(4000)
	a.want(sA, 1, 1, 986) // half way between 552 and 1500 octets
	for at := 987; at < 3987; at += 600 {
		a.want(sA, at, 1, 600)
	}
	a.want(sPA, 3987, 1, 14)
	a.inject(sA, 1, 4001, 0)
	a.write(2000) // too few for a probe that is noticed when it is lost
	a.want(sA, 4001, 1, 986)
	a.want(sA, 4987, 1, 986)
	a.want(sPA, 5973, 1, 28)
	a.inject(sA, 1, 6001, 0)
	a.write(8000) // the largest is less than twice what is sent: it is tried itself
	a.want(sA, 6001, 1, 1460)
}

func (tk *talk) routeMTU(mtu uint32) {
	tk.t.Helper()
	tk.do("RouteMTU", func(m *Memory) { tk.c.RouteMTU(m, tk.now, mtu) })
}

// A connection that probes begins with the base unless its route is trusted.
func TestFirstSizeOfAProbingConnection(t *testing.T) {
	for _, x := range []struct {
		base    uint16
		trusted bool
		want    uint32
	}{{0, false, basePath - 40}, {512, false, 512}, {512, true, 1460}, {1400, false, 1400}, {9000, false, 1460}} {
		a := newTalk(t, bigMSS, pathProbing(MTUProbeOn), option(func(o *ConnOptions) { o.BaseMSS = x.base }))
		a.openPassive()
		if x.trusted {
			a.c.TrustRoute()
		}
		a.want(sSA, 0, 1, 0)
		a.inject(sA, 1, 1, 0)
		if a.c.snd.mss != x.want {
			t.Errorf("%+v: %d octets", x, a.c.snd.mss)
		}
		a.c.TrustRoute() // too late
		if a.c.snd.mss != x.want {
			t.Errorf("%+v: then %d octets", x, a.c.snd.mss)
		}
	}
}

func TestRouteThatChanges(t *testing.T) {
	for _, x := range []struct {
		name string
		peer uint16
		mtus []uint32
		want uint32
	}{
		{"the same", 1460, []uint32{1500}, 1460},
		{"smaller", 1460, []uint32{1400}, 1360},
		{"smaller, and large again", 1460, []uint32{1400, 1500}, 1460},
		{"larger than the peer takes", 1460, []uint32{9000}, 1460},
		{"larger, and the peer takes it", 8960, []uint32{9000}, 8960},
		{"larger than there is", 65535, []uint32{1 << 20}, 65495},
		{"too small to be true", 1460, []uint32{68}, minPath4 - 40},
	} {
		a := established(t, func(tk *talk) { tk.syn.MSS = x.peer })
		a.write(1000)
		a.want(sPA, 1, 1, 1000)
		a.inject(sA, 1, 1001, 0)
		for _, mtu := range x.mtus {
			a.routeMTU(mtu)
		}
		if a.c.snd.mss != x.want {
			t.Errorf("%s: %d octets, want %d", x.name, a.c.snd.mss, x.want)
		}
	}
}

// What does not fit the route any more is sent again in segments that do, and that is no
// congestion.
func TestRouteThatHasShrunkInTheMiddle(t *testing.T) {
	a := established(t, bigMSS)
	a.write(2000)
	a.want(sA, 1, 1, 1460)
	a.want(sPA, 1461, 1, 540)
	cwnd, ssthresh := a.c.Window()
	a.routeMTU(1040)
	a.want(sA, 1, 1, 1000)
	a.want(sPA, 1001, 1, 1000)
	if w, s := a.c.Window(); w != cwnd || s != ssthresh {
		t.Errorf("congestion control has seen it: %d %d, was %d %d", w, s, cwnd, ssthresh)
	}
}

// TCP_MAXSEG bounds what a route that grows may be used for.
func TestRouteThatHasGrownAndTheProgramsOwnMSS(t *testing.T) {
	a := established(t, bigMSS, option(func(o *ConnOptions) { o.UserMSS = 700 }))
	a.routeMTU(9000)
	if a.c.snd.mss != 700 {
		t.Errorf("%d octets", a.c.snd.mss)
	}
}

// The base first, then half of it and so on down to the floor, three timeouts each.
func TestBlackHoleLeadsFromTheBaseToTheFloor(t *testing.T) {
	for _, x := range []struct {
		base, floor uint16
		want        []uint32
	}{
		{0, 0, []uint32{1460, basePath - 40, basePath/2 - 40, minPath4 - 40}},
		{1024, 300, []uint32{1460, 1024, 1064/2 - 40, 300}},
		{2000, 1000, []uint32{1460, 1000}},
	} {
		a := established(t, bigMSS, option(func(o *ConnOptions) { o.BaseMSS, o.FloorMSS = x.base, x.floor }))
		a.write(4000)
		a.drain()
		got := []uint32{a.c.snd.mss}
		for a.c.State == Established {
			a.advance(a.c.Deadline() - a.now)
			a.drain()
			if a.c.State == Established && a.c.snd.mss != got[len(got)-1] {
				got = append(got, a.c.snd.mss)
			}
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("base %d, floor %d: %v, want %v", x.base, x.floor, got, x.want)
		}
	}
}

func TestHeadersByFamily(t *testing.T) {
	a := established(t)
	if n := a.c.headers(); n != 40 {
		t.Errorf("IPv4: %d octets", n)
	}
	a.c.Flow.Remote.Addr, a.c.Flow.Local.Addr = wire.Addr{0: 0xfd, 15: 1}, wire.Addr{0: 0xfd, 15: 2}
	if n := a.c.headers(); n != 60 || a.c.minPath() != 1280 {
		t.Errorf("IPv6: %d octets, no less than %d", n, a.c.minPath())
	}
}

func (tk *talk) unreachable(e Error, quoted int) {
	tk.t.Helper()
	tk.do("Unreachable", func(m *Memory) { tk.c.Unreachable(m, tk.now, e, ourISS+seq.Number(quoted)) })
}

func TestSoftErrorsDoNotAbort(t *testing.T) {
	for _, s := range []State{SynReceived, Established, FinWait1, CloseWait} {
		a := inState(t, s)
		quoted := 0
		if s.Synchronized() {
			quoted = 1
			if s == Established || s == CloseWait {
				a.write(10)
				a.drain()
			}
		}
		a.unreachable(ErrUnreachable, quoted)
		a.wantState(s)
		if a.c.Soft != ErrUnreachable {
			t.Errorf("%s: forgotten", s)
		}
	}
}

func TestSoftErrorIsToldAtTheEnd(t *testing.T) {
	a := established(t)
	a.write(10)
	a.drain()
	a.unreachable(ErrRefused, 1) // hard ones are soft by now
	a.wantState(Established)
	for a.c.State == Established {
		a.advance(a.c.Deadline() - a.now)
		a.drain()
	}
	a.wantEnd(ErrRefused)
}

func TestSoftErrorIsForgottenWithProgress(t *testing.T) {
	a := established(t)
	a.write(10)
	a.drain()
	a.unreachable(ErrUnreachable, 1)
	a.inject(sA, 1, 11, 0)
	if a.c.Soft != ErrNone {
		t.Error("still there")
	}
}

func TestErrorEndsAnOpen(t *testing.T) {
	for _, e := range []Error{ErrRefused, ErrUnreachable, ErrNetUnreachable, ErrProhibited} {
		a := inState(t, SynSent)
		a.unreachable(e, 1) // not our SYN
		a.wantState(SynSent)
		a.unreachable(e, 0)
		a.wantEnd(e)
		a.wantNone()
	}
}

// What the host itself can't carry for a while is used again when it can; what a router
// has said, or a search has found, lasts for its ten minutes.
func TestRouteThatGrows(t *testing.T) {
	type said struct {
		by  string // "host", "router", or "growth": what may be larger again
		mtu uint32
	}
	for _, x := range []struct {
		name   string
		peer   uint16
		of     uint16 // the MSS of the connection's own link
		heard  []said
		mss    uint32
		wait   Time // and then
		waited uint32
	}{
		{"the host's own limit", 1460, 1460, []said{{"host", 1300}, {"growth", 1500}}, 1460, 0, 1460},
		{"two of them", 1460, 1460, []said{{"host", 1300}, {"host", 1200}, {"growth", 1500}}, 1460, 0, 1460},
		{"without growth", 1460, 1460, []said{{"host", 1300}}, 1260, pathRaise, 1460},
		{"a router's", 1460, 1460, []said{{"router", 1300}, {"growth", 1500}}, 1260, pathRaise, 1460},
		{"the host's below a router's", 1460, 1460, []said{{"router", 1300}, {"host", 1200}, {"growth", 1500}}, 1260, pathRaise, 1460},
		{"a router's below the host's", 1460, 1460, []said{{"host", 1300}, {"router", 1200}, {"growth", 1500}}, 1160, pathRaise, 1460},
		{"a router's above the host's", 1460, 1460, []said{{"host", 1200}, {"router", 1300}, {"growth", 1500}}, 1460, 0, 1460},
		{"a link that was small", 8960, 1460, []said{{"growth", 9000}}, 8960, 0, 8960},
		{"a small link and a router", 8960, 1460, []said{{"router", 1300}, {"growth", 9000}}, 1260, pathRaise, 8960},
		{"no more than the peer takes", 1460, 1460, []said{{"growth", 9000}}, 1460, 0, 1460},
		{"grown too early", 1460, 1460, []said{{"host", 1300}, {"growth", 1500}, {"host", 1300}}, 1260, pathRaise, 1460},
		{"nothing in flight", 1460, 1460, []said{{"host", 0}}, 1460, 0, 1460},
	} {
		a := established(t, func(tk *talk) { tk.syn.MSS = x.peer }, pathProbing(MTUProbeOff), option(func(o *ConnOptions) { o.MSS = x.of }))
		for _, s := range x.heard {
			at := a.c.snd.una
			a.write(1000)
			a.drain()
			if s.mtu == 0 {
				at, s.mtu = a.c.snd.nxt, 1200
			}
			switch s.by {
			case "host":
				a.do("LocalMTU", func(m *Memory) { a.c.LocalMTU(m, a.now, s.mtu, at) })
			case "router":
				a.do("PathMTU", func(m *Memory) { a.c.PathMTU(m, a.now, s.mtu, at) })
			default:
				a.do("RouteGrew", func(*Memory) { a.c.RouteGrew(s.mtu) })
				if a.c.MayGrow(s.mtu) {
					t.Errorf("%s: it may grow still", x.name)
				}
			}
			a.drain()
			a.inject(sA, 1, a.wrote+1, 0)
		}
		if a.c.snd.mss != x.mss {
			t.Errorf("%s: segments of %d octets, want %d", x.name, a.c.snd.mss, x.mss)
		}
		a.advance(x.wait + Second)
		a.write(2000)
		a.drain()
		if a.c.snd.mss != x.waited {
			t.Errorf("%s: after %v of %d octets, want %d", x.name, x.wait, a.c.snd.mss, x.waited)
		}
	}
}
