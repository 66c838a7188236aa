package nic

import (
	"testing"
	"time"

	"usertcp/internal/pool"
)

// one takes the packet that is there, and asks for another as a turn does.
func one(t *testing.T, d *Driver) (another bool) {
	t.Helper()
	var p pool.Packet
	if !d.Receive(&p) {
		t.Fatal("the packet was not taken")
	}
	return d.Receive(&p)
}

func TestPacketsThatComeOneByOneCostOneReadEach(t *testing.T) {
	d, device := newDriver(t)
	for range aloneOften {
		inject(t, device, good(from4, to4, 10))
		one(t, d)
	}
	before := *d.Counters()
	const n = 2 * (spareMost + 1)
	for range n {
		inject(t, device, good(from4, to4, 10))
		if one(t, d) {
			t.Fatal("two packets of one")
		}
	}
	if reads, empty := d.Counters().Reads-before.Reads, d.Counters().EmptyReads-before.EmptyReads; reads != n+2 || empty != 2 {
		t.Errorf("%d packets took %d reads, of which %d found nothing; want %d and 2", n, reads, empty, n+2)
	}
}

// A guess that is wrong costs a turn, and no packet; soon there are no more guesses.
func TestPacketsThatComeTogetherAreTakenTogether(t *testing.T) {
	d, device := newDriver(t)
	for range 2 * aloneOften {
		inject(t, device, good(from4, to4, 10))
		one(t, d)
	}
	const n = 4 * spareMost
	for range n {
		inject(t, device, good(from4, to4, 10))
	}
	turns := 0
	for taken := 0; taken < n; turns++ {
		if !d.Pending() && !d.Arm() {
			t.Fatalf("%d packets of %d are lost", n-taken, n)
		}
		var p pool.Packet
		for d.Receive(&p) {
			taken++
		}
	}
	if turns > spareMost+2 {
		t.Errorf("%d packets took %d turns", n, turns)
	}
}

// The poller may have reported a packet and forgotten it before the sleeper arms: the
// device is still on the kernel's list of those that are ready, and is not reported again.
func TestArmFindsWhatWasReportedTooEarly(t *testing.T) {
	d, device, _, ready := wakeable(t, false)
	outer := outerPoll(t, d.nap.poll)
	d.Arm()
	inject(t, device, good(from4, to4, 10))
	if !outer() || !ready() {
		t.Fatal("the first packet wakes nobody")
	}
	one(t, d)
	inject(t, device, good(from4, to4, 10))
	outer() // it is reported, and nobody listens
	if !d.Arm() && !outer() {
		t.Error("who goes to sleep now is not woken for a packet that is there")
	}
}

func TestDozeWakesForPacketAndDoorbell(t *testing.T) {
	d, device := newDriver(t)
	door := newDoor(t)
	const long = time.Minute
	slept := time.Duration(0)
	for range 20 { // a signal of the runtime's ends a sleep, too
		began := time.Now()
		if d.Doze(door, 2*time.Millisecond) {
			t.Error("woken for nothing")
		}
		slept = max(slept, time.Since(began))
	}
	if slept < 2*time.Millisecond {
		t.Errorf("slept %v", slept)
	}
	for what, wake := range map[string]func(){
		"a packet": func() { inject(t, device, good(from4, to4, 10)) },
		"a ring":   door.Ring,
	} {
		began := time.Now()
		wake() // before
		if !d.Doze(door, long) {
			t.Errorf("%s that came before the sleep is missed", what)
		}
		var p pool.Packet
		d.Receive(&p)
		if d.Doze(door, 0) {
			t.Errorf("%s wakes twice", what)
		}
		time.AfterFunc(5*time.Millisecond, wake)
		for !d.Doze(door, long) && time.Since(began) < long {
			// A signal.
		}
		if time.Since(began) > long/2 {
			t.Errorf("%s during the sleep does not end it", what)
		}
		d.Receive(&p)
	}
	d.gone.Store(true)
	if d.Doze(door, long) {
		t.Error("a device that is no more has something")
	}
}
