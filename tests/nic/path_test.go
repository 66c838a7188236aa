package nic_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
)

// transfer sends octets from one end to the other; in the middle of it something
// happens, when all before it has arrived.
func transfer(t *testing.T, from, to stream, n int, happens func()) {
	t.Helper()
	data := octets(7, n)
	wrote := make(chan error, 1)
	middle := make(chan struct{})
	go func() {
		_, err := from.Write(data[:n/2])
		<-middle
		if err == nil {
			_, err = from.Write(data[n/2:])
		}
		if err == nil {
			err = from.CloseWrite()
		}
		wrote <- err
	}()
	got := make([]byte, n/4)
	if _, err := io.ReadFull(to, got); err != nil {
		close(middle)
		t.Fatal(err)
	}
	happens() // with a quarter on its way or in buffers
	close(middle)
	rest, err := io.ReadAll(to)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d octets, want %d: %v", len(got), n, err)
	}
	check(t, <-wrote)
}

// wantPathMTU looks what one of our connections has found out.
func wantPathMTU(t *testing.T, s stream, least, most int) {
	t.Helper()
	ours, ok := s.(*half.Socket)
	if !ok {
		return
	}
	info, err := ours.Info()
	check(t, err)
	if mtu := int(info.PathMTU); mtu < least || mtu > most {
		t.Errorf("path MTU %d, want %d to %d", mtu, least, most)
	}
}

// The MTU of a router's device becomes smaller in the middle of a transfer: ICMP says
// so, and the rest arrives.
func TestPathMTUBecomesSmaller(t *testing.T) {
	a, b, r := routed(t, 1500)
	for _, addr := range []string{"10.2.0.2", "fd02::2"} {
		t.Run(addr, func(t *testing.T) {
			n := meetAt(t, a, b, addr)
			n.eachMeeting(t, func(t *testing.T, c, s stream) {
				r.MTU("r1", 1500)
				transfer(t, c, s, 1<<20, func() { r.MTU("r1", 1280) })
				wantPathMTU(t, c, 1280, 1280)
			})
			r.MTU("r1", 1500)
			check(t, n.l.Close()) // first: the child of a program that has ended takes its time
			n.ub.Close()
		})
	}
}

// Large packets vanish from one moment on, and nobody says so: after some timeouts
// smaller ones are tried (RFC 4821, section 7.7).
func TestPathMTUBlackHole(t *testing.T) {
	t.Parallel() // it waits most of the time
	a, b := pair(t, 1500)
	a.SetOffloads("va", false) // packets that are cut behind the device would pass it
	b.SetOffloads("vb", false)
	n := meetAt(t, a, b, testnet.PairB4)
	for _, m := range meetings {
		if m.name == "kernel to user" {
			continue // it is the kernel that would have to probe, and it does not
		}
		t.Run(m.name, func(t *testing.T) {
			b.MTU("vb", 1500)
			c, s := m.meet(t, n)
			defer c.Close()
			defer s.Close()
			setDeadline(t, c, 2*patience)
			setDeadline(t, s, 2*patience)
			transfer(t, c, s, 1<<18, func() { b.MTU("vb", 1200) })
			wantPathMTU(t, c, 500, 1200)
		})
	}
}

// One packet in ten is lost, one in ten comes twice, one in ten late: the octets are
// those that were sent.
func TestBadWire(t *testing.T) {
	t.Parallel() // it waits most of the time
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	na, nb := testnet.New(t), testnet.New(t)
	fate := testnet.Faulty(testnet.Wire{
		A:   testnet.End{In: na, Name: "fa", Addrs: []string{"10.9.0.1/24"}},
		B:   testnet.End{In: nb, Name: "fb", Addrs: []string{"10.9.0.2/24"}},
		MTU: 1500,
	}, testnet.Faults{Seed: seed, Drop: 0.1, Duplicate: 0.1, Reorder: 0.1})
	a, b := newHost(t, na, "fa,lo"), newHost(t, nb, "fb,lo")
	n := meetAt(t, a, b, "10.9.0.2")
	n.eachMeeting(t, func(t *testing.T, c, s stream) {
		setDeadline(t, c, 3*patience)
		setDeadline(t, s, 3*patience)
		exchange(t, c, s, 200<<10*heavy)
	})
	if fate.Dropped.Load() == 0 || fate.Duplicated.Load() == 0 || fate.Reordered.Load() == 0 {
		t.Errorf("the wire was good: dropped %d, duplicated %d, reordered %d of %d", fate.Dropped.Load(),
			fate.Duplicated.Load(), fate.Reordered.Load(), fate.Passed.Load())
	}
}

