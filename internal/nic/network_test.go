package nic

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
	"usertcp/internal/wire"
)

// Addresses and devices come and go.
func TestChangesAreFollowed(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	changed := make(chan struct{}, 100)
	m := open(t, a, Config{Devices: []string{"va"}, Changed: func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}})
	has := func(s string) bool { return slices.Contains(m.Addrs(), netip.MustParseAddr(s)) }
	if !has("10.9.0.1") || !has("fd09::1") || has("127.0.0.1") || len(m.Addrs()) != 2 {
		t.Errorf("addresses %v", m.Addrs())
	}
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("0.0.0.0:80")))
	a.AddAddr("va", "10.9.0.5/24")
	select {
	case <-changed:
	case <-time.After(patience):
		t.Error("Changed was not called")
	}
	if !soon(func() bool { return has("10.9.0.5") }) {
		t.Fatalf("addresses %v", m.Addrs())
	}
	w := raw(t, b, a, "vb", "va")
	w.segment(t, segment{src: "10.9.0.2:5", dst: "10.9.0.5:80", payload: mark})
	if read(t, p, patience) == nil {
		t.Error("nothing comes for the new address")
	}
	a.RemoveAddr("va", "10.9.0.5/24")
	if !soon(func() bool { return !has("10.9.0.5") }) {
		t.Fatalf("addresses %v", m.Addrs())
	}
	w.segment(t, segment{src: "10.9.0.2:5", dst: "10.9.0.5:80", payload: mark})
	quiet(t, p)
	before := counters(t, p).Foreign
	send(t, p, segment{src: "10.9.0.5:80", dst: "10.9.0.2:5"})
	if counters(t, p).Foreign != before+1 {
		t.Error("a segment from the address that has gone leaves")
	}
	a.Remove("va")
	if !soon(func() bool { return len(m.Addrs()) == 0 }) {
		t.Errorf("addresses %v without the device", m.Addrs())
	}
	testnet.Pair(a, b, 0)
	if !soon(func() bool { return has("10.9.0.1") }) {
		t.Fatalf("addresses %v with the device again", m.Addrs())
	}
	done := make(chan error, 1)
	go func() { done <- dialed(b, "10.9.0.1:80") }()
	answer(t, p, want(t, p, "SYN by the new device", syn))
	must(t, <-done)
}

// Route says what the kernel's connect would do.
func TestRoutes(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	testnet.Join(testnet.Wire{A: testnet.End{In: a, Name: "vc", Addrs: []string{"10.8.0.1/24"}}, B: testnet.End{In: b, Name: "vd", Addrs: nil}})
	a.AddAddr("va", "10.9.7.1/24")
	a.SetRoute(testnet.Route{To: "10.50.0.0/16", Via: "10.9.0.2", MTU: 1300})
	a.SetRoute(testnet.Route{To: "10.51.0.0/16", Type: unix.RTN_UNREACHABLE})
	a.SetRoute(testnet.Route{To: "10.52.0.0/16", Type: unix.RTN_PROHIBIT})
	a.SetRoute(testnet.Route{To: "fd51::/64", Type: unix.RTN_UNREACHABLE})
	a.SetRoute(testnet.Route{To: "fd52::/64", Type: unix.RTN_PROHIBIT})
	for _, row := range []struct {
		remote string
		want   Route
		err    error
	}{
		{"10.9.0.2", Route{Source: netip.MustParseAddr("10.9.0.1"), MTU: 1500, Device: "va"}, nil},
		{"::ffff:10.9.0.2", Route{Source: netip.MustParseAddr("10.9.0.1"), MTU: 1500, Device: "va"}, nil},
		{"10.9.7.2", Route{Source: netip.MustParseAddr("10.9.7.1"), MTU: 1500, Device: "va"}, nil},
		{"fd09::2", Route{Source: netip.MustParseAddr("fd09::1"), MTU: 1500, Device: "va"}, nil},
		{"10.50.1.1", Route{Source: netip.MustParseAddr("10.9.0.1"), MTU: 1300, Device: "va"}, nil},
		{"10.51.1.1", Route{}, unix.EHOSTUNREACH},
		{"10.52.1.1", Route{}, unix.EACCES},
		{"fd51::1", Route{}, unix.EHOSTUNREACH},
		{"fd52::1", Route{}, unix.EACCES},
		{"192.0.2.1", Route{}, unix.ENETUNREACH},
		{"2001:db8::1", Route{}, unix.ENETUNREACH},
		{"10.9.0.255", Route{}, unix.ENETUNREACH},
		{"224.0.0.1", Route{}, unix.ENETUNREACH},
		{"fe80::1", Route{}, unix.ENETUNREACH},
		{"0.0.0.0", Route{}, unix.ENETUNREACH},
		{"10.8.0.2", Route{}, unix.EHOSTUNREACH},
	} {
		var got Route
		var err error
		soon(func() bool { // devices that are new are known after a moment
			got, err = m.Route(netip.MustParseAddr(row.remote))
			return got == row.want && errors.Is(err, row.err)
		})
		if got != row.want || !errors.Is(err, row.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", row.remote, got, err, row.want, row.err)
		}
	}
	a.MTU("va", 1280)
	if !soon(func() bool { r, _ := m.Route(netip.MustParseAddr("10.9.0.2")); return r.MTU == 1280 }) {
		t.Error("the device's new MTU is not known")
	}
}

