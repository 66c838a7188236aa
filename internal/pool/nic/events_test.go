package nic_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/half"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestAPortOfTheKernelThatNobodyHas(t *testing.T) {
	h := newHost(t, 1500, true)
	for _, a := range [][2]string{{our4, kernel4}, {our6, kernel6}} {
		if _, err := h.dial(a[0], a[1], 9); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want ECONNREFUSED", a[1], err)
		}
	}
}

func TestAPortOfOursThatNobodyHas(t *testing.T) {
	h := newHost(t, 1500, true)
	_, err := h.net.Dial(&net.Dialer{Timeout: 5 * time.Second}, "tcp", net.JoinHostPort(our4, "9"))
	// The leader looks only while there are connections: somebody comes by.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		h.listen(our4, 10)
		_, err = h.net.Dial(&net.Dialer{Timeout: patience}, "tcp", net.JoinHostPort(our4, "9"))
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, want ECONNREFUSED", err)
	}
}

// connected returns a connection to the kernel and the kernel's end.
func connected(t *testing.T, h *host) (*half.Socket, *net.TCPConn) {
	t.Helper()
	port, accepted := h.kernelListener(kernel4)
	c, err := h.dial(our4, kernel4, port)
	check(t, err)
	return c, <-accepted
}

func TestResetByTheKernel(t *testing.T) {
	h := newHost(t, 1500, true)
	c, k := connected(t, h)
	check(t, k.SetLinger(0))
	check(t, k.Close())
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want ECONNRESET", err)
	}
}

func TestResetOfTheKernel(t *testing.T) {
	h := newHost(t, 1500, true)
	c, k := connected(t, h)
	_, err := k.Write([]byte("never read"))
	check(t, err)
	time.Sleep(20 * time.Millisecond)
	check(t, c.Close())
	k.SetDeadline(time.Now().Add(patience))
	if _, err := k.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want ECONNRESET", err)
	}
}

func TestHalfClose(t *testing.T) {
	h := newHost(t, 1500, true)
	c, k := connected(t, h)
	check(t, c.CloseWrite())
	k.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(k); err != nil || len(b) != 0 {
		t.Fatalf("%q, %v", b, err)
	}
	_, err := k.Write([]byte("still here"))
	check(t, err)
	check(t, k.Close())
	if b, err := io.ReadAll(c); err != nil || string(b) != "still here" {
		t.Errorf("%q, %v", b, err)
	}
}

// A program that does nothing is still there for its peers: the watchdog leads, and
// when that does not come either, the child.
func TestAProgramThatIsAway(t *testing.T) {
	h := newHost(t, 1500, true)
	c, k := connected(t, h)
	_, err := k.Write(octets(3, 100<<10))
	check(t, err)
	time.Sleep(300 * time.Millisecond)
	got := make([]byte, 100<<10)
	_, err = io.ReadFull(c, got)
	check(t, err)
	_, err = c.Write(octets(4, 100<<10))
	check(t, err)
	k.SetDeadline(time.Now().Add(patience))
	_, err = io.ReadFull(k, got)
	check(t, err)
}

// What a program had written before it ended is sent by the child alone, which
// sleeps on the device then.
func TestTheChildFinishes(t *testing.T) {
	h := newHost(t, 1500, true)
	c, k := connected(t, h)
	want := octets(5, 900<<10)
	_, err := c.Write(want)
	check(t, err)
	h.top.Close()
	h.bottom.ProgramEnded(func() bool { return true })
	k.SetDeadline(time.Now().Add(patience))
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	if b, err := io.ReadAll(k); err != nil || string(b) != string(want) {
		t.Errorf("%d octets of %d: %v", len(b), len(want), err)
	}
	if d := time.Since(began); d > patience/3 {
		t.Errorf("took %v: the child is not woken", d)
	}
}

func TestManySleeps(t *testing.T) {
	h := newHost(t, 1500, true)
	c, k := connected(t, h)
	k.SetNoDelay(true)
	go io.Copy(k, k)
	b := make([]byte, 100)
	began := time.Now()
	const rounds = 3000
	for i := range rounds {
		if i%10 == 0 {
			time.Sleep(time.Duration(i%7) * 10 * time.Microsecond)
		}
		_, err := c.Write(b[:1+i%100])
		check(t, err)
		if _, err := io.ReadFull(c, b[:1+i%100]); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if d := time.Since(began); d > patience/3 {
		t.Errorf("%d rounds took %v: some wake-ups came late", rounds, d)
	}
}
