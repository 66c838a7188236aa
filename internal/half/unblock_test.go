package half

import (
	"testing"

	"usertcp/internal/pool"
)

// narrow is a driver whose circuits have no room; it counts who asks.
type narrow struct {
	pool.Driver
	asked, notified int
}

func (d *narrow) Room(uint16) int {
	d.asked++
	return 0
}

func (d *narrow) Notify(uint16, bool, bool) { d.notified++ }

// Beside 90,000 connections, all with a keepalive probe to send and no room for it, each
// turn of the child's tried all of them: milliseconds with the lock, a thousand times
// in a row, until the child took its own walk for one through a ruined segment and
// ended all connections. A turn tries some of them, and nobody sleeps before all have
// been tried once, each asking to be woken.
func TestATurnTriesSomeOfThoseWithoutRoom(t *testing.T) {
	const conns = 2*unblockMax + 500
	a, b := newHosts(t, SpinOff)
	check(t, a.fetch())
	top := a.top
	d := &narrow{Driver: top.drv}
	top.enter()
	top.drv.Changed()
	top.drv = d
	top.leave()
	for range conns {
		a.dial(b, testPort)
	}
	top.enter()
	defer func() {
		top.drv = d.Driver
		top.leave()
	}()
	for top.turn() { // the round that goes on
	}
	for round := range 3 {
		d.notified = 0
		turns := 1
		for d.asked = 0; top.turn(); turns++ {
			if d.asked > unblockMax {
				t.Fatalf("round %d: a turn tries %d connections", round, d.asked)
			}
			if turns > 10 {
				t.Fatalf("round %d has no end", round)
			}
			d.asked = 0
		}
		if turns != 3 || d.notified != conns {
			t.Errorf("round %d: %d turns, %d connections tried; want 3 and %d", round, turns, d.notified, conns)
		}
	}
}