// What a listener offers is what the route back to the peer carries at the moment, not
// what the devices had in common when it was bound.
func TestListenerOffersWhatTheRouteCarries(t *testing.T) {
	a, b := pair(t, 9000)
	ub := b.attach()
	l, _ := listen(t, ub, end(testnet.PairB4, 80))
	offers := func(want uint32) {
		t.Helper()
		k, err := kernelDial(a.Namespace, end(testnet.PairB4, 80))
		check(t, err)
		defer k.Close()
		s, err := l.Accept()
		check(t, err)
		defer s.Close()
		info, err := s.Info()
		check(t, err)
		if info.AdvMSS != want {
			t.Errorf("offered %d, want %d", info.AdvMSS, want)
		}
	}
	offers(9000 - 40)
	b.SetRoute(testnet.Route{To: testnet.PairA4 + "/32", Dev: "vb", MTU: 2000, Lock: true})
	offers(2000 - 40)
	b.RemoveRoute(testnet.PairA4 + "/32")
	offers(9000 - 40)
	b.MTU("vb", 1400)
	offers(1400 - 40)
}

// A device's own MTU becomes smaller in the middle: the pool hears what a router would
// say, and need not find out.
func TestDeviceMTUBecomesSmaller(t *testing.T) {
	a, b := pair(t, 9000)
	for _, addr := range []string{testnet.PairB4, testnet.PairB6} {
		t.Run(addr, func(t *testing.T) {
			n := meetAt(t, a, b, addr)
			defer n.l.Close()
			n.eachMeeting(t, func(t *testing.T, c, s stream) {
				a.MTU("va", 9000)
				b.MTU("vb", 9000)
				transfer(t, c, s, 4<<20, func() {
					a.MTU("va", 1400)
					b.MTU("vb", 1400)
					time.Sleep(100 * time.Millisecond) // a way that was found holds for 10 ms
				})
				wantPathMTU(t, c, 1400, 1400)
			})
			n.ub.Close()
		})
	}
}

// A device's MTU, or a route's, becomes smaller in the middle and large again: the rest
// goes by large packets at once, where it was the host itself that could not carry them;
// it does not go back to what it was if a router has said so.
func TestDeviceMTUBecomesLargeAgain(t *testing.T) {
	a, b := pair(t, 9000)
	for _, addr := range []string{testnet.PairB4, testnet.PairB6} {
		n := meetAt(t, a, b, addr)
		route := testnet.Route{To: netip.PrefixFrom(netip.MustParseAddr(addr), netip.MustParseAddr(addr).BitLen()).String(), Dev: "va", MTU: 2000, Lock: true}
		for _, x := range []struct {
			name         string
			mtu          int
			small, large func()
		}{
			{"device", 1400, func() { a.MTU("va", 1400); b.MTU("vb", 1400) }, func() { a.MTU("va", 9000); b.MTU("vb", 9000) }},
			{"route", 2000, func() { a.SetRoute(route) }, func() { a.RemoveRoute(route.To) }},
		} {
			t.Run(x.name+" "+addr, func(t *testing.T) {
				c, s := meetings[0].meet(t, n)
				setDeadline(t, c, patience)
				setDeadline(t, s, patience)
				pathMTU := func() int {
					info, err := c.(*half.Socket).Info()
					check(t, err)
					return int(info.PathMTU)
				}
				data := octets(1, 200000)
				send := func() {
					go c.Write(data)
					_, err := io.ReadFull(s, make([]byte, len(data)))
					check(t, err)
				}
				send()
				x.small()
				within(t, "the small MTU is not known", func() bool { send(); return pathMTU() == x.mtu })
				x.large()
				within(t, "the large MTU is not used", func() bool { send(); return pathMTU() == 9000 })
				exchange(t, c, s, 1<<20)
			})
		}
		n.l.Close()
		n.ub.Close()
	}
}

// A router's word on the path lasts though the host's own devices grow.
func TestARoutersWordLastsThoughADeviceGrows(t *testing.T) {
	a, b, r := routed(t, 1500)
	n := meetAt(t, a, b, "10.2.0.2")
	c, s := meetings[0].meet(t, n)
	r.MTU("r1", 1500)
	transfer(t, c, s, 1<<20, func() {
		r.MTU("r1", 1280)
		time.Sleep(time.Second)
		a.MTU("a0", 1600)
		time.Sleep(time.Second)
	})
	wantPathMTU(t, c, 1280, 1280)
}
