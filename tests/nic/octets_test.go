package nic_test

import (
	"testing"

	"usertcp/internal/testnet"
)

// User to kernel, kernel to user, user to user: both ways, over several MTUs, with
// and without offloads.
func TestOctetsBetweenAllKindsOfPeers(t *testing.T) {
	for _, row := range []struct {
		name string
		mtu  int
		a, b bool // the offloads of both ends' devices
		v6   bool
		n    int
	}{
		{"1500", 1500, true, true, false, 4 << 20},
		{"1280, IPv6", 1280, true, true, true, 4 << 20},
		{"9000", 9000, true, true, false, 4 << 20},
		{"65535", 65535, true, true, false, 4 << 20},
		{"65535, IPv6", 65535, true, true, true, 4 << 20},
		{"65535 without offloads", 65535, false, false, false, 4 << 20},
		{"1500, offloads where one connects", 1500, true, false, false, 1 << 20},
		{"1500, offloads where one accepts, IPv6", 1500, false, true, true, 1 << 20},
		{"1500 without offloads", 1500, false, false, false, 1 << 20},
		{"9000 without offloads, IPv6", 9000, false, false, true, 1 << 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t, row.mtu)
			a.SetOffloads("va", row.a)
			b.SetOffloads("vb", row.b)
			addr := testnet.PairB4
			if row.v6 {
				addr = testnet.PairB6
			}
			meetAt(t, a, b, addr).eachMeeting(t, func(t *testing.T, c, s stream) { exchange(t, c, s, row.n) })
		})
	}
}

// On one host, by lo: with the kernel, and between two programs.
func TestOctetsWithinAHost(t *testing.T) {
	a, _ := pair(t, 1500)
	ua := a.attach()
	t.Run("user to kernel", func(t *testing.T) {
		to, accepted := kernelAccept(t, a.Namespace, testnet.PairA4)
		c, err := dial(ua, to)
		check(t, err)
		exchange(t, c, <-accepted, 1<<20)
	})
	l, _ := listen(t, ua, end(testnet.PairA4, 80))
	t.Run("kernel to user", func(t *testing.T) {
		c, err := kernelDial(a.Namespace, end(testnet.PairA4, 80))
		check(t, err)
		s, err := l.Accept()
		check(t, err)
		exchange(t, c, s, 1<<20)
	})
	t.Run("user to user", func(t *testing.T) {
		other := a.attach()
		c, err := dial(other, end(testnet.PairA4, 80))
		check(t, err)
		s, err := l.Accept()
		check(t, err)
		exchange(t, c, s, 1<<20)
	})
}
