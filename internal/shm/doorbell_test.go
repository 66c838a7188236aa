package shm

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newDoorbell(t *testing.T) Doorbell {
	t.Helper()
	d, err := NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func rung(t *testing.T, d Doorbell) bool {
	t.Helper()
	return Ready(d.Fd())
}

func TestDoorbellKeepsRings(t *testing.T) {
	d := newDoorbell(t)
	if rung(t, d) {
		t.Error("a new doorbell has been rung")
	}
	d.Clear() // does not block
	d.Ring()
	d.Ring()
	if !rung(t, d) {
		t.Error("not rung")
	}
	d.Clear()
	if rung(t, d) {
		t.Error("rung, though it was cleared")
	}
	other, err := DoorbellFrom(dup(t, d.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	other.Ring()
	if !rung(t, d) {
		t.Error("not rung by the other descriptor")
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// A counter that is full does not make who rings wait.
func TestFullDoorbellDoesNotBlock(t *testing.T) {
	d := newDoorbell(t)
	full := [8]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if _, err := unix.Write(d.Fd(), full[:]); err != nil {
		t.Fatal(err)
	}
	d.Ring()
	d.Ring()
	if !rung(t, d) {
		t.Error("not rung")
	}
	d.Clear()
	if rung(t, d) {
		t.Error("rung, though it was cleared")
	}
}

func TestDoorbellsThatAreNone(t *testing.T) {
	NoDoorbell.Ring()
	NoDoorbell.Clear()
	if err := NoDoorbell.Close(); err != nil {
		t.Error(err)
	}
	if d, err := DoorbellFrom(-1); err == nil || d != NoDoorbell {
		t.Errorf("doorbell of no descriptor: %v, %v", d, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	d, err := DoorbellFrom(dup(t, int(r.Fd()))) // somebody passes what is no eventfd
	if err != nil {
		t.Fatal(err)
	}
	d.Ring()
	d.Clear()
	d.Close()
}

func TestRingsAreRungLater(t *testing.T) {
	var r Rings
	var bells [10]Doorbell
	for i := range bells {
		bells[i] = newDoorbell(t)
	}
	for _, d := range bells[:8] {
		r.Add(d)
	}
	for i, d := range bells {
		if rung(t, d) {
			t.Errorf("doorbell %d has been rung already", i)
		}
	}
	for _, d := range bells[8:] { // no room: at once
		r.Add(d)
		if !rung(t, d) {
			t.Error("a doorbell for which there was no room was not rung")
		}
	}
	r.Ring()
	for i, d := range bells {
		if !rung(t, d) {
			t.Errorf("doorbell %d was not rung", i)
		}
		d.Clear()
	}
	r.Ring()
	for i, d := range bells {
		if rung(t, d) {
			t.Errorf("doorbell %d was rung twice", i)
		}
	}
}

func TestDoorbellIsAwaited(t *testing.T) {
	d := newDoorbell(t)
	const long = time.Minute
	if d.Await(0) {
		t.Error("a new doorbell has been rung")
	}
	d.Ring() // before
	if !d.Await(long) {
		t.Error("a ring that came before is missed")
	}
	if d.Await(0) {
		t.Error("one ring is heard twice")
	}
	began := time.Now()
	time.AfterFunc(5*time.Millisecond, d.Ring)
	for !d.Await(long) && time.Since(began) < long {
		// A signal.
	}
	if time.Since(began) > long/2 {
		t.Error("a ring does not end the wait")
	}
	if n := testing.AllocsPerRun(100, func() { d.Await(0) }); n != 0 {
		t.Errorf("%v allocations for a look", n)
	}
}
