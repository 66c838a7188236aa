package tcp

import (
	"math/rand/v2"
	"testing"
)

// transfer lets one end send n octets to the other over a path that loses, with
// 20 ms of delay and so much jitter, and returns how long that takes.
func transfer(t *testing.T, seed uint64, n int, loss float64, jitter Time, mod func(*ConnOptions)) (Time, *Stats) {
	t.Helper()
	s := newSoak(t, rand.New(rand.NewPCG(seed, 8985)))
	s.loss, s.dup, s.delay, s.jitter, s.piece = loss, 0, 10*Millisecond, jitter, slot
	for _, h := range []*host{s.a, s.b} {
		o := DefaultOptions()
		o.Congestion, o.ECN = CongestionReno, ECNOff
		o.DataRetries, o.SynRetries, o.SynAckTries = 100, 100, 100
		mod(&o)
		*h = host{end: end{st: newStore(2048)}, name: h.name}
		h.c.Opt = o
	}
	s.a.peer, s.b.peer = s.b, s.a
	s.a.write = pattern(0, n)
	flow := testFlow
	flow.Local, flow.Remote = flow.Remote, flow.Local
	s.b.c.Flow, s.b.c.snd.iss = flow, 7
	s.a.c.OpenActive(&s.a.st.m, s.now, testFlow, ourISS)
	s.output(s.a)
	begun := s.now
	for steps := 0; s.b.c.Stats.BytesIn < uint64(n); steps++ {
		if steps > 200000 || !s.turn() {
			t.Fatalf("seed %d: stuck after %d steps at %d of %d octets: %s, %s", seed, steps, len(s.b.got), n, s.a.status(), s.b.status())
		}
	}
	return s.now - begun, &s.a.c.Stats
}

// TestGoodputWithSelectiveAcknowledgements compares transfers over bad paths.
func TestGoodputWithSelectiveAcknowledgements(t *testing.T) {
	for _, x := range []struct {
		name   string
		loss   float64
		jitter Time
		most   float64 // of the time that it takes without SACK
	}{
		{"1 % loss", 0.01, 0, 1},
		{"10 % loss", 0.10, 0, 0.6},
		{"10 % loss and reordering", 0.10, 5 * Millisecond, 0.6},
		{"reordering", 0, 5 * Millisecond, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			var with, without Time
			var timeouts [2]uint32
			for seed := range uint64(8) {
				d, st := transfer(t, seed, 300000, x.loss, x.jitter, func(*ConnOptions) {})
				with += d
				timeouts[0] += st.Timeouts
				d, st = transfer(t, seed, 300000, x.loss, x.jitter, func(o *ConnOptions) { o.SACK = 0 })
				without += d
				timeouts[1] += st.Timeouts
			}
			t.Logf("%d ms and %d timeouts with SACK, %d ms and %d timeouts without", with/8/Millisecond, timeouts[0], without/8/Millisecond, timeouts[1])
			if float64(with) > x.most*float64(without) {
				t.Errorf("seeds 0 to 7 take %d ms with SACK and %d ms without", with/8/Millisecond, without/8/Millisecond)
			}
		})
	}
}
