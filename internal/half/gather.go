package half

import (
	"time"

	"usertcp/internal/pool"
)

// Who receives a stream over devices waits for each packet, and each wait costs: one
// that spins takes a CPU, and the queue's cache lines from who sends, one that sleeps has
// who sends wake it. So packets are let gather, as network adapters do by moderating
// their interrupts: after a long run of long payloads, to which the program has sent
// nothing back, the leader sleeps for a moment whatever comes, and takes several at once.
// The moment is short beside what the run has taken, and a rest that has brought less
// than it should have ends it: the sender had its reasons to wait, or has done.

const (
	gatherAfter = 16                    // long payloads in a row, from which on packets are let gather: full ones are 1 MiB
	gatherLeast = 2                     // … that have to come for each rest, for the next one
	gatherRoom  = 1 << 20               // octets that the receive buffer has at least: a sender whom a window stops waits for us
	gatherFor   = 20 * time.Microsecond // to which the kernel adds its slack, 50 µs
)

// gathering is how a run of long payloads stands.
type gathering struct {
	conn   uint32 // whose the last one was
	came   int    // since the run began, or the last rest
	rested bool   // there was one in this run
}

// arrived notes that connection i has received packet p.
func (g *gathering) arrived(i uint32, p *pool.Packet) {
	if p.Circuit == pool.NIC && p.Payload >= placeLeast {
		g.conn = i
		g.came++
	}
}

// sent notes that connection i sends a payload: its program answers, and its peer may
// wait for that.
func (g *gathering) sent(i uint32) {
	if g.conn == i {
		g.came, g.rested = 0, false
	}
}

// worth reports whether a rest is worth while now, when nothing is there, and counts it.
func (g *gathering) worth() bool {
	least := gatherAfter
	if g.rested {
		least = gatherLeast
	}
	if g.came >= least {
		g.came, g.rested = 0, true
		return true
	}
	if g.rested {
		g.came, g.rested = 0, false
	}
	return false
}

// letGather lets packets gather for a moment, if that is worth while, and reports whether
// it was. Everything but a packet of the device's ends it at once.
func (t *Top) letGather() bool {
	if t.rest == nil || t.passive || t.spin == SpinOn || !t.bulk.worth() || t.conns[t.bulk.conn].Opt.RcvBuf < gatherRoom || !maySpin() {
		return false
	}
	defer spinning.Add(-1)
	t.sleep(t.rest, gatherFor)
	return true
}
