package half

import "usertcp/internal/pool"

// turnPackets bounds a turn, so that the lock is not held for long.
const turnPackets = 16

// sendPackets is how many packets may wait in a script to be sent.
const sendPackets = 16

// scripts are what a half's driver is asked to do. All data goes this way.
//
// One script is written all the time: packets to be sent, and what is given back. It
// is executed when a turn ends, when it is full, and when buffers are needed, so that
// what it gives back is there; its order is the order in which things were asked for,
// so that no buffer is free before a packet that it is part of has been sent. A death
// before that loses packets, as packets may be lost, and what was to be given back is
// counted anew by the repair.
//
// Receptions are a script of their own, always the same, with which a turn begins;
// and so are copies, which may go on without the lock.
type scripts struct {
	script   pool.Script
	packets  [sendPackets]pool.Packet
	sending  int // packets in use
	arrivals pool.Script
	arrived  [turnPackets]pool.Packet
	spare    []*pool.Script // for copies
}

func (s *scripts) initScripts() {
	s.script.Reset()
	s.sending = 0
	s.arrivals.Reset()
	for i := range s.arrived {
		s.arrivals.Receive(&s.arrived[i])
	}
}

// run executes what has been asked for.
func (h *Half) run() {
	if h.script.Len() == 0 {
		return
	}
	ops := h.script.Ops()
	h.drv.Execute(ops)
	c := &h.ctl.Counters
	c.Scripts++
	for i := range ops {
		c.Operations[ops[i].Kind]++
	}
	h.script.Reset()
	h.sending = 0
}

// receive takes up to turnPackets packets from the pool: one, and if there is one as
// many more as there are.
func (h *Half) receive() []pool.Packet {
	ops := h.arrivals.Ops()
	h.drv.Execute(ops[:1])
	if !ops[0].Done {
		return nil
	}
	h.drv.Execute(ops[1:])
	n := 1
	for n < turnPackets && ops[n].Done {
		n++
	}
	c := &h.ctl.Counters
	c.Scripts++
	c.Operations[pool.OpReceive] += uint64(n)
	return h.arrived[:n]
}

// packet returns a packet to be filled, and then sent with post.
func (h *Half) packet() *pool.Packet {
	if h.sending == sendPackets {
		h.run()
	}
	return &h.packets[h.sending]
}

// post sends a packet. If it is not the one that packet returned last, or the script
// has been executed since, it is copied. A device that may refuse packets is asked at
// once, since the step that has made this one out is undone then: post reports false.
// What goes by mail is not undone.
func (h *Half) post(p *pool.Packet) bool {
	if h.sending == sendPackets {
		h.run()
	}
	h.need(1)
	refusable := h.drv.MayRefuse(p.Circuit)
	if refusable {
		if h.mails.add(p) {
			h.ctl.Counters.Operations[pool.OpSend]++
			return true
		}
		h.mails.now()
	}
	q := &h.packets[h.sending]
	if p != q {
		*q = *p
	}
	h.sending++
	h.script.Send(q)
	if !refusable {
		return true
	}
	ops := h.script.Ops()
	h.run()
	return ops[len(ops)-1].Done
}

// need sees to it that the script has room for n operations.
func (h *Half) need(n int) {
	if h.script.Room() < n {
		h.run()
	}
}

// alloc takes up to n buffers for sending on circuit, at once. What it returns is
// good until something else is asked for.
func (h *Half) alloc(circuit uint16, n int) []pool.Op {
	h.need(n)
	h.script.Alloc(circuit, n)
	ops := h.script.Ops()
	h.run()
	ops = ops[len(ops)-n:]
	for i := range ops {
		if !ops[i].Done {
			return ops[:i]
		}
	}
	return ops
}

// free gives back a reference to a buffer for sending, or a piece of a packet.
func (h *Half) free(region uint16, buf uint32) {
	h.need(1)
	h.script.Free(region, buf)
}

// roomOn returns how many packets circuit takes now, besides those that wait to be
// sent, and how many its peer has not looked at or will find.
func (h *Half) roomOn(circuit uint16) (room, backlog int) {
	n := 0
	if h.sending > 0 {
		n = h.script.Sends(circuit)
	}
	return max(0, h.drv.Room(circuit)-n), h.drv.Backlog(circuit) + n
}

// copies returns an empty script for copies: one of many, since copies of many octets
// go on without the lock. It is given back with the lock.
func (h *Half) copies() *pool.Script {
	n := len(h.spare)
	if n == 0 {
		return new(pool.Script)
	}
	s := h.spare[n-1]
	h.spare = h.spare[:n-1]
	return s
}

// copied takes a script of copies back, which has been executed.
func (h *Half) copied(s *pool.Script, kind pool.Kind) {
	c := &h.ctl.Counters
	c.Scripts++
	c.Operations[kind] += uint64(s.Len())
	s.Reset()
	h.spare = append(h.spare, s)
}
