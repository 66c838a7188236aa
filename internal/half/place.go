package half

import (
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// A payload that a program waits for can land in the program's own memory, without a
// second copy, if it is known beforehand whose the next packet will be and how long its
// headers are (paper section 2: "single copy"; there the host copied from the adapter,
// when it knew). Who has sent much a moment ago will most likely go on. So while a
// program waits to read from such a connection, and nothing else is to be read first,
// packets are taken one by one and with its memory for their payloads. One that is what
// was foreseen counts as received and read in one step; of any other the octets go
// where they would lie else, and it takes the usual way.
//
// Nothing of this is in the segment: a death before the step is complete is a packet
// lost that nobody has acknowledged, a death after it that of a program which had read.

const (
	placeLeast  = 16 << 10 // octets of a payload from which the next is foreseen, and of memory for one
	streakLeast = 2        // such packets of one connection, one behind the other, until then
	streakMost  = 64       // … where what was foreseen did not come
	foundLeast  = 2        // packets that lay there already, until the next one is thought to

	drainMost = 500 * time.Microsecond // without a look for packets, while what is there is read
)

// foresight is what a half expects to come next from the devices.
type foresight struct {
	conn   uint32 // whose the last long payload was
	header int    // octets of headers that it had
	streak int    // how many there were of this connection
	need   int    // how many there must be
	into   []byte // where the payload of the packet at work was to be placed
	found  int    // packets that were placed, since a look has found none
	owes   uint32 // the connection whose acknowledgement waits for more of them, and one more; 0: none
}

// foresee notes that connection i has received packet p.
func (h *Half) foresee(i uint32, p *pool.Packet) {
	f := &h.next
	switch {
	case p.Circuit != pool.NIC || p.Payload < placeLeast:
	case f.conn == i && f.header == int(p.Header):
		f.streak = min(f.streak+1, streakMost)
	default:
		f.conn, f.header, f.streak = i, int(p.Header), 1
	}
}

// placeFor returns the memory of the program in which the next payload is to be placed,
// nil if none is: enough says that this is so because the program has enough.
func (h *Half) placeFor() (into []byte, enough bool) {
	f := &h.next
	if h.wanted == nil || f.streak < max(f.need, streakLeast) {
		return nil, false
	}
	into, had := h.wanted(f.conn)
	if len(into) < placeLeast {
		return nil, had > 0
	}
	if !h.conns[f.conn].Prepared() {
		return nil, false
	}
	return into, false
}

// takePlaced takes packets as long as their payloads are to be placed. It reports
// whether there were any, and whether the turn is over: either there are no more, or
// the program has as much as it wants and had better come and ask for more memory.
func (h *Half) takePlaced() (did, over bool) {
	for range turnPackets {
		into, enough := h.placeFor()
		if into == nil {
			return did, enough
		}
		op := &h.arrivals.Ops()[0]
		op.Place(h.next.header, into)
		h.drv.Execute(h.arrivals.Ops()[:1])
		if !op.Done {
			h.next.found = 0
			return did, true
		}
		did = true
		h.ctl.Counters.Scripts++
		h.ctl.Counters.Operations[pool.OpReceive]++
		h.next.into = into
		h.arrive(op.Packet)
		h.next.into = nil
	}
	return did, true
}

// putBack copies what was placed of packet p to where it would lie else.
func (h *Half) putBack(p *pool.Packet) {
	if p.Placed == 0 {
		return
	}
	f := &h.next
	at := p.Pieces[0].Off
	copy(h.drv.Octets(p.Region)[at:at+p.Placed], f.into)
	p.Placed = 0
	h.ctl.Counters.PlaceMissed++
	if p.Payload >= placeLeast { // less costs next to nothing
		f.need, f.streak = min(2*max(f.need, streakLeast), streakMost), 0
	}
}

// inputPlaced gives the segment in h.arr to connection i, which has read what was placed
// of it already if it is what comes next.
func (h *Half) inputPlaced(i uint32, p *pool.Packet) {
	c := h.begin(i)
	h.arr.More = h.next.found >= foundLeast
	if c.InputRead(&h.mem, h.now, &h.arr, p.Placed) {
		h.ctl.Counters.Placed += uint64(p.Placed)
		h.next.need = max(h.next.need/2, streakLeast)
		h.next.found++
		if h.arr.More {
			h.next.owes = i + 1
		}
		h.placed(i, int(p.Placed))
	} else {
		h.putBack(p)
	}
	h.endInput(i)
}

// inputWanted gives the segment in h.arr, with a short payload, to connection i. If its
// program waits for just that, with room for all of it, it counts as received and read in
// one step: whoever takes the packet need not begin another one to read for who waits.
func (h *Half) inputWanted(i uint32, p *pool.Packet) {
	into, _ := h.wanted(i)
	if len(into) < int(p.Inline) {
		h.input(i)
		return
	}
	if h.begin(i).InputRead(&h.mem, h.now, &h.arr, uint32(p.Inline)) {
		h.placed(i, copy(into, p.Data[p.Header:p.Header+p.Inline]))
	}
	h.endInput(i)
}

// acknowledge sees to an acknowledgement that waits for more in a turn in which no more
// has come. The program comes back for more at once, or a watchdog does.
func (h *Half) acknowledge() {
	i := h.next.owes
	if i == 0 {
		return
	}
	h.next.owes, h.next.found = 0, 0
	if h.aux[i-1].hashed != 0 {
		h.begin(i - 1).AckOwed()
		h.commit(i - 1)
	}
}

// SetUnplaced makes a fresh segment's payloads lie in the pool always until the program
// reads them.
func SetUnplaced(s *shm.Segment) error {
	c, err := shm.One[control](s, secControl)
	if err == nil {
		c.unplaced = 1
	}
	return err
}

// wantedBy returns the memory of who waits to read from connection i that nothing has
// been placed in yet, and how much has been, if it is who takes the packets: when he has
// enough he comes back with more memory at once. A follower comes when the leader lets
// him, who has others to serve meanwhile.
func (t *Top) wantedBy(i uint32) (rest []byte, had int) {
	if int(i) >= len(t.sockets) || t.sockets[i] == nil {
		return nil, 0
	}
	s := t.sockets[i]
	o := &s.rd.order
	if o.into == nil || s.closing || s.deaf || s.rd.expired() || t.conns[i].Opt.RcvLowat > 1 {
		return nil, 0
	}
	if s.rd.waiting {
		return o.into[o.n:], 0
	}
	return o.into[o.n:], o.n
}

// placedFor notes that n octets more have been placed for who waits to read from
// connection i.
func (t *Top) placedFor(i uint32, n int) { t.sockets[i].rd.order.n += n }

// drain takes the place of drive where a call that reads into p from connection i had
// better take what is there before anybody looks for more: what comes next can be placed
// when nothing is left to be read first, and while packets come faster than they are read
// that would never be so else. Nobody may leave packets alone for long, though: drain
// reports false if it is time to look.
func (t *Top) drain(i uint32, p []byte) bool {
	if t.wanted == nil || t.next.conn != i || len(p) < placeLeast || t.conns[i].RcvQ.Count == 0 {
		return false
	}
	if t.now = t.clock(); t.now-t.stepped >= tcp.Time(drainMost) {
		return false
	}
	t.calls.Add(1)
	t.skipped = true
	if !t.leading {
		t.unattended()
	}
	return true
}
