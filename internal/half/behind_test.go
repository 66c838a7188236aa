package half

import (
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/seq"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// segmentIn returns the TCP header of a packet.
func segmentIn(t testing.TB, p *pool.Packet) (s wire.TCP) {
	t.Helper()
	var ip wire.IP
	check(t, wire.ParseIP(p.Data[:p.Header], &ip))
	_, err := wire.ParseTCP(p.Data[ip.HeaderLen:p.Header], &s)
	check(t, err)
	return s
}

// arriveTogether gives segments of a flow to the bench's program in one turn, and returns
// what it answers, which arrives nowhere.
func (b *bench) arriveTogether(f wire.Flow, segments ...wire.TCP) (answers []wire.TCP) {
	b.t.Helper()
	b.drv.loses = func(p *pool.Packet) bool {
		answers = append(answers, segmentIn(b.t, p))
		return true
	}
	for _, s := range segments {
		b.top.arriveSlow(packetOf(f, s), 0)
	}
	b.run()
	return answers
}

// Who opens a connection anew that is in TIME-WAIT here, with numbers that are not known to
// be younger, sends RST and the SYN once more behind each other, and we may take both in one
// turn: the SYN finds the listener, and not what the RST has ended. So it is where the
// connection was not open yet.
func TestASynRightBehindAReset(t *testing.T) {
	b := newBench(t, 64)
	x, y, _ := b.pair()
	f := b.top.Conn(y).Flow
	var last wire.TCP
	b.drv.see = func(p *pool.Packet) {
		if s := segmentIn(t, p); s.SrcPort == f.Local.Port {
			last = s
		}
	}
	b.top.Shutdown(y)
	b.run()
	b.top.Close(x)
	b.run()
	b.top.Close(y)
	b.run()
	if s := b.top.Conn(y).State; s != tcp.TimeWait {
		t.Fatal(s)
	}
	other := f
	other.Remote.Port++
	for _, v := range []struct {
		name string
		flow wire.Flow
		next seq.Number // that of the RST
	}{
		{"TIME-WAIT", f, last.Ack},
		{"SYN-RECEIVED", other, last.Ack - 999},
	} {
		syn := wire.TCP{Seq: last.Ack - 1000, Flags: wire.SYN, Window: 1000}
		first := b.arriveTogether(v.flow, syn)
		if isNew := len(first) == 1 && first[0].Flags&wire.SYN != 0; isNew != (v.flow == other) {
			t.Errorf("%s: the first SYN is answered with %+v", v.name, first)
		}
		got := b.arriveTogether(v.flow, wire.TCP{Seq: v.next, Flags: wire.RST}, syn)
		if len(got) != 1 || got[0].Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN|wire.ACK || got[0].Ack != syn.Seq+1 {
			t.Errorf("%s: the SYN behind the RST is answered with %+v", v.name, got)
		}
	}
}
