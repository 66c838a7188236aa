package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

const (
	fECE  = wire.ECE
	fCWR  = wire.CWR
	fBoth = wire.ECE | wire.CWR
)

func asksECN(tk *talk) { tk.c.Opt.ECN = ECNOn }

// ecnTalk is established with ECN agreed.
func ecnTalk(t *testing.T, mods ...func(*talk)) *talk {
	t.Helper()
	a := newTalk(t, append(mods, asksECN)...)
	a.openActive()
	a.want(sS|fBoth, 0, -1, 0)
	a.advance(10 * Millisecond)
	a.inject(sSA|fECE, 0, 1, 0)
	a.want(sA, 1, 1, 0)
	return a
}

func (tk *talk) wantECN(codepoint uint8) {
	tk.t.Helper()
	if tk.last.ECN != codepoint {
		tk.t.Errorf("codepoint %d, want %d", tk.last.ECN, codepoint)
	}
}

func marked(s *Segment) { s.ECN = CE }

func TestECNIsAgreedUpon(t *testing.T) {
	for _, x := range []struct {
		name string
		ours uint8
		syn  wire.Flags // of the peer's SYN, or SYN-ACK
		on   bool
	}{
		{"asked and agreed", ECNOn, sSA | fECE, true},
		{"asked and not agreed", ECNOn, sSA, false},
		{"asked and mirrored by a middlebox", ECNOn, sSA | fBoth, false},
		{"not asked and offered all the same", ECNPassive, sSA | fECE, false},
		{"asked by the peer, agreed by default", ECNPassive, sS | fBoth, true},
		{"asked by the peer, on", ECNOn, sS | fBoth, true},
		{"asked by the peer, off", ECNOff, sS | fBoth, false},
		{"not asked by the peer", ECNOn, sS, false},
		{"half asked by the peer", ECNOn, sS | fECE, false},
		{"asked by a peer that knows RFC 9768", ECNPassive, sS | fBoth | wire.AE, true},
	} {
		a := newTalk(t, option(func(o *ConnOptions) { o.ECN = x.ours }))
		if x.syn&wire.ACK != 0 {
			a.openActive()
			a.drain()
			a.inject(x.syn, 0, 1, 0)
		} else {
			syn := Segment{Seq: peerISS, Flags: x.syn, Window: 64000}
			opt := a.c.Opt
			a.do("OpenPassive", func(m *Memory) { a.c.OpenPassive(m, a.now, testFlow, ourISS, &opt, &syn) })
			want := sSA
			if x.on {
				want |= fECE
			}
			a.want(want, 0, 1, 0)
			a.wantECN(NotECT)
		}
		if got := a.c.ecn.on != ecnOff; got != x.on {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

func TestECNIsNotAskedForAgain(t *testing.T) {
	a := newTalk(t, asksECN)
	a.openActive()
	a.want(sS|fBoth, 0, -1, 0)
	a.advance(a.c.RTO())
	a.want(sS, 0, -1, 0)
	a.inject(sSA|fECE, 0, 1, 0)
	if a.c.ecn.on != 0 {
		t.Error("agreed to what the last SYN did not ask for")
	}
}

func TestOnlyNewDataMayBeMarked(t *testing.T) {
	a := ecnTalk(t)
	a.wantECN(NotECT) // the last segment of the handshake
	a.write(500)
	a.want(sPA, 1, 1, 500)
	a.wantECN(ECT0)
	a.advance(a.c.RTO())
	a.want(sPA, 1, 1, 500)
	a.wantECN(NotECT)
	a.inject(sA, 1, 501, 0, window(0))
	a.write(10)
	a.wantNone()
	a.advance(a.c.RTO())
	a.want(sA, 500, 1, 0)
	a.wantECN(NotECT)
}

func TestMarkIsEchoedUntilCWR(t *testing.T) {
	a := ecnTalk(t)
	a.inject(sPA, 1, 1, 100, marked)
	a.want(sA|fECE, 1, 101, 0)
	a.inject(sPA, 101, 1, 100)
	a.want(sA|fECE, 1, 201, 0)
	a.inject(sPA|fCWR, 201, 1, 100)
	a.want(sA, 1, 301, 0)
	a.inject(sPA|fCWR, 301, 1, 100, marked) // marked anew
	a.want(sA|fECE, 1, 401, 0)
	if a.c.Stats.CE != 2 {
		t.Errorf("%d marks", a.c.Stats.CE)
	}
}

func TestMarkOutsideTheWindowIsIgnored(t *testing.T) {
	a := ecnTalk(t)
	a.inject(sPA, 1, 1, 100)
	a.drain()
	a.inject(sPA, 1, 1, 100, marked) // old
	a.want(sA, 1, 101, 0)
}

func TestMarkIsNothingWithoutECN(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 100, marked)
	a.want(sA, 1, 101, 0)
	a.write(100)
	a.want(sPA, 1, 101, 100)
	a.wantECN(NotECT)
	cwnd, _ := a.c.Window()
	a.inject(sA|fECE, 101, 101, 0)
	if now, _ := a.c.Window(); now < cwnd {
		t.Error("the window shrank")
	}
}

func TestEchoReducesOnceAWindow(t *testing.T) {
	a := ecnTalk(t)
	a.write(10000)
	if n := a.drain(); n != 10 {
		t.Fatalf("%d segments", n)
	}
	before, _ := a.c.Window()
	a.inject(sA|fECE, 1, 1001, 0)
	after, ssthresh := a.c.Window()
	if after >= before || after > ssthresh+a.c.snd.mss || ssthresh > 8*before/10 {
		t.Errorf("cwnd %d -> %d, ssthresh %d", before, after, ssthresh)
	}
	for ack := 2001; ack <= 9001; ack += 1000 {
		a.inject(sA|fECE, 1, ack, 0)
	}
	if a.c.Stats.ECE != 1 {
		t.Errorf("reduced %d times within one window", a.c.Stats.ECE)
	}
	a.write(3000)
	a.want(sA|fCWR, 10001, 1, 1000)
	a.want(sA, 11001, 1, 1000)
	a.drain()
	a.inject(sA|fECE, 1, 11001, 0)
	if a.c.Stats.ECE != 2 {
		t.Errorf("reduced %d times in two windows", a.c.Stats.ECE)
	}
}

func TestEchoNeverShrinksTheWindowBelowASegment(t *testing.T) {
	a := ecnTalk(t)
	for at := 1; at < 60000; at += 1000 {
		a.write(1000)
		a.drain()
		a.inject(sA|fECE, 1, at+1000, 0)
	}
	if cwnd, _ := a.c.Window(); cwnd < a.c.snd.mss {
		t.Errorf("cwnd is %d", cwnd)
	}
}
