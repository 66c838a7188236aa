package half

import (
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

func TestOnlySingleHostsConverse(t *testing.T) {
	for _, x := range []struct {
		local, remote string
		want          bool
	}{
		{"10.1.0.1:1", "10.1.0.2:2", true},
		{"[fd00::1]:1", "[fd00::2]:2", true},
		{"10.1.0.1:1", "224.0.0.1:2", false},
		{"10.1.0.1:1", "239.255.255.255:2", false},
		{"10.1.0.1:1", "255.255.255.255:2", false},
		{"10.1.0.1:1", "0.0.0.0:2", false},
		{"224.0.0.1:1", "10.1.0.2:2", false},
		{"255.255.255.255:1", "10.1.0.2:2", false},
		{"[ff02::1]:1", "[fd00::2]:2", false},
		{"[fd00::1]:1", "[ff02::1]:2", false},
		{"[fd00::1]:1", "[::]:2", false},
	} {
		f := wire.Flow{Local: endpoint(x.local), Remote: endpoint(x.remote)}
		if Unicast(&f) != x.want {
			t.Errorf("%v: %v", f, !x.want)
		}
	}
}

// synOf makes the packet of a SYN from the flow's remote end.
func synOf(f wire.Flow) []byte { return segmentOf(f, wire.SYN) }

// segmentOf makes the packet of any segment without data.
func segmentOf(f wire.Flow, flags wire.Flags) []byte {
	return packetOf(f, wire.TCP{Flags: flags, Window: 1000})
}

// packetOf makes the packet that brings a segment without data.
func packetOf(f wire.Flow, s wire.TCP) []byte {
	ip := wire.IP{Src: f.Remote.Addr, Dst: f.Local.Addr, Proto: protoTCP, TTL: 64}
	s.SrcPort, s.DstPort = f.Remote.Port, f.Local.Port
	var b [100]byte
	n := ip.Emit(b[:], s.Len())
	s.Emit(b[n:])
	sum := wire.TCPChecksum(&ip.Src, &ip.Dst, b[n:n+s.Len()], nil)
	b[n+16], b[n+17] = byte(sum>>8), byte(sum)
	return b[:n+s.Len()]
}

func TestSynsOfManyHostsAreIgnored(t *testing.T) {
	a := newHost(t, 1, SpinOff)
	a.listen(80)
	sent := 0
	a.slow = func([]byte) { sent++ }
	for _, remote := range []string{"224.0.0.1:2", "255.255.255.255:2", "0.0.0.0:2"} {
		a.bottom.Arrive(synOf(wire.Flow{Local: endpoint("10.1.0.1:80"), Remote: endpoint(remote)}), pool.NoCircuit)
		a.bottom.Arrive(synOf(wire.Flow{Local: endpoint("10.1.0.1:81"), Remote: endpoint(remote)}), pool.NoCircuit)
	}
	if sent != 0 {
		t.Errorf("%d answers", sent)
	}
	a.bottom.Arrive(synOf(wire.Flow{Local: endpoint("10.1.0.1:80"), Remote: endpoint("10.1.0.2:2")}), pool.NoCircuit)
	if sent != 1 {
		t.Errorf("%d answers to a SYN in order", sent)
	}
}

// A listener answers SYN and ACK, and nothing that has neither; where nobody listens
// all but RST is answered.
func TestWhatAListenerAnswers(t *testing.T) {
	a := newHost(t, 1, SpinOff)
	a.listen(80)
	sent := 0
	a.slow = func([]byte) { sent++ }
	for i, x := range []struct {
		flags            wire.Flags
		listener, nobody int
	}{
		{wire.SYN, 1, 1},
		{wire.ACK, 1, 1},
		{wire.FIN | wire.ACK, 1, 1},
		{wire.FIN, 0, 1},
		{0, 0, 1},
		{wire.FIN | wire.PSH | wire.URG, 0, 1},
		{wire.RST, 0, 0},
		{wire.RST | wire.ACK, 0, 0},
		{wire.RST | wire.SYN, 0, 0},
	} {
		for port, want := range map[string]int{"10.1.0.1:80": x.listener, "10.1.0.1:81": x.nobody} {
			sent = 0
			flow := wire.Flow{Local: endpoint(port), Remote: endpoint("10.1.0.2:1000")}
			flow.Remote.Port += uint16(i) // none meets the connection of one before
			a.bottom.Arrive(segmentOf(flow, x.flags), pool.NoCircuit)
			if sent != want {
				t.Errorf("%v to %s: %d answers, want %d", x.flags, port, sent, want)
			}
		}
	}
}
