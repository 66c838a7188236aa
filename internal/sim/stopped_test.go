package sim

import (
	"testing"

	"usertcp/internal/tcp"
)

// A program that is stopped for ten minutes loses nothing, nor does its peer: the bottom
// half acknowledges, probes, and sends again what was lost meanwhile, and when the
// program goes on the connection comes to its end. (One connection: a listener that is
// stopped accepts none, and those behind a full queue time out, as with the kernel.)
func TestStoppedForMinutes(t *testing.T) {
	const long = 10 * 60 * tcp.Second
	for seed := uint64(1); seed <= 60; seed++ {
		p := calm(seed)
		p.Stop, p.Stopped, p.Healed = true, long, long+5*60*tcp.Second
		p.Conns, p.Volume, p.Loss = 1, 300_000, []float64{0, 0.01, 0.1}[seed%3]
		r, err := RunPlan(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed != 0 {
			t.Errorf("seed %d: %+v", seed, r)
		}
		if r.Virtual < long {
			t.Errorf("seed %d: over after %v", seed, r.Virtual)
		}
	}
}
