package half

import (
	"syscall"
	"testing"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// message makes the packet of an ICMP message from a router that quotes a segment
// of flow.
func message(m wire.ICMP, flow wire.Flow, n seq.Number) []byte {
	router := wire.Addr{10: 0xff, 11: 0xff, 12: 10, 13: 9, 14: 9, 15: 9}
	if m.V6 {
		router = wire.Addr{0: 0xfd, 15: 9}
	}
	m.Quoted = wire.IP{Src: flow.Local.Addr, Dst: flow.Remote.Addr, Proto: protoTCP, TTL: 9}
	m.Quoted.HeaderLen = wire.IPv6Len
	if m.Quoted.Is4() {
		m.Quoted.HeaderLen = wire.IPv4Len
	}
	m.Quoted.TotalLen = m.Quoted.HeaderLen + 1000
	m.SrcPort, m.DstPort, m.Seq = flow.Local.Port, flow.Remote.Port, n
	var body [wire.MaxICMPLen]byte
	k := m.Emit(body[:], &router, &flow.Local.Addr)
	ip := wire.IP{Src: router, Dst: flow.Local.Addr, Proto: wire.ProtoICMP, TTL: 64}
	if m.V6 {
		ip.Proto = wire.ProtoICMPv6
	}
	var b [100]byte
	n0 := ip.Emit(b[:], k)
	return append(b[:n0:n0], body[:k]...)
}

// opening begins an active open whose SYN goes nowhere, and returns its socket and
// its initial sequence number.
func opening(t *testing.T, a *host, local, remote string) (*Socket, wire.Flow, seq.Number) {
	t.Helper()
	s, err := a.top.Open()
	check(t, err)
	flow := wire.Flow{Local: endpoint(local), Remote: endpoint(remote)}
	var syn wire.TCP
	a.slow = func(b []byte) {
		var ip wire.IP
		if wire.ParseIP(b, &ip) == nil {
			wire.ParseTCP(b[ip.HeaderLen:], &syn)
		}
	}
	if !a.bottom.Connect(s.Index(), flow, pool.NoCircuit) {
		t.Fatal("no active open")
	}
	return s, flow, syn.Seq
}

func TestICMPEndsAnOpen(t *testing.T) {
	for _, x := range []struct {
		name          string
		m             wire.ICMP
		local, remote string
		want          syscall.Errno
	}{
		{"port unreachable", wire.ICMP{Type: wire.ICMPUnreachable, Code: wire.ICMPCodePort}, "10.1.0.1:1", "10.1.0.2:2", syscall.ECONNREFUSED},
		{"protocol unreachable", wire.ICMP{Type: wire.ICMPUnreachable, Code: wire.ICMPCodeProtocol}, "10.1.0.1:1", "10.1.0.2:2", syscall.ECONNREFUSED},
		{"host unreachable", wire.ICMP{Type: wire.ICMPUnreachable, Code: wire.ICMPCodeHost}, "10.1.0.1:1", "10.1.0.2:2", syscall.EHOSTUNREACH},
		{"net unreachable", wire.ICMP{Type: wire.ICMPUnreachable, Code: wire.ICMPCodeNet}, "10.1.0.1:1", "10.1.0.2:2", syscall.ENETUNREACH},
		{"filtered", wire.ICMP{Type: wire.ICMPUnreachable, Code: wire.ICMPCodeProhibited}, "10.1.0.1:1", "10.1.0.2:2", syscall.EHOSTUNREACH},
		{"time exceeded", wire.ICMP{Type: wire.ICMPTimeExceeded}, "10.1.0.1:1", "10.1.0.2:2", syscall.EHOSTUNREACH},
		{"port unreachable, IPv6", wire.ICMP{V6: true, Type: wire.ICMP6Unreachable, Code: wire.ICMP6CodePort}, "[fd00::1]:1", "[fd00::2]:2", syscall.ECONNREFUSED},
		{"no route, IPv6", wire.ICMP{V6: true, Type: wire.ICMP6Unreachable, Code: wire.ICMP6CodeNoRoute}, "[fd00::1]:1", "[fd00::2]:2", syscall.ENETUNREACH},
		{"prohibited, IPv6", wire.ICMP{V6: true, Type: wire.ICMP6Unreachable, Code: wire.ICMP6CodeProhibited}, "[fd00::1]:1", "[fd00::2]:2", syscall.EACCES},
		{"address unreachable, IPv6", wire.ICMP{V6: true, Type: wire.ICMP6Unreachable, Code: wire.ICMP6CodeAddress}, "[fd00::1]:1", "[fd00::2]:2", syscall.EHOSTUNREACH},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newHost(t, 1, SpinOff)
			s, flow, iss := opening(t, a, x.local, x.remote)
			a.bottom.Arrive(message(x.m, flow, iss+1), pool.NoCircuit) // quotes what was never sent
			other := flow
			other.Local.Port++
			a.bottom.Arrive(message(x.m, other, iss), pool.NoCircuit)
			if i, _ := s.Info(); i.State.String() != "SYN-SENT" || i.SoftError != 0 {
				t.Fatalf("a forged message was believed: %v %v", i.State, i.SoftError)
			}
			damaged := message(x.m, flow, iss)
			damaged[len(damaged)-1] ^= 1
			a.bottom.Arrive(damaged, pool.NoCircuit)
			a.bottom.Arrive(message(x.m, flow, iss), pool.NoCircuit)
			if err := s.Connected(); err != x.want {
				t.Errorf("%v, want %v", err, x.want)
			}
		})
	}
}

