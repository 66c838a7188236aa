package server

import (
	"testing"
	"time"
)

// A user may ask some times at once, and then now and then; others do not wait for him.
func TestPollsAreBounded(t *testing.T) {
	p := newTurns(pollPeriod, pollBurst)
	now := time.Unix(1000, 0)
	for n := range pollBurst {
		if d, _ := p.take(1, now); d != 0 {
			t.Fatalf("poll %d waits %v", n, d)
		}
	}
	for n := 1; n < 4; n++ {
		if d, _ := p.take(1, now); d != time.Duration(n)*pollPeriod {
			t.Errorf("%d polls too many: %v", n, d)
		}
	}
	if d, _ := p.take(2, now); d != 0 {
		t.Errorf("another user waits %v", d)
	}
	now = now.Add(5 * pollPeriod)
	if d, _ := p.take(1, now); d != 0 {
		t.Errorf("after a while: %v", d)
	}
	now = now.Add(time.Hour)
	for range pollBurst {
		if d, _ := p.take(1, now); d != 0 {
			t.Fatalf("after an hour: %v", d)
		}
	}
	if p.take(1, now); len(p.next) != 1 {
		t.Errorf("%d users are remembered, want 1", len(p.next))
	}
}

// Who floods is sent away, and that costs him nothing of what he may have later.
func TestFloodsAreSentAway(t *testing.T) {
	p := newTurns(pollPeriod, pollBurst)
	now := time.Unix(1000, 0)
	waits := int(longestTurn / pollPeriod)
	for n := range pollBurst + waits {
		if d, ok := p.take(1, now); !ok {
			t.Fatalf("poll %d is sent away: it would wait %v", n, d)
		}
	}
	for range 10_000 {
		if d, ok := p.take(1, now); ok {
			t.Fatalf("who would wait %v is not sent away", d)
		}
	}
	if _, ok := p.take(2, now); !ok {
		t.Error("another user is sent away")
	}
	if d, ok := p.take(1, now.Add(pollPeriod)); !ok || d != longestTurn {
		t.Errorf("as soon as there is a turn: %v, %v", d, ok)
	}
}
