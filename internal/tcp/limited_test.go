package tcp

import "testing"

// wantLimits checks for how long the connection was busy, and limited by the
// peer's window and by its buffer.
func (tk *talk) wantLimits(busy, window, buffer Time) {
	tk.t.Helper()
	i := tk.c.Info(tk.now)
	if i.Busy != busy || i.WindowLimited != window || i.BufferLimited != buffer {
		tk.t.Errorf("busy for %v ms, limited by the window for %v and by the buffer for %v; want %v, %v, %v",
			i.Busy/Millisecond, i.WindowLimited/Millisecond, i.BufferLimited/Millisecond,
			busy/Millisecond, window/Millisecond, buffer/Millisecond)
	}
}

func TestTimeUnderAClosedWindowIsAccountedFor(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(0))
	a.advance(50 * Millisecond)
	a.wantLimits(0, 0, 0) // nothing is to be sent
	a.write(1000)
	a.wantNone()
	a.advance(100 * Millisecond)
	a.wantLimits(100*Millisecond, 100*Millisecond, 0)
	a.inject(sA, 1, 1, 0, window(2000))
	a.want(sPA, 1, 1, 1000)
	a.advance(30 * Millisecond)
	a.inject(sA, 1, 1001, 0, window(10))
	a.wantLimits(130*Millisecond, 100*Millisecond, 0)
	a.advance(200 * Millisecond)
	a.write(1000) // the window is open, but too small
	a.wantNone()
	a.advance(20 * Millisecond)
	a.wantLimits(150*Millisecond, 120*Millisecond, 0)
}

func TestTimeWithoutRoomToWriteIsAccountedFor(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.SndBuf = 3000 }))
	a.write(3000)
	a.drain()
	a.do("LacksSpace", func(*Memory) { a.c.LacksSpace(a.now) })
	a.advance(20 * Millisecond)
	a.wantLimits(20*Millisecond, 0, 20*Millisecond)
	a.inject(sA, 1, 2001, 0) // room for a third
	a.advance(10 * Millisecond)
	a.wantLimits(30*Millisecond, 0, 20*Millisecond)
	a.inject(sA, 1, 3001, 0)
	a.advance(10 * Millisecond)
	a.wantLimits(30*Millisecond, 0, 20*Millisecond)
}

func TestTheEndIsNotBusy(t *testing.T) {
	a := established(t)
	a.write(1000)
	a.drain()
	a.advance(10 * Millisecond)
	a.abort()
	a.drain()
	a.advance(10 * Millisecond)
	a.wantLimits(10*Millisecond, 0, 0)
}

func TestShortSpansAddUp(t *testing.T) {
	var l limited
	l.now = limitPath
	for i := range Time(1000) {
		l.advance(i * 10 * Microsecond)
	}
	if got := Time(l.spans[limitPath-1]) * spanUnit; got != 9900*Microsecond {
		t.Errorf("%v ns", got)
	}
}

func TestSinceTheOpeningNothingHasCome(t *testing.T) {
	a := established(t)
	before := a.c.Info(a.now).LastDataRecv
	a.advance(50 * Millisecond)
	if got := a.c.Info(a.now).LastDataRecv - before; got != 50*Millisecond {
		t.Errorf("%v ms", got/Millisecond)
	}
}
