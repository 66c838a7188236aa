package nic_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
	"usertcp/internal/wire"
)

// Whoever resets a connection, the other hears it, in the middle of a transfer too.
func TestResetBothWays(t *testing.T) {
	a, b := pair(t, 1500)
	n := meetAt(t, a, b, testnet.PairB4)
	wantReset := func(t *testing.T, by, other stream) {
		t.Helper()
		_, err := by.Write(octets(3, 50000))
		check(t, err)
		_, err = io.ReadFull(other, make([]byte, 50000))
		check(t, err)
		reset(t, by)
		if k, err := other.Read(make([]byte, 1)); k != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after RST: %d octets, %v", k, err)
		}
		if _, err := other.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("writing after RST: %v", err)
		}
	}
	t.Run("by the one that connected", func(t *testing.T) {
		n.eachMeeting(t, func(t *testing.T, c, s stream) { wantReset(t, c, s) })
	})
	t.Run("by the one that accepted", func(t *testing.T) {
		n.eachMeeting(t, func(t *testing.T, c, s stream) { wantReset(t, s, c) })
	})
}

// An end that has closed its half hears all that the other still has to say.
func TestHalfCloseBothWays(t *testing.T) {
	a, b := pair(t, 1500)
	n := meetAt(t, a, b, testnet.PairB6)
	half := func(t *testing.T, first, second stream) {
		t.Helper()
		say := func(from, to stream, data []byte) {
			t.Helper()
			wrote := make(chan error, 1)
			go func() {
				_, err := from.Write(data)
				wrote <- errors.Join(err, from.CloseWrite())
			}()
			got, err := io.ReadAll(to)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d octets, want %d: %v", len(got), len(data), err)
			}
			check(t, <-wrote)
		}
		say(first, second, octets(4, 300000))
		say(second, first, octets(5, 300000))
	}
	t.Run("the one that connected first", func(t *testing.T) {
		n.eachMeeting(t, func(t *testing.T, c, s stream) { half(t, c, s) })
	})
	t.Run("the one that accepted first", func(t *testing.T) {
		n.eachMeeting(t, func(t *testing.T, c, s stream) { half(t, s, c) })
	})
}

// A path that swallows everything from one moment on: the user timeout ends the
// connection (RFC 5482), and Dial waits no longer than it was told.
func TestPathThatSwallowsEverything(t *testing.T) {
	t.Parallel() // it waits most of the time
	a, b, r := routed(t, 1500)
	n := meetAt(t, a, b, "10.2.0.2")
	c, err := dial(n.ua, n.at)
	check(t, err)
	defer c.Close()
	check(t, c.SetOption(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 700))
	s := n.accept(t)
	defer s.Close()
	exchangeOne(t, c, s)

	r.SetRoute(testnet.Route{To: "10.2.0.2/32", Type: unix.RTN_BLACKHOLE})
	began := time.Now()
	_, err = c.Write([]byte("nobody hears this"))
	check(t, err)
	setDeadline(t, c, patience)
	_, err = c.Read(make([]byte, 1))
	if took := time.Since(began); !errors.Is(err, syscall.ETIMEDOUT) || took < 600*time.Millisecond || took > patience/2 {
		t.Errorf("after %v: %v; want ETIMEDOUT", took, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := n.ua.Connect(ctx, wire.Endpoint{}, n.at); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a SYN that nobody gets: %v", err)
	}
	if _, err := n.ua.Connect(context.Background(), wire.Endpoint{}, n.at, onceMore); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("one SYN more that nobody gets: %v", err)
	}
}

// onceMore has a SYN be sent twice and not seven times.
func onceMore(s *half.Socket) error { return s.SetOption(unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1) }

// exchangeOne sends an octet each way.
func exchangeOne(t *testing.T, a, b stream) {
	t.Helper()
	for _, way := range [][2]stream{{a, b}, {b, a}} {
		_, err := way[0].Write([]byte("1"))
		check(t, err)
		_, err = io.ReadFull(way[1], make([]byte, 1))
		check(t, err)
	}
}

// A router that knows no way says so. It may know one in a moment (RFC 9293, MUST-56):
// a connection that is there goes on. An attempt to open one ends at once, with what
// the router said (RFC 5461 section 4).
func TestRouterThatKnowsNoWay(t *testing.T) {
	t.Parallel() // it waits most of the time
	a, b, r := routed(t, 1500)
	n := meetAt(t, a, b, "10.2.0.2")
	c, err := dial(n.ua, n.at)
	check(t, err)
	defer c.Close()
	s := n.accept(t)
	defer s.Close()
	r.SetRoute(testnet.Route{To: "10.2.0.2/32", Type: unix.RTN_UNREACHABLE})
	_, err = c.Write([]byte("1"))
	check(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience) // half of what all SYNs take
	defer cancel()
	if _, err := n.ua.Connect(ctx, wire.Endpoint{}, n.at); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("the router says unreachable: %v", err)
	}
	r.RemoveRoute("10.2.0.2/32")
	setDeadline(t, s, patience)
	_, err = io.ReadFull(s, make([]byte, 1))
	check(t, err)
	exchangeOne(t, c, s)
}
