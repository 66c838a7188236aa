package tcp

import "testing"

const testRTT = 50 * Millisecond

// stream lets the peer send n octets, as far as the window allows, in one round
// trip, and the program read them. It returns how many there were.
func (tk *talk) stream(n int) int {
	tk.t.Helper()
	at := rel(tk.c.rcv.nxt, peerISS)
	edge := tk.c.rcv.edge
	sent := 0
	for sent < n && tk.c.rcv.nxt != edge {
		k := min(n-sent, 1000, int(edge-tk.c.rcv.nxt))
		tk.inject(sA, at+sent, 1, k)
		tk.readAll()
		sent += k
		if tk.c.rcv.edge.Before(edge) {
			tk.t.Fatal("the window shrank")
		}
		tk.drain()
	}
	tk.tsecho = tk.c.tsNow(tk.now)
	tk.advance(testRTT)
	return sent
}

func grows(buf, most uint32) func(*talk) {
	return option(func(o *ConnOptions) { o.RcvBuf, o.RcvMax, o.SndBuf, o.SndMax = buf, most, buf, most })
}

func TestReceiveBufferGrowsWithWhatIsRead(t *testing.T) {
	for _, mods := range [][]func(*talk){
		{withScale, grows(50_000, 400_000)},
		{withScale, withTimestamps, grows(50_000, 400_000)},
	} {
		a := established(t, mods...)
		got := 0
		for range 30 {
			got = a.stream(1 << 30)
			if a.c.Opt.RcvBuf > 400_000 {
				t.Fatalf("the buffer has %d octets", a.c.Opt.RcvBuf)
			}
		}
		if a.c.Opt.RcvBuf != 400_000 || got < 300_000 {
			t.Errorf("the buffer has %d octets, and %d come in a round trip", a.c.Opt.RcvBuf, got)
		}
	}
}

func TestReceiveBufferDoesNotGrowForNothing(t *testing.T) {
	for _, x := range []struct {
		name string
		mod  func(*talk)
		n    int
	}{
		{"a slow peer", func(*talk) {}, 10_000},
		{"the program has set it", option(func(o *ConnOptions) { o.RcvLock = 1 }), 1 << 30},
		{"no more is allowed", option(func(o *ConnOptions) { o.RcvMax = 0 }), 1 << 30},
		{"memory is short", func(tk *talk) { tk.st.m.Tight = true }, 1 << 30},
	} {
		a := established(t, withScale, grows(50_000, 400_000), x.mod)
		for range 20 {
			a.stream(x.n)
		}
		if a.c.Opt.RcvBuf != 50_000 {
			t.Errorf("%s: the buffer has %d octets", x.name, a.c.Opt.RcvBuf)
		}
	}
}

func TestReceiveBufferDoesNotGrowWhileNobodyReads(t *testing.T) {
	a := established(t, withScale, grows(50_000, 400_000))
	for at := 1; a.c.rcv.nxt != a.c.rcv.edge; at = rel(a.c.rcv.nxt, peerISS) {
		a.inject(sA, at, 1, min(1000, int(a.c.rcv.edge-a.c.rcv.nxt)))
		a.drain()
		a.advance(testRTT)
	}
	if a.c.Opt.RcvBuf != 50_000 {
		t.Errorf("the buffer has %d octets", a.c.Opt.RcvBuf)
	}
}

func TestWindowScaleLeavesRoomToGrow(t *testing.T) {
	a := newTalk(t, withScale, grows(50_000, 100<<20))
	a.openActive()
	if s := a.want(sS, 0, -1, 0).Options.WindowScale; 65535<<s < 100<<20 {
		t.Errorf("a shift of %d", s)
	}
}

func TestSendBufferGrowsWithTheWindow(t *testing.T) {
	send := func(mods ...func(*talk)) *talk {
		a := established(t, append([]func(*talk){grows(20_000, 60_000)}, mods...)...)
		for range 12 {
			if n := int(a.c.SendSpace()); n > 0 {
				a.write(n)
			}
			a.drain()
			a.advance(testRTT)
			a.inject(sA, 1, rel(a.c.snd.nxt, ourISS), 0)
		}
		return a
	}
	a := send()
	if a.c.Opt.SndBuf != 60_000 {
		t.Errorf("the buffer has %d octets, cwnd is %d", a.c.Opt.SndBuf, a.c.cc.cwnd)
	}
	for name, mod := range map[string]func(*talk){
		"set":   option(func(o *ConnOptions) { o.SndLock = 1 }),
		"off":   option(func(o *ConnOptions) { o.SndMax = 0 }),
		"short": func(tk *talk) { tk.st.m.Tight = true },
	} {
		if a := send(mod); a.c.Opt.SndBuf != 20_000 {
			t.Errorf("%s: the buffer has %d octets", name, a.c.Opt.SndBuf)
		}
	}
}

// What the pool lets a connection have unread limits the window that is offered, and never
// takes back what was; the more is read, the more can come again.
func TestUnreadLimitsTheWindow(t *testing.T) {
	a := established(t, withScale, grows(200_000, 200_000))
	a.stream(10_000)
	window := func() int { return int(a.c.rcv.edge - a.c.rcv.nxt) }
	was := window()
	if was < 150_000 {
		t.Fatalf("a window of %d octets without a limit", was)
	}
	a.st.m.Unread = 64 << 10
	edge := a.c.rcv.edge
	for sent := 0; a.c.rcv.nxt != edge; sent++ { // all that was promised is taken
		a.inject(sA, rel(a.c.rcv.nxt, peerISS), 1, min(1000, window()))
		a.drain()
		if a.c.rcv.edge != edge {
			t.Fatalf("after %d segments the edge moves by %d octets, with %d unread", sent, int32(a.c.rcv.edge-edge), a.c.RcvQ.Bytes-a.c.RcvHead)
		}
	}
	a.readAll()
	a.drain()
	if w := window(); w > 64<<10 || w < 60<<10 {
		t.Errorf("a window of %d octets when all has been read", w)
	}
	a.st.m.Unread = 0
	a.stream(10_000)
	a.stream(10_000)
	if w := window(); w < 150_000 {
		t.Errorf("a window of %d octets when there is no limit any more", w)
	}
}
