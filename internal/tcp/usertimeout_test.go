package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

func userTimeout(ms uint32) func(*talk) {
	return option(func(o *ConnOptions) { o.UserTimeout, o.UserTimeoutOption = ms, 1 })
}

// tells gives a segment the option of RFC 5482.
func tells(v uint16) func(*Segment) {
	return func(s *Segment) {
		s.Options.Present |= wire.HasUserTimeout
		s.Options.UserTimeout = v
	}
}

func TestUserTimeoutIsToldWithTheSyn(t *testing.T) {
	for _, x := range []struct {
		ms   uint32
		want uint16
	}{
		{1, 1}, {30_000, 30}, {30_001, 31}, {32767_000, 32767}, {32768_000, minutes | 547}, {4_000_000_000, minutes | 32767},
	} {
		a := newTalk(t, userTimeout(x.ms))
		a.openActive()
		o := a.want(sS, 0, -1, 0).Options
		if !o.Has(wire.HasUserTimeout) || o.UserTimeout != x.want {
			t.Errorf("%d ms: told %v %#x, want %#x", x.ms, o.Has(wire.HasUserTimeout), o.UserTimeout, x.want)
		}
	}
}

func TestUserTimeoutIsNotToldUnlessAsked(t *testing.T) {
	a := newTalk(t, option(func(o *ConnOptions) { o.UserTimeout = 5000 }))
	a.openActive()
	if a.want(sS, 0, -1, 0).Options.Has(wire.HasUserTimeout) {
		t.Error("the option was sent")
	}
}

func TestChangedUserTimeoutIsToldOnce(t *testing.T) {
	a := established(t, userTimeout(200_000))
	a.do("OptionsChanged", func(*Memory) { a.c.Opt.UserTimeout = 300_000; a.c.OptionsChanged(a.now) })
	if o := a.want(sA, 1, 1, 0).Options; !o.Has(wire.HasUserTimeout) || o.UserTimeout != 300 {
		t.Errorf("told %d s, want 300", o.UserTimeout)
	}
	a.do("OptionsChanged", func(*Memory) { a.c.OptionsChanged(a.now) })
	a.wantNone()
}

func TestPeersUserTimeoutHoldsUnlessOursIsSet(t *testing.T) {
	for _, x := range []struct {
		name    string
		ours    uint32
		on      uint8
		told    uint16
		wantSec Time
	}{
		{"taken", 0, 1, 400, 400},
		{"in minutes", 0, 1, minutes | 10, 600},
		{"not below our least", 0, 1, 5, 100},
		{"not above our most", 0, 1, minutes | 500, 3600},
		{"zero is reserved", 0, 1, 0, 0},
		{"ours has the last word", 250_000, 1, 400, 250},
		{"off", 0, 0, 400, 0},
	} {
		a := established(t, option(func(o *ConnOptions) { o.UserTimeout, o.UserTimeoutOption = x.ours, x.on }))
		a.inject(sA, 1, 1, 0, tells(x.told))
		if got := a.c.userTimeoutSpan(); got != x.wantSec*Second {
			t.Errorf("%s: %d s, want %d", x.name, got/Second, x.wantSec)
		}
	}
}

func TestUserTimeoutEndsAConnectionThatWasSilent(t *testing.T) {
	a := established(t)
	a.write(100)
	a.drain()
	a.do("OptionsChanged", func(*Memory) { a.c.Opt.UserTimeout = 50; a.c.OptionsChanged(a.now) })
	a.advance(49 * Millisecond)
	a.wantState(Established)
	a.advance(2 * Millisecond)
	a.wantEnd(ErrTimeout)
}
