package sim

import (
	"strings"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// marking is a plan in which the network marks, and does nothing else.
func marking(seed uint64) Plan {
	p := calm(seed)
	p.Mark = []float64{0.01, 0.1, 0.5, 1}[seed%4]
	p.IPv6 = seed%3 == 0
	return p
}

func TestFeedbackIsThatOfTheNetwork(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		r, err := RunPlan(marking(seed), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed != 0 {
			t.Errorf("seed %d: %+v", seed, r)
		}
	}
}

// A mark that the receiver sees and the network did not make, is found.
func TestWatchFindsWrongFeedback(t *testing.T) {
	_, err := RunPlan(marking(9), Options{sabotage: func(w *world) {
		for _, h := range w.hosts {
			h.drv.tamper = func(p *pool.Packet) {
				if p.Payload > 0 {
					p.Data[1] |= tcp.CE << 4 // the traffic class of IPv6
				}
			}
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "have arrived") {
		t.Errorf("found %v", err)
	}
}