// The way of a connection that sends is followed when it changes, soon; in between
// its limits hold as they were. It does not matter what lets it send.
func TestAConnectionFollowsItsRoute(t *testing.T) {
	for _, row := range []struct {
		name        string
		give, taken func(p *Pool) error
	}{
		{"flow", func(p *Pool) error {
			return errors.Join(p.Connect(flow("10.9.0.1:40064", "10.9.0.2:2000")), p.Connect(flow("[fd09::1]:40064", "[fd09::2]:2000")))
		}, func(p *Pool) error { return p.Disconnect(flow("10.9.0.1:40064", "10.9.0.2:2000")) }},
		{"lease", func(p *Pool) error { return p.Lease(40064, AllPorts) }, func(p *Pool) error { return p.Unlease(40064) }},
		{"listener", func(p *Pool) error {
			return errors.Join(p.Listen(endpoint("10.9.0.1:40064")), p.Listen(endpoint("[fd09::1]:40064")))
		}, func(p *Pool) error { return p.Unlisten(endpoint("10.9.0.1:40064")) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			followsItsRoute(t, row.give, row.taken)
		})
	}
}

func followsItsRoute(t *testing.T, give, take func(p *Pool) error) {
	m, a, b := pair(t, Config{})
	testnet.Join(testnet.Wire{A: testnet.End{In: a, Name: "vc", Addrs: []string{"10.8.0.1/24"}}, B: testnet.End{In: b, Name: "vd", Addrs: []string{"10.8.0.2/24"}}})
	p := newPool(t, m, 1)
	must(t, give(p))
	s := segment{src: "10.9.0.1:40064", dst: "10.9.0.2:2000"}
	s6 := segment{src: "[fd09::1]:40064", dst: "[fd09::2]:2000"}
	big := s
	big.payload = string(make([]byte, 1461))
	count := func(what string, s segment, c func(PoolCounters) uint64) {
		t.Helper()
		if !soon(func() bool {
			before := c(counters(t, p))
			send(t, p, s)
			return c(counters(t, p)) == before+1
		}) {
			t.Errorf("%s: %+v", what, counters(t, p))
		}
	}
	for range 3 { // found, and then known
		count("it leaves", s, out)
		count("too big", big, tooBig)
		count("it leaves by IPv6", s6, out)
	}
	a.SetRoute(testnet.Route{To: "10.9.0.2/32", Type: unix.RTN_UNREACHABLE})
	count("unreachable", s, noRoute)
	a.SetRoute(testnet.Route{To: "10.9.0.2/32", Dev: "vc"})
	count("by a device that is not served", s, unserved)
	a.SetRoute(testnet.Route{To: "10.9.0.2/32", Dev: "va"})
	count("by the first again", s, out)
	a.RemoveAddr("va", "fd09::1/64")
	count("from an address that has gone", s6, foreign)
	must(t, take(p))
	before := counters(t, p)
	send(t, p, s)
	if counters(t, p).Foreign != before.Foreign+1 {
		t.Error("what is disconnected leaves")
	}
}

