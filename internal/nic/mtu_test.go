package nic

import (
	"encoding/binary"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// attribute returns a netlink attribute.
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// netlinkMessage returns a message whose body is a header and attributes.
func netlinkMessage(kind uint16, header []byte, attributes ...[]byte) []byte {
	body := append([]byte(nil), header...)
	for _, a := range attributes {
		body = append(body, a...)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(syscall.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(append(b, make([]byte, 10)...), body...)
}

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func linkMessage(index, mtu uint32) []byte {
	header := make([]byte, unix.SizeofIfInfomsg)
	copy(header[4:], u32(index))
	return netlinkMessage(unix.RTM_NEWLINK, header, attribute(unix.IFLA_IFNAME, []byte("va\x00")), attribute(unix.IFLA_MTU, u32(mtu)))
}

func routeMessage(kind uint16, metrics ...[]byte) []byte {
	var all []byte
	for _, m := range metrics {
		all = append(all, m...)
	}
	return netlinkMessage(kind, make([]byte, unix.SizeofRtMsg), attribute(unix.RTA_OIF, u32(2)), attribute(unix.RTA_METRICS, all))
}

// What of a burst of messages may make packets larger: an MTU that a device had in
// between, and routes with an MTU of their own.
func TestWhatIsHeardOfMTUs(t *testing.T) {
	mtu, window := attribute(unix.RTAX_MTU, u32(1400)), attribute(unix.RTAX_WINDOW, u32(7))
	damaged := linkMessage(3, 1400)
	for name, x := range map[string]struct {
		b    []byte
		want bool
	}{
		"nothing":                        {nil, false},
		"what it has":                    {linkMessage(3, 9000), false},
		"what it had in between":         {append(linkMessage(3, 1400), linkMessage(3, 9000)...), true},
		"another device":                 {linkMessage(4, 1400), false},
		"a device of which nobody knows": {linkMessage(77, 1400), false},
		"a route":                        {routeMessage(unix.RTM_NEWROUTE), false},
		"a route with a window":          {routeMessage(unix.RTM_NEWROUTE, window), false},
		"a route with an MTU":            {routeMessage(unix.RTM_NEWROUTE, window, mtu), true},
		"such a route that goes":         {routeMessage(unix.RTM_DELROUTE, mtu), true},
		"a neighbour":                    {netlinkMessage(unix.RTM_NEWNEIGH, make([]byte, 12), mtu), false},
		"half of a message":              {damaged[:len(damaged)-3], true},
	} {
		m := &Manager{devices: map[string]*device{"va": {index: 3}}, links: map[int]linkState{3: {"va", 9000}, 4: {"vc", 9000}}}
		h := m.hearing()
		h.take(x.b)
		if got, _ := m.grown(h); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// way is a message about a route by a device, or by several if that is 0.
func way(kind uint16, device uint32, of byte, to ...byte) []byte {
	header := make([]byte, unix.SizeofRtMsg)
	header[7] = of
	var attributes [][]byte
	if device != 0 {
		attributes = append(attributes, attribute(unix.RTA_OIF, u32(device)))
	}
	return netlinkMessage(kind, header, append(attributes, attribute(unix.RTA_DST, to))...)
}

// flags is a message about a device whose flags have changed.
func flags(kind uint16, index, flags, change uint32) []byte {
	header := make([]byte, unix.SizeofIfInfomsg)
	copy(header[4:], u32(index))
	copy(header[8:], u32(flags))
	copy(header[12:], u32(change))
	return netlinkMessage(kind, header)
}

// What of a burst of messages has packets go by a device that carries more: of va with
// 9,000 octets and wa with 1,400, which are served, vc, which is not, and lo.
func TestWaysThatMove(t *testing.T) {
	const va, wa, vc, up = 3, 4, 5, unix.IFF_UP
	far, near := []byte{10, 5, 0, 0}, append([]byte{0xfe, 0x80}, make([]byte, 14)...)
	for name, x := range map[string]struct {
		b    []byte
		want bool
	}{
		"nothing":                            {nil, false},
		"to the large one":                   {way(unix.RTM_NEWROUTE, va, unix.RTN_UNICAST, far...), true},
		"to the small one":                   {way(unix.RTM_NEWROUTE, wa, unix.RTN_UNICAST, far...), false},
		"to one that is not served":          {way(unix.RTM_NEWROUTE, vc, unix.RTN_UNICAST, far...), false},
		"to several":                         {way(unix.RTM_NEWROUTE, 0, unix.RTN_UNICAST, far...), true},
		"away from the small one":            {way(unix.RTM_DELROUTE, wa, unix.RTN_UNICAST, far...), true},
		"away from the large one":            {way(unix.RTM_DELROUTE, va, unix.RTN_UNICAST, far...), false},
		"away from one that is not served":   {way(unix.RTM_DELROUTE, vc, unix.RTN_UNICAST, far...), true},
		"an address of this host":            {way(unix.RTM_NEWROUTE, va, unix.RTN_LOCAL, far...), false},
		"neighbours of a device":             {way(unix.RTM_NEWROUTE, va, unix.RTN_UNICAST, near...), false},
		"a multicast group":                  {way(unix.RTM_NEWROUTE, va, unix.RTN_UNICAST, append([]byte{0xff}, make([]byte, 15)...)...), false},
		"a rule":                             {netlinkMessage(unix.RTM_NEWRULE, make([]byte, 12)), true},
		"the small one is switched off":      {flags(unix.RTM_NEWLINK, wa, 0, up), true},
		"the large one is switched off":      {flags(unix.RTM_NEWLINK, va, 0, up), false},
		"the small one is switched on":       {flags(unix.RTM_NEWLINK, wa, up, up), false},
		"something else of it":               {flags(unix.RTM_NEWLINK, wa, 0, 0), false},
		"the small one is taken out":         {flags(unix.RTM_DELLINK, wa, 0, ^uint32(0)), true},
		"one that is not served is switched": {flags(unix.RTM_NEWLINK, vc, 0, up), false},
	} {
		for _, same := range []bool{false, true} {
			m := &Manager{
				devices: map[string]*device{"va": {index: va}, "wa": {index: wa}, loopback: {index: 1}},
				links:   map[int]linkState{1: {loopback, 65536}, va: {"va", 9000}, wa: {"wa", 1400}, vc: {"vc", 500}},
			}
			if same {
				m.links[wa] = linkState{"wa", 9000}
			}
			h := m.hearing()
			h.take(x.b)
			if name == "the small one is taken out" { // sync has seen that
				m.devices["wa"].index = 0
				delete(m.links, wa)
			}
			if grown, moved := m.grown(h); grown || moved != (x.want && !same) {
				t.Errorf("%s, all the same %v: %v, %v", name, same, grown, moved)
			}
			if _, moved := m.grown(h); moved {
				t.Errorf("%s: it is heard twice", name)
			}
		}
	}
}

// Routes that move are told of at once, and then not more often than each movePause; what
// has grown is told of at once.
func TestWhenAGrowthIsDue(t *testing.T) {
	var g growths
	now := time.Now()
	for _, x := range []struct {
		after        time.Duration
		grown, moved bool
		want         bool
	}{
		{0, false, false, false},
		{0, false, true, true},
		{movePause / 5, false, true, false},
		{movePause / 5, true, false, true},
		{movePause / 5, false, true, false},
		{movePause / 5, false, false, false},
		{movePause / 5, false, false, true}, // what was owed
		{movePause / 5, false, false, false},
		{movePause, false, true, true},
	} {
		now = now.Add(x.after)
		if got := g.due(now, x.grown, x.moved); got != x.want {
			t.Errorf("after %v, %+v: %v", x.after, x, got)
		}
	}
	if !g.owed.IsZero() {
		t.Error("something is owed")
	}
}

// No octets can do more than be believed.
func TestNetlinkMessagesOfAnyOctets(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 100_000 {
		b := routeMessage(unix.RTM_NEWROUTE, attribute(unix.RTAX_MTU, u32(1400)))
		if rng.IntN(2) == 0 {
			b = linkMessage(3, 1400)
		}
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] = byte(rng.IntN(256))
		}
		h := (&Manager{links: map[int]linkState{3: {"va", 9000}}}).hearing()
		h.take(b[:rng.IntN(len(b)+1)])
	}
}

// Grew is called when a device has grown, or a route with an MTU of its own has changed,
// and not when one has shrunk.
func TestGrowthIsTold(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 1500)
	grew := make(chan int, 100)
	m := open(t, a, Config{Devices: []string{"va"}, Grew: func(mtu int) { grew <- mtu }})
	want := func(when string, mtu int) {
		t.Helper()
		select {
		case got := <-grew:
			if got != mtu || m.MostMTU() != mtu {
				t.Errorf("%s: %d, want %d", when, got, mtu)
			}
		case <-time.After(patience):
			t.Errorf("%s: nothing", when)
		}
		time.Sleep(4 * calm)
		for len(grew) > 0 {
			<-grew
		}
	}
	time.Sleep(4 * calm)
	for len(grew) > 0 {
		<-grew // what was on its way before
	}
	a.MTU("va", 1400)
	time.Sleep(10 * calm)
	if len(grew) > 0 {
		t.Errorf("a device that has shrunk: %d", <-grew)
	}
	a.MTU("va", 9000)
	want("a device that has grown", 9000)
	a.MTU("va", 1400)
	a.MTU("va", 9000)
	want("one that was small for a moment", 9000)
	a.SetRoute(testnet.Route{To: "10.77.0.0/16", Dev: "va", MTU: 2000, Lock: true})
	want("a route with an MTU", 9000)
	a.RemoveRoute("10.77.0.0/16")
	want("and without", 9000)
}
