package nic

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// only6 is how wire.Any6 is written.
const only6 = "[ff00::]"

// The kernel at the other end connects; its SYN goes to the pool, and the pool's answer
// comes back.
func TestListenerGetsWhatComesForIt(t *testing.T) {
	t.Parallel()
	m, _, b := pair(t, Config{})
	p := newPool(t, m, 5)
	for _, row := range []struct{ listen, dial, from string }{
		{"10.9.0.1:80", "10.9.0.1:80", "10.9.0.2:0"},
		{"[fd09::1]:80", "[fd09::1]:80", "[fd09::2]:0"},
		{"0.0.0.0:81", "10.9.0.1:81", "10.9.0.2:0"},
		{"[::]:82", "10.9.0.1:82", "10.9.0.2:0"},
		{"[::]:83", "[fd09::1]:83", "[fd09::2]:0"},
		{only6 + ":84", "[fd09::1]:84", "[fd09::2]:0"},
	} {
		must(t, p.Listen(endpoint(row.listen)))
		done := make(chan error, 1)
		go func() { done <- dialed(b, row.dial) }()
		s := want(t, p, "SYN", syn)
		answer(t, p, s)
		if err := <-done; err != nil {
			t.Errorf("listen %s, dial %s: %v, %+v", row.listen, row.dial, err, counters(t, p))
		}
		must(t, p.Unlisten(endpoint(row.listen)))
	}
	must(t, p.Listen(endpoint(only6+":84")))
	if err := dialed(b, "10.9.0.1:84"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("IPv4 to a listener for IPv6 alone: %v, want the kernel's refusal", err)
	}
	if err := dialed(b, "10.9.0.1:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after Unlisten: %v, want the kernel's refusal", err)
	}
}

// A SYN for a listener says in its Ethernet header what the route back carries, and
// nothing that its sender may have put there.
func TestSynSaysWhatTheWayBackCarries(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 6)
	must(t, p.Listen(endpoint("10.9.0.1:80")))
	carries := func() int {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- dialed(b, "10.9.0.1:80") }()
		s := want(t, p, "SYN", syn)
		local, remote := ends(s)
		send(t, p, segment{src: local, dst: remote, tcp: layers.TCP{RST: true, ACK: true, Ack: s.tcp().Seq + 1}})
		if err := <-done; !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("refused: %v", err)
		}
		if string(s.frame[6:10]) != "\x02way" {
			t.Fatalf("source address %x", s.frame[6:12])
		}
		return int(binary.BigEndian.Uint16(s.frame[10:]))
	}
	if got := carries(); got != 1500 {
		t.Errorf("the device carries 1500 octets, said %d", got)
	}
	a.SetRoute(testnet.Route{To: "10.9.0.2/32", Dev: "va", MTU: 1300, Lock: true})
	if got := carries(); got != 1300 {
		t.Errorf("the route carries 1300 octets, said %d", got)
	}
}
