package tcp

import (
	"slices"
	"testing"
)

func TestCongestionControlsHaveNames(t *testing.T) {
	want := []string{"cubic", "reno", "bbr"}
	if got := CongestionNames(); !slices.Equal(got, want) {
		t.Errorf("they are %q", got)
	}
	for i, name := range want {
		id, ok := CongestionByName(name)
		if !ok || int(id) != i || CongestionName(id) != name {
			t.Errorf("%s: %d, %v, %q", name, id, ok, CongestionName(id))
		}
	}
	if _, ok := CongestionByName("vegas"); ok || CongestionName(200) != "" {
		t.Error("there is a congestion control that there is not")
	}
}

func TestAnUnknownCongestionControlIsTheDefault(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.Congestion = 77 }))
	flood(a, 20)
	a.advance(Millisecond)
	a.inject(sA, 1, 10001, 0)
	if got := a.c.controller().name(); got != "cubic" {
		t.Errorf("%s runs", got)
	}
}

// TestCongestionControlChangesOnALiveConnection changes it every second, on a path
// with losses: the stream goes on, and at the end each one gets what it can.
func TestCongestionControlChangesOnALiveConnection(t *testing.T) {
	p := tenMbit
	p.loss = 0.002
	b := newBottleneck(t, p, CongestionReno)
	b.run(Second)
	for i := range 12 {
		was := b.got
		c := &b.snd.c
		c.Opt.Congestion = uint8(i % numCongestion)
		c.OptionsChanged(b.now)
		cwnd, _ := c.Window()
		if c.cc.running != c.Opt.Congestion || cwnd < c.snd.mss {
			t.Fatalf("%s runs with a window of %d", c.controller().name(), cwnd)
		}
		b.run(2 * Second)
		if err := c.CheckInvariants(&b.snd.m); err != nil {
			t.Fatal(err)
		}
		if mbit := float64(b.got-was) * 8 / 2e6; mbit < 2 {
			t.Errorf("%s after %s: %.1f Mbit/s", c.controller().name(), CongestionName(uint8((i+2)%3)), mbit)
		}
	}
}

func TestACongestionControlChosenBeforehandStartsWithTheConnection(t *testing.T) {
	for id := range uint8(numCongestion) {
		tk := newTalk(t, option(func(o *ConnOptions) { o.Congestion = id }))
		tk.do("OptionsChanged", func(*Memory) { tk.c.OptionsChanged(tk.now) })
		a := established(t, option(func(o *ConnOptions) { o.Congestion = id }))
		if cwnd, _ := a.c.Window(); a.c.cc.running != id || cwnd != 10_000 {
			t.Errorf("%s: %d runs, cwnd %d", CongestionName(id), a.c.cc.running, cwnd)
		}
		if pace := a.c.rate.pace; (pace != 0) != (id == CongestionBBR) {
			t.Errorf("%s: the pace is %d", CongestionName(id), pace)
		}
	}
}

// TestShortPausesDoNotCostTheWindow and long ones do, but not BBR's, which has a
// model and a pace.
func TestPausesCostTheWindow(t *testing.T) {
	for id := range uint8(numCongestion) {
		a := established(t, option(func(o *ConnOptions) { o.Congestion = id }))
		a.c.cc.cwnd = 40_000
		a.c.rate.pace = 0
		a.write(1000)
		a.drain()
		a.advance(10 * Millisecond)
		a.inject(sA, 1, 1001, 0)
		a.c.cc.cwnd = 40_000
		a.advance(10 * Second)
		a.write(1000)
		a.drain()
		cwnd, _ := a.c.Window()
		if kept := cwnd == 40_000; kept != (id == CongestionBBR) {
			t.Errorf("%s: after a pause cwnd is %d", CongestionName(id), cwnd)
		}
	}
}

func TestUndoPutsTheWindowsBack(t *testing.T) {
	for id := range uint8(numCongestion) {
		a := established(t, option(func(o *ConnOptions) { o.Congestion = id }))
		a.c.cc.cwnd, a.c.cc.ssthresh = 80_000, 90_000
		a.c.onLoss(a.now, 80_000)
		a.c.loss.phase = phaseRecovery
		a.c.cc.cwnd = 10_000
		a.c.onRTO(a.now, 80_000) // in the middle of a recovery
		a.c.onUndo(a.now)
		if cwnd, ssthresh := a.c.Window(); cwnd != 80_000 || ssthresh != 90_000 {
			t.Errorf("%s: cwnd %d, ssthresh %d", CongestionName(id), cwnd, ssthresh)
		}
	}
}

func TestGoodputIsThatOfItsSeed(t *testing.T) {
	p := tenMbit
	p.loss, p.jitter = 0.01, 3*Millisecond
	for id := range uint8(numCongestion) {
		x, a := goodput(t, p, id, 2*Second)
		y, b := goodput(t, p, id, 2*Second)
		if x != y || a.sent != b.sent || a.snd.c != b.snd.c {
			t.Errorf("%s: two runs of one seed differ", CongestionName(id))
		}
		p.seed++
		if z, c := goodput(t, p, id, 2*Second); z == x && c.sent == a.sent {
			t.Errorf("%s: two seeds give one run", CongestionName(id))
		}
		p.seed--
	}
}

// TestSlowProgramsAreServed lets the program write only now and then: no
// congestion control may keep what is written.
func TestSlowProgramsAreServed(t *testing.T) {
	for id := range uint8(numCongestion) {
		b := newBottleneck(t, tenMbit, id)
		b.run(500 * Millisecond)
		for range 20 {
			b.pause = b.now + 700*Millisecond
			b.run(600 * Millisecond)
			if left := b.snd.c.unsent() + b.snd.c.flight(); left > 0 && b.snd.c.Deadline() == Never {
				t.Fatalf("%s: %d octets are left and nothing is due", CongestionName(id), left)
			}
			b.run(110 * Millisecond)
		}
	}
}
