package child

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// giveBack tells the server what is free again, and closes the kernel's bind
// points last.
func (c *child) giveBack(socket uint32, what half.Registered, flow wire.Flow) {
	c.tryGiveBack(socket, what, flow, true)
}

// tryGiveBack is giveBack, and reports whether there was a server. If there was none and
// it is not the last attempt, all stays on record.
func (c *child) tryGiveBack(socket uint32, what half.Registered, flow wire.Flow, last bool) (heard bool) {
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	heard = true
	if what&half.RegisteredFlow != 0 {
		if own, ok := c.record.opened(socket); ok {
			flow = own // a connection that was not begun has none yet
		}
		_, errno := c.ask(&message.Message{Type: message.Forward, Op: message.OpClose, Socket: socket, Local: flow.Local, Remote: flow.Remote})
		heard = errno != unix.EHOSTDOWN
	}
	if what&half.RegisteredBind != 0 {
		c.keepFlows(flow.Local)
		_, errno := c.ask(&message.Message{Type: message.Listen, Op: message.OpClose, Socket: socket})
		heard = heard && errno != unix.EHOSTDOWN
	}
	if heard || last {
		c.record.drop(socket, what, flow)
	}
	return heard
}

// giveBackUnused tells the server that a connection which it has given a socket has not begun.
// What is in TIME-WAIT there goes on.
func (c *child) giveBackUnused(socket uint32, flow wire.Flow) {
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	c.ask(&message.Message{
		Type: message.Forward, Op: message.OpClose, Socket: socket, Local: flow.Local, Remote: flow.Remote, N: message.ForwardUnused,
	})
	c.record.drop(socket, half.RegisteredFlow, flow)
}

// giveBackAtLast is giveBack that waits for the next server if there is none. What
// was given out over devices stands in the kernel's maps, whose pools outlive a server:
// so the next one is told that we have it, with the connections that came in by a
// listener, and then that it is over. Of the ring nothing is left when a server dies.
func (c *child) giveBackAtLast(socket uint32, what half.Registered, flow wire.Flow) {
	c.owing.Add(1)
	defer c.owing.Add(-1)
	for {
		l := c.link.Load()
		if c.tryGiveBack(socket, what, flow, c.nic == nil) || c.nic == nil {
			return
		}
		select {
		case <-l.next:
		case <-c.alone: // with us all goes
			c.giveBack(socket, what, flow)
			return
		}
	}
}

// mayLeave ends the waiting for a server when the program has ended and nothing is left
// but what the server would be told.
func (c *child) mayLeave() {
	select {
	case <-c.alone:
		return
	default:
	}
	select {
	case <-c.ended:
		if c.bottom.Live() <= int(c.owing.Load()) {
			close(c.alone)
		}
	default:
	}
}
