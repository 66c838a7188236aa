package sim

import (
	"strings"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// wireTalk is a conversation as the watch sees it: host A opens, host B answers.
type wireTalk struct {
	t *testing.T
	w watch
}

func newWireTalk(t *testing.T) *wireTalk {
	t.Helper()
	x := &wireTalk{t: t, w: watch{ways: map[wire.Flow]*way{}}}
	scale := wire.Options{Present: wire.HasWindowScale, WindowScale: 2}
	x.ok(x.packet('A', wire.SYN, 99, 0, 1000, 0, scale))
	x.ok(x.packet('B', wire.SYN|wire.ACK, 499, 100, 1000, 0, scale))
	x.ok(x.packet('A', wire.ACK, 100, 500, 250, 0, wire.Options{}))
	return x
}

func (x *wireTalk) packet(from byte, flags wire.Flags, s, ack seq.Number, window uint16, n int, o wire.Options) *seen {
	p := &seen{n: n}
	a, b := wire.Addr{15: 1}, wire.Addr{15: 2}
	p.ip.Src, p.ip.Dst = a, b
	p.tcp = wire.TCP{SrcPort: 7, DstPort: 9, Seq: s, Ack: ack, Flags: flags, Window: window, Options: o}
	if from == 'B' {
		p.ip.Src, p.ip.Dst = b, a
		p.tcp.SrcPort, p.tcp.DstPort = 9, 7
	}
	return p
}

// ok sends a packet that keeps to the rules, and lets it arrive.
func (x *wireTalk) ok(p *seen) {
	x.t.Helper()
	if err := x.w.sent(p); err != nil {
		x.t.Errorf("%v: %v", &p.tcp, err)
	}
	x.w.arrived(p)
}

func (x *wireTalk) bad(p *seen, want string) {
	x.t.Helper()
	if err := x.w.sent(p); err == nil || !strings.Contains(err.Error(), want) {
		x.t.Errorf("%v: %v, want something with %q", &p.tcp, err, want)
	}
}

func TestWatchAllowsWhatTheWindowAllows(t *testing.T) {
	x := newWireTalk(t)
	none := wire.Options{}
	x.ok(x.packet('A', wire.ACK, 100, 500, 250, 1000, none)) // all of B's window
	x.bad(x.packet('A', wire.ACK, 1100, 500, 250, 1, none), "1 octets beyond")
	x.bad(x.packet('A', wire.ACK|wire.FIN, 1100, 500, 250, 0, none), "1 octets beyond")
	x.ok(x.packet('A', wire.ACK, 99, 500, 250, 0, none)) // a probe
	x.ok(x.packet('B', wire.ACK, 500, 1100, 1, 0, none)) // 4 octets: scaled
	x.ok(x.packet('A', wire.ACK|wire.FIN, 1100, 500, 250, 3, none))
	x.bad(x.packet('A', wire.ACK|wire.FIN, 1100, 500, 250, 4, none), "1 octets beyond")
}

func TestWatchKnowsOnlyWhatArrived(t *testing.T) {
	x := newWireTalk(t)
	lost := x.packet('B', wire.ACK, 500, 100, 1000, 0, wire.Options{})
	if err := x.w.sent(lost); err != nil {
		t.Fatal(err)
	}
	x.bad(x.packet('A', wire.ACK, 1100, 500, 250, 100, wire.Options{}), "beyond")
	x.w.arrived(lost)
	x.ok(x.packet('A', wire.ACK, 1100, 500, 250, 100, wire.Options{}))
}

func TestWatchSeesAWindowShrink(t *testing.T) {
	x := newWireTalk(t)
	none := wire.Options{}
	x.ok(x.packet('B', wire.ACK, 500, 100, 500, 0, none)) // up to 2100
	x.ok(x.packet('B', wire.ACK, 500, 200, 475, 0, none)) // the same
	x.ok(x.packet('B', wire.ACK, 500, 203, 474, 0, none)) // 2099: rounded down
	x.bad(x.packet('B', wire.ACK, 500, 200, 474, 0, none), "shrinks by 4")
	x.ok(x.packet('B', wire.RST, 500, 0, 0, 0, none))
	x.bad(x.packet('B', wire.ACK, 500, 300, 0, 0, none), "shrinks by 1800")
}

// A SYN-ACK that comes again says 65535 at most, though a challenge may have
// promised more: its window has no scale.
func TestWatchAllowsFullSyn(t *testing.T) {
	x := newWireTalk(t)
	scale := wire.Options{Present: wire.HasWindowScale, WindowScale: 2}
	x.ok(x.packet('B', wire.ACK, 500, 100, 65535, 0, wire.Options{}))
	x.ok(x.packet('B', wire.SYN|wire.ACK, 499, 100, 65535, 0, scale))
	x.bad(x.packet('B', wire.SYN|wire.ACK, 499, 100, 65534, 0, scale), "shrinks")
}

// A SYN that comes late, from a connection that is no more, makes a new one:
// what the old one promised does not bind it.
func TestWatchForgetsAnOldConnection(t *testing.T) {
	x := newWireTalk(t)
	x.ok(x.packet('B', wire.ACK, 500, 100, 65535, 0, wire.Options{}))
	x.ok(x.packet('B', wire.SYN|wire.ACK, 77777, 100, 1000, 0, wire.Options{}))
}

func TestStreamIsKnown(t *testing.T) {
	a, b := &stream{key: 1}, &stream{key: 2}
	buf := make([]byte, 4096)
	a.fill(buf, 100)
	same := 0
	for i, x := range buf {
		if x != a.octet(100+i) {
			t.Fatalf("octet %d is filled with %#x and known as %#x", 100+i, x, a.octet(100+i))
		}
		if x == b.octet(100+i) || x == a.octet(i) {
			same++
		}
	}
	if same > len(buf)/50 {
		t.Errorf("%d octets of %d are those of another place or stream", same, len(buf))
	}
}
