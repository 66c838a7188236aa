package nic

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What one pool has by Listen and Connect becomes another's, so that packets come
// there, and may leave it; twice is as once.
func TestPoolTakesWhatAnotherHas(t *testing.T) {
	t.Parallel()
	m, _, b := pair(t, Config{})
	old, p := newPool(t, m, 5), newPool(t, m, 6)
	at := endpoint("10.9.0.1:80")
	must(t, old.Listen(at))
	if err := p.TakeListener(old, endpoint("10.9.0.1:81")); err != unix.ENOENT {
		t.Errorf("what it has not: %v", err)
	}
	for range 2 {
		must(t, p.TakeListener(old, at))
	}
	done := make(chan error, 1)
	go func() { done <- dialed(b, "10.9.0.1:80") }()
	s := want(t, p, "SYN", syn)
	answer(t, p, s)
	if err := <-done; err != nil {
		t.Errorf("%v, %+v", err, counters(t, p))
	}
	if err := old.Unlisten(at); err != unix.ENOENT {
		t.Errorf("the old one gives it back: %v", err)
	}
	must(t, p.Unlisten(at))
	f, in := flow("10.9.0.1:2000", "10.9.0.2:80"), flow("10.9.0.1:2001", "10.9.0.2:80")
	must(t, old.Connect(f))
	for range 2 {
		must(t, p.TakeFlow(old, f))
		must(t, p.TakeFlow(old, in)) // which came in by a listener
	}
	if err := old.Disconnect(f); err != unix.ENOENT {
		t.Errorf("the old one gives it back: %v", err)
	}
	if err := newPool(t, m, 7).Connect(f); err != unix.EADDRINUSE {
		t.Errorf("a third takes it: %v", err)
	}
	must(t, p.Disconnect(f))
	must(t, p.Disconnect(in))
}
