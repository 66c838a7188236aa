package half

import (
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// open makes a socket: a CLOSED connection that the program has. It returns none
// if there are too many.
func (h *Half) open() uint32 { return h.allocConn(useProgram) }

// listen makes socket i a listener.
func (h *Half) listen(i uint32, local wire.Endpoint, backlog uint32) {
	c := h.begin(i)
	c.OpenListen(local)
	h.insert(i)
	h.aux[i].backlog = backlog
	h.commit(i)
}

// connect begins an active open on socket i. was is the connection between the same ends
// that was in TIME-WAIT till now, which the new one has to follow, or nil.
func (h *Half) connect(i uint32, flow wire.Flow, circuit uint16, was *tcp.Conn) {
	c := h.begin(i)
	c.Opt.MSS = h.mss(&flow, h.mtu(i, circuit))
	h.tune(&c.Opt, circuit)
	iss := tcp.ISN(h.now, &flow, &h.ctl.secret)
	if was != nil {
		iss = was.ISNAfter(iss)
	}
	c.OpenActive(&h.mem, h.now, flow, iss)
	if was != nil {
		c.Follow(was)
	}
	h.askFast(c)
	h.insert(i)
	h.setCircuit(i, circuit)
	h.commit(i)
}

// accept takes the first connection that waits at listener l, or none.
func (h *Half) accept(l uint32) uint32 {
	la := &h.aux[l]
	if la.acceptHead == 0 {
		return none
	}
	i := la.acceptHead - 1
	a := &h.aux[i]
	la.acceptHead = a.acceptNext
	la.acceptCount--
	a.parent, a.use = none, useProgram
	return i
}

// acceptable puts connection i, whose handshake is complete, behind those that
// wait at its listener.
func (h *Half) acceptable(i uint32) {
	a := &h.aux[i]
	h.queueAccept(i)
	h.aux[a.parent].embryos--
	a.accepted = 1
	h.conns[a.parent].Events |= tcp.EventReadable
	h.tell(a.parent)
}

// queueAccept puts i at the end of its listener's accept queue.
func (h *Half) queueAccept(i uint32) {
	a := &h.aux[i]
	la := &h.aux[a.parent]
	a.acceptNext = 0
	if la.acceptHead == 0 {
		la.acceptHead = i + 1
	} else {
		h.aux[la.acceptTail-1].acceptNext = i + 1
	}
	la.acceptTail = i + 1
	la.acceptCount++
}

// closed sees to a connection that has reached CLOSED.
func (h *Half) closed(i uint32) {
	a := &h.aux[i]
	h.unhash(i)
	h.fastClosed(i)
	switch a.use {
	case useEmbryo:
		if a.accepted == 0 { // nobody will ever see it
			h.aux[a.parent].embryos--
			h.finish(i)
		}
	case useOrphan:
		h.finish(i)
	}
}

// finish hands i over to the bottom half, which tells the connection server that
// it is no more, unless that does not know of it: then reap will do.
func (h *Half) finish(i uint32) {
	a := &h.aux[i]
	h.uncountOrphan(i)
	a.use = useDone
	if a.registered != 0 {
		h.enlist(listBottom, i)
	} else {
		h.enlist(listTouched, i)
	}
}

// closeSocket is the program's last use of socket i. The connection goes on as an
// orphan until all is said.
func (h *Half) closeSocket(i uint32) {
	if h.conns[i].State == tcp.Listen {
		h.closeListener(i)
		return
	}
	if h.tooManyOrphans(i) {
		h.ctl.Counters.OrphansFull++
		h.abort(i)
		return
	}
	h.aux[i].use = useOrphan
	c := h.begin(i)
	c.Close(&h.mem, h.now)
	h.commit(i)
	if c.State == tcp.Closed {
		h.unhash(i)
		h.finish(i)
		return
	}
	h.countOrphan(i)
}

// abort closes socket i with RST.
func (h *Half) abort(i uint32) {
	h.aux[i].use = useOrphan
	// Two steps, since each gives up chunks of its own.
	c := h.begin(i)
	c.Abort(&h.mem, h.now)
	h.end(i)
	h.begin(i).Close(&h.mem, h.now)
	h.commit(i)
	if c.State == tcp.Closed {
		h.unhash(i)
		h.finish(i)
	}
}

// closeListener ends listener l, and with RST the connections that nobody will
// accept any more.
func (h *Half) closeListener(l uint32) {
	for i := range h.ctl.conns.Fresh {
		if a := &h.aux[i]; a.use == useEmbryo && a.parent == l {
			a.parent = none
			h.abort(i)
		}
	}
	h.unhash(l)
	c := h.begin(l)
	c.State = tcp.Closed
	h.commit(l)
	h.aux[l].acceptHead = 0
	h.aux[l].use = useOrphan
	h.finish(l)
}

// fail ends connection i with an error.
func (h *Half) fail(i uint32, e tcp.Error) {
	c := h.begin(i)
	c.Fail(&h.mem, h.now, e)
	h.commit(i)
}

// purge frees what lies in the queues of socket i, which is done.
func (h *Half) purge(i uint32) {
	c := h.begin(i)
	gone := [...]tcp.Queue{c.SndQ, c.RcvQ}
	c.SndQ = tcp.Queue{Head: none, Tail: none}
	c.RcvQ, c.RcvHead = c.SndQ, 0
	h.end(i)
	for k := range gone {
		if gone[k].Count > 0 {
			h.freeChunks(&gone[k])
		}
	}
}

// Prod has the connections over circuit, whose other end has gone, ask their peers
// whether they are there: where a pool has ended without a word its connection server
// answers with RST, and nobody waits for what will not come. It is called by Change.
func (b *Bottom) Prod(circuit uint16) {
	for i := range min(b.ctl.conns.Fresh, MaxConns) {
		if b.aux[i].hashed != 0 && b.aux[i].circuit == circuit {
			b.begin(i).Prod()
			b.commit(i)
		}
	}
}
