package half

import (
	"io"
	"testing"
	"time"
)

// A call that copies without the lock has what it copies until it is through, also if
// another goroutine ends reading meanwhile: there was a panic, with the lock.
func TestCloseReadWaitsForWhoCopies(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	data := octets(3, 30_000)
	_, err := ca.Write(data)
	check(t, err)
	wantWithin(t, "the octets to be there", func() bool {
		_, err := cb.Peek(make([]byte, 1))
		return err == nil
	})
	cb.rmu.Lock() // as Read does
	got := make([]byte, len(data))
	b.top.enter()
	script := b.top.copies()
	n := b.top.peek(cb.i, got, script)
	b.top.leave()
	done := make(chan error, 1)
	go func() { done <- cb.CloseRead() }()
	time.Sleep(20 * time.Millisecond) // it has begun; if not, the test finds nothing
	script.Copy()
	b.top.enter()
	b.top.consume(cb.i, n)
	b.top.settle()
	b.top.leave()
	cb.rmu.Unlock()
	check(t, <-done)
	if n == 0 || string(got[:n]) != string(data[:n]) {
		t.Errorf("%d octets are not those that were written", n)
	}
	if n, err := cb.Read(got); n != 0 || err != io.EOF {
		t.Errorf("then Read returns %d, %v", n, err)
	}
}

// And a call that waits for octets ends.
func TestCloseReadEndsWhoWaits(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	_, cb := connect(t, a, b)
	done := make(chan error, 1)
	go func() {
		_, err := cb.Read(make([]byte, 1))
		done <- err
	}()
	wantWithin(t, "a reader", func() bool {
		b.top.mu.Lock()
		defer b.top.mu.Unlock()
		return cb.rd.waiting || b.top.leader == &cb.rd
	})
	check(t, cb.CloseRead())
	select {
	case err := <-done:
		if err != io.EOF {
			t.Errorf("Read returns %v, want EOF", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Read still waits")
	}
}