// By a router: its ICMP errors come, and the route's gateway is used.
func TestAcrossARouter(t *testing.T) {
	t.Parallel()
	a, r, b := testnet.New(t), testnet.New(t), testnet.New(t)
	testnet.Join(testnet.Wire{A: testnet.End{In: a, Name: "a0", Addrs: []string{"10.1.0.2/24"}}, B: testnet.End{In: r, Name: "r0", Addrs: []string{"10.1.0.1/24"}}})
	testnet.Join(testnet.Wire{A: testnet.End{In: b, Name: "b0", Addrs: []string{"10.2.0.2/24"}}, B: testnet.End{In: r, Name: "r1", Addrs: []string{"10.2.0.1/24"}}, MTU: 1280})
	r.Forward()
	a.SetRoute(testnet.Route{To: "10.0.0.0/8", Via: "10.1.0.1"})
	b.SetRoute(testnet.Route{To: "10.1.0.0/24", Via: "10.2.0.1"})
	m := open(t, a, Config{Devices: []string{"a0"}})
	p := newPool(t, m, 1)
	l := b.Listen("tcp", "10.2.0.2:0")
	go func() {
		if c, err := l.Accept(); err == nil {
			buf := make([]byte, 100)
			n, _ := c.Read(buf)
			c.Write(buf[:n])
		}
	}()
	echo(t, p, "10.1.0.2:1000", l.Addr().String())
	must(t, p.Connect(flow("10.1.0.2:1001", "10.2.0.2:9")))
	send(t, p, segment{src: "10.1.0.2:1001", dst: "10.2.0.2:9", tcp: layers.TCP{SYN: true}})
	want(t, p, "the other kernel's RST", reset)
	df := func(h *layers.IPv4) { h.Flags = layers.IPv4DontFragment }
	send(t, p, segment{src: "10.1.0.2:1001", dst: "10.2.0.2:9", ipv4: df, payload: string(make([]byte, 1400))})
	for end := time.Now().Add(patience); ; {
		got := read(t, p, time.Until(end))
		if got == nil {
			t.Fatal("no ICMP error from the router")
		}
		if icmp, ok := got.packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
			if icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || icmp.Seq != 1280 {
				t.Errorf("got %v", icmp)
			}
			break
		}
	}
}

// A device upon another: what is for it is not for the lower one.
func TestStackedDevice(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	a.Do(func() {
		lower, err := netlink.LinkByName("va")
		must(t, err)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = "upper", lower.Attrs().Index
		if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PRIVATE}); err != nil {
			t.Skipf("no macvlan here: %v", err)
		}
	})
	a.Sysctl("ipv4/conf/all/arp_ignore", "1") // the lower device is not to answer
	a.AddAddr("upper", "10.7.0.1/24")
	a.Up("upper")
	b.AddAddr("vb", "10.7.0.2/24")
	m := open(t, a, Config{Devices: []string{"upper"}})
	wantServed(t, m, b)
}

// wantServed wants a connection from namespace b to 10.7.0.1 to meet a pool of m's.
func wantServed(t *testing.T, m *Manager, b *testnet.Namespace) {
	t.Helper()
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("10.7.0.1:80")))
	done := make(chan error, 1)
	go func() { done <- dialed(b, "10.7.0.1:80") }()
	answer(t, p, want(t, p, "SYN", syn))
	must(t, <-done)
}

// A VLAN device is served like any other.
func TestVLANDevice(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	for _, e := range []struct {
		in        *testnet.Namespace
		dev, addr string
	}{{a, "va", "10.7.0.1/24"}, {b, "vb", "10.7.0.2/24"}} {
		e.in.Do(func() {
			lower, err := netlink.LinkByName(e.dev)
			must(t, err)
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.ParentIndex = "vlan7", lower.Attrs().Index
			if err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 7}); err != nil {
				t.Skipf("no VLAN devices here: %v", err)
			}
		})
		e.in.AddAddr("vlan7", e.addr)
		e.in.Up("vlan7")
	}
	m := open(t, a, Config{Devices: []string{"va", "vlan7"}})
	wantServed(t, m, b)
}

