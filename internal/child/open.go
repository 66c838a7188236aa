package child

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// opened is a connection that the server has given.
type opened struct {
	flow wire.Flow
	mtu  uint32       // of the way by a device, 0 if there is none
	was  *tcp.Remnant // of the connection in TIME-WAIT that it follows, or nil
}

// yieldTries is how many connections in TIME-WAIT are given up for one that wants a port:
// another program may be quicker, or the kernel have the port.
const yieldTries = 8

// open has the server give a connection for a Connect. When no port is left those of
// connections come again that are in TIME-WAIT between the same ends: of ended programs of
// this user's, by the server, which has them in its book; and of this program's own, which
// the child leaves with the server first, one each time.
func (c *child) open(m *message.Message) (opened, unix.Errno) {
	o, errno := c.askOpen(m)
	if errno != unix.EADDRNOTAVAIL || m.Local.Port != 0 {
		return o, errno
	}
	c.yielding.Lock() // so that each gives up another one
	defer c.yielding.Unlock()
	for n := 0; n < yieldTries && errno == unix.EADDRNOTAVAIL && c.yield(m.Local.Addr, m.Remote); n++ {
		o, errno = c.askOpen(m)
	}
	return o, errno
}

// askOpen is open without what this program has in TIME-WAIT. A connection that has to follow
// another one of which nothing can be known is given back, and the errno is EADDRNOTAVAIL.
func (c *child) askOpen(m *message.Message) (o opened, errno unix.Errno) {
	ask := message.Message{
		Type: message.Forward, Op: message.OpOpen, Socket: m.Socket, Local: m.Local, Remote: m.Remote, N: message.ForwardFollows,
	}
	r, errno := c.agree(&ask, func(r *message.Message) {
		o.flow = wire.Flow{Local: r.Local, Remote: m.Remote}
		c.record.forward(m.Socket, o.flow, r.Files)
	})
	if errno != 0 {
		return opened{}, errno
	}
	g, ok := message.ForwardGrantOf(r.N)
	o.mtu = uint32(g.MTU)
	for _, w := range c.deviceLeases.cameAlong(func(w *tcp.Remnant) bool { return w.Flow == o.flow }) {
		o.was = &w // of several the last one, which came before this answer
	}
	if !ok || g.Follows && (o.was == nil || !o.was.Restore(new(tcp.Conn), clock()())) {
		c.giveBackUnused(m.Socket, o.flow)
		return opened{}, unix.EADDRNOTAVAIL
	}
	if !g.Follows {
		o.was = nil
	}
	return o, 0
}

// yield leaves a connection with the server that is in TIME-WAIT in this program's segment, and
// reports whether its port may be asked for then, for one to remote: to that end it is in the
// server's book, or if it went elsewhere the kernel has it back.
func (c *child) yield(local wire.Addr, remote wire.Endpoint) bool {
	r, ok := c.bottom.Ripest(local, remote)
	if !ok {
		return false
	}
	gone := c.record.goneFlow(r.Flow)
	if gone == nil || c.leaveTimeWaits([]tcp.Remnant{r}) == 0 {
		return false
	}
	c.wake()
	select {
	case <-gone:
		return true
	case <-c.link.Load().control.Done():
	case <-time.After(serverTimeout):
	}
	return false
}

// clock is the time of all halves' timestamps on this machine.
var clock = sync.OnceValue(half.Clock)