func TestPacketTooBig(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	flow := ca.Flow()
	big := wire.ICMP{Type: wire.ICMPUnreachable, Code: wire.ICMPCodeFragNeeded, MTU: 9000}
	data := octets(1, 60000)
	for end := time.Now().Add(patience); ; {
		_, err := ca.Write(data)
		check(t, err)
		a.top.Change(func() { a.top.arriveSlow(message(big, flow, a.top.conns[ca.i].Oldest()), pool.NoCircuit) })
		wantRead(t, cb, data)
		i, err := ca.Info()
		check(t, err)
		if i.PathMTUs > 0 {
			if i.PathMTU != 9000 || i.SndMSS > 9000-40 {
				t.Errorf("path MTU %d, MSS %d", i.PathMTU, i.SndMSS)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("what was written was always acknowledged already")
		}
	}
}

// The host's routes have changed: segments are made for what they carry.
func TestRouteThatChanges(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	data := octets(1, 60000)
	for _, mtu := range []int{9000, 2000, 20000} {
		ca.RouteMTU(uint32(mtu))
		_, err := ca.Write(data)
		check(t, err)
		wantRead(t, cb, data)
		if i, err := ca.Info(); err != nil || int(i.PathMTU) != mtu || int(i.SndMSS) > mtu-40 {
			t.Errorf("MTU %d: path MTU %d, MSS %d, %v", mtu, i.PathMTU, i.SndMSS, err)
		}
	}
	check(t, ca.Close())
	ca.RouteMTU(1500) // nobody's any more
}

func TestMessagesThatAreNone(t *testing.T) {
	a := newHost(t, 1, SpinOff)
	flow := wire.Flow{Local: endpoint("10.1.0.1:1"), Remote: endpoint("10.1.0.2:2")}
	good := message(wire.ICMP{Type: wire.ICMPUnreachable}, flow, 1)
	for n := range good {
		a.bottom.Arrive(good[:n], pool.NoCircuit) // cut short
	}
	bad := a.top.Usage().Counters.BadIP
	a.bottom.Arrive(good, pool.NoCircuit) // whole, and of nobody
	if got := a.top.Usage().Counters.BadIP; bad == 0 || got != bad {
		t.Errorf("%d then %d bad packets", bad, got)
	}
}