// A wire with faults, for tests of what is above, has devices that can be served.
func TestFaultyWireIsServed(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Faulty(testnet.Wire{
		A: testnet.End{In: a, Name: "fa", Addrs: []string{"10.9.0.1/24", "fd09::1/64"}},
		B: testnet.End{In: b, Name: "fb", Addrs: []string{"10.9.0.2/24", "fd09::2/64"}},
	}, testnet.Faults{})
	m := open(t, a, Config{Devices: []string{"fa"}})
	p := newPool(t, m, 1)
	for _, row := range [][2]string{{"10.9.0.1:1000", "10.9.0.2:7"}, {"[fd09::1]:1000", "[fd09::2]:7"}} {
		l := b.Listen("tcp", row[1])
		go func() {
			if c, err := l.Accept(); err == nil {
				io.Copy(c, c)
			}
		}()
		echo(t, p, row[0], row[1])
	}
}

// An address that has come back is the kernel's before the programs know of it. What
// comes in between for a pool's port is no segment of the kernel's, which would reset
// it; nor of the pool's. What is to be forwarded, is.
func TestASegmentForAnAddressThatIsNotKnownYet(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	for _, l := range []string{"10.9.0.1:80", "[fd09::1]:80", "0.0.0.0:81", "[::]:82"} {
		must(t, p.Listen(endpoint(l)))
	}
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
	w := raw(t, b, a, "vb", "va")
	for _, s := range []string{"10.9.0.1", "fd09::1"} {
		must(t, m.kernel.Addresses.Delete(keyAddress(wire.AddrFrom(netip.MustParseAddr(s)))))
	}
	for _, row := range []struct {
		name, src, dst    string
		passes, delivered bool
	}{
		{"listener", "10.9.0.2:5", "10.9.0.1:80", false, false},
		{"listener, IPv6", "[fd09::2]:5", "[fd09::1]:80", false, false},
		{"listener at all addresses", "10.9.0.2:5", "10.9.0.1:81", false, false},
		{"listener at all addresses, IPv6", "[fd09::2]:5", "[fd09::1]:82", false, false},
		{"flow", "10.9.0.2:2000", "10.9.0.1:1000", false, true},
		{"nobody's port", "10.9.0.2:5", "10.9.0.1:83", true, false},
		{"another host's address", "10.9.0.2:5", "10.9.0.9:81", true, false},
		{"another host's address, IPv6", "[fd09::2]:5", "[fd09::9]:82", true, false},
	} {
		before, err := m.Counters()
		must(t, err)
		w.segment(t, segment{src: row.src, dst: row.dst, payload: mark})
		var now Counters
		if !soon(func() bool { now, err = m.Counters(); must(t, err); return now != before }) {
			t.Fatalf("%s: nothing is counted", row.name)
		}
		if passes, delivered := now.Passed > before.Passed, now.Delivered > before.Delivered; passes != row.passes || delivered != row.delivered {
			t.Errorf("%s: counters %+v, before %+v", row.name, now, before)
		}
		if got := read(t, p, waitFor(row.delivered)); (got != nil) != row.delivered {
			t.Errorf("%s: the pool got %v", row.name, got)
		}
	}
}

// Whoever has just given an address to the host may use it.
func TestAnAddressIsKnownWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	m, a, _ := pair(t, Config{})
	p := newPool(t, m, 1)
	for i := range 5 {
		a.AddAddr("va", "10.9.0.50/32") // each time while the change before is new
		m.Know(endpoint("10.9.0.50:80").Addr)
		if err := p.Listen(endpoint("10.9.0.50:80")); err != nil {
			t.Errorf("listening, %d: %v", i, err)
		}
		must(t, p.Unlisten(endpoint("10.9.0.50:80")))
		a.RemoveAddr("va", "10.9.0.50/32")
	}
}
