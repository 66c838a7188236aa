package nic_test

import (
	"io"
	"testing"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
)

// twoWays are two hosts with two wires between them: one that carries much, by which each
// reaches the other's addresses, and one that carries little.
func twoWays(t *testing.T) (a, b *host) {
	t.Helper()
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 9000)
	testnet.Join(testnet.Wire{
		A:   testnet.End{In: na, Name: "wa", Addrs: []string{"10.10.0.1/24", "fd10::1/64"}},
		B:   testnet.End{In: nb, Name: "wb", Addrs: []string{"10.10.0.2/24", "fd10::2/64"}},
		MTU: 1400,
	})
	nb.AddAddr("vb", "10.50.0.2/32")
	nb.AddAddr("vb", "fd50::2/128")
	return newHost(t, na, "va,wa,lo"), newHost(t, nb, "vb,wb,lo")
}

// The route of a stream goes to a device that carries less, and back to one that carries
// more, in all ways in which that can be: neither has an MTU of its own. Less is known at
// once, and more at the next word of the server's.
func TestRouteGoesToAnotherDevice(t *testing.T) {
	for _, x := range []struct{ addr, prefix, around, large, small string }{
		{"10.50.0.2", "10.50.0.2/32", "10.50.0.0/24", testnet.PairB4, "10.10.0.2"},
		{"fd50::2", "fd50::2/128", "fd50::/64", testnet.PairB6, "fd10::2"},
	} {
		t.Run(x.addr, func(t *testing.T) {
			t.Parallel() // most of the time it waits for the next word, which comes every 5 s
			a, b := twoWays(t)
			a.SetRoute(testnet.Route{To: x.around, Via: x.large, Dev: "va"})
			n := meetAt(t, a, b, x.addr)
			c, s := meetings[0].meet(t, n)
			setDeadline(t, c, patience)
			setDeadline(t, s, patience)
			done := flow(t, c, s)
			for _, large := range []func(){
				func() { a.SetRoute(testnet.Route{To: x.prefix, Via: x.large, Dev: "va"}) },
				func() { a.RemoveRoute(x.prefix) },
				func() { a.Down("wa") },
			} {
				a.SetRoute(testnet.Route{To: x.prefix, Via: x.small, Dev: "wa"})
				within(t, "the small MTU is not known", func() bool { return pathMTU(t, c) == 1400 })
				large()
				within(t, "the large MTU is not used", func() bool { return pathMTU(t, c) == 9000 })
			}
			done()
			n.l.Close()
			n.ub.Close()
		})
	}
}

// flow has octets go from c to s until the test wants no more of them.
func flow(t *testing.T, c, s stream) (end func()) {
	t.Helper()
	stop, wrote, read := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() {
		var err error
		for block := octets(9, 200_000); err == nil; _, err = c.Write(block) {
			select {
			case <-stop:
				wrote <- c.CloseWrite()
				return
			default:
			}
		}
		wrote <- err
	}()
	go func() {
		_, err := io.Copy(io.Discard, s)
		read <- err
	}()
	return func() {
		t.Helper()
		close(stop)
		check(t, <-wrote)
		check(t, <-read)
	}
}

func pathMTU(t *testing.T, s stream) int {
	t.Helper()
	info, err := s.(*half.Socket).Info()
	check(t, err)
	return int(info.PathMTU)
}
