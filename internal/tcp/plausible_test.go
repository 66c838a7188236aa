package tcp

import (
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// What another connection between the same two ends has left is told from the peer's
// segments, also from those that come again.
func TestPlausible(t *testing.T) {
	const far = 1 << 30
	for _, x := range []struct {
		name  string
		state State
		flags wire.Flags
		seq   int // relative to the peer's ISN
		len   uint32
		ack   int // relative to ours
		want  bool
	}{
		{"an acknowledgement", Established, sA, 1, 0, 1, true},
		{"a keep-alive probe", Established, sA, 0, 0, 1, true},
		{"the SYN-ACK again", Established, sSA, 0, 0, 1, true},
		{"data in the window", Established, sPA, 1, 100, 1, true},
		{"data behind a gap", Established, sPA, 1001, 100, 1, true},
		{"data that came before in part", Established, sPA, -99, 200, 1, true},
		{"RST with ACK", Established, sRA, 1, 0, 1, true},
		{"data long ago", Established, sPA, -far, 100, 1, false},
		{"data beyond the window", Established, sPA, far, 100, 1, false},
		{"acknowledges too much", Established, sA, 1, 0, 2, false},
		{"acknowledges what is long ago", Established, sA, 1, 0, -far, false},
		{"RST without ACK", Established, sR, 1, 0, 0, false},
		{"SYN", Established, sS, far, 0, 0, false},
		{"SYN-ACK", SynSent, sSA, far, 0, 1, true},
		{"SYN at the same time", SynSent, sS, far, 0, 0, true},
		{"RST for our SYN", SynSent, sRA, 0, 0, 1, true},
		{"an acknowledgement of another SYN", SynSent, sA, far, 0, 77, false},
		{"an acknowledgement of nothing", SynSent, sA, far, 0, 0, false},
		{"RST without ACK", SynSent, sR, 1, 0, 0, false},
		{"the third of three", SynReceived, sA, 1, 0, 1, true},
		{"one of another connection", SynReceived, sA, far, 0, far, false},
		{"the FIN again", TimeWait, sFA, 0, 0, 1, true},
		{"to nobody", Closed, sA, 1, 0, 1, false},
	} {
		a := newTalk(t)
		if x.state != Closed {
			a = inState(t, x.state)
		}
		from, to := a.c.rcv.nxt, a.c.snd.nxt // as if nothing but a SYN had been sent
		if x.state == SynSent {
			from = 0
		}
		seg := Segment{Flags: x.flags, Seq: from.Add(seq.Size(x.seq - 1)), Len: x.len, Ack: to.Add(seq.Size(x.ack - 1))}
		if got := a.c.Plausible(&seg); got != x.want {
			t.Errorf("%s, %s: %v", x.state, x.name, got)
		}
	}
}
