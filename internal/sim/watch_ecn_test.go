package sim

import (
	"strings"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
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

// A SYN-ACK that comes again is acknowledged again by an ACK that says how it arrived,
// also behind data that the device has refused (seed 2,000,982 of November 2026): the
// peer has heard of neither. The watch took that for a count of five marks.
func TestWatchKnowsTheAnswerToASecondSynAck(t *testing.T) {
	const data = 9
	ack := func(flags wire.Flags, n int) *seen {
		return &seen{tcp: wire.TCP{Flags: wire.ACK | flags}, n: n}
	}
	synAck := func() *seen { return &seen{tcp: wire.TCP{Flags: wire.SYN | wire.ACK | wire.CWR}} }
	const count5 = wire.AE | wire.ECE // ACE 5: no marks
	for _, synAcks := range []int{1, 2} {
		w := &watch{exact: true}
		var client, server way
		steps := []struct {
			s       *seen
			x, back *way
		}{{&seen{tcp: wire.TCP{Flags: wire.SYN | aceFlags}}, &client, &server}}
		for range synAcks {
			steps = append(steps, struct {
				s       *seen
				x, back *way
			}{synAck(), &server, &client})
		}
		for _, p := range steps {
			check(t, w.feedback(p.s, p.x, p.back))
		}
		check(t, w.feedback(ack(wire.CWR, 0), &client, &server))
		check(t, w.feedback(ack(count5, data), &client, &server))
		if err := w.feedback(ack(wire.CWR, 0), &client, &server); (err == nil) != (synAcks == 2) {
			t.Errorf("after %d SYN-ACKs the second answer: %v", synAcks, err)
		}
		if w.feedback(ack(wire.CWR, data), &client, &server) == nil {
			t.Error("data with a count of five marks passed")
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
