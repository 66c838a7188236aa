package half

import (
	"errors"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// SocketInfo is a connection or a listener as those see it who look at a host from
// outside.
type SocketInfo struct {
	Flow   wire.Flow
	State  tcp.State
	Unread uint32 // octets; of a listener: connections to be accepted
	Unsent uint32 // octets that the peer has not acknowledged; of a listener: its backlog
	Age    uint32 // s
	Orphan bool   // the program has closed it, or has ended
}

// Sockets returns up to limit of the connections and listeners that there are, how many
// more there are, how many of all are orphans, and how many of those were ended by name.
func (b *Bottom) Sockets(limit int) (list []SocketInfo, more, orphans int, killed uint64) {
	b.Change(func() {
		killed = b.ctl.Counters.OrphansKilled
		for i := range min(b.ctl.conns.Fresh, MaxConns) {
			if !b.showable(i) {
				continue
			}
			if b.aux[i].use == useOrphan {
				orphans++
			}
			if len(list) == limit {
				more++
			} else {
				list = append(list, b.socketInfo(i))
			}
		}
	})
	return list, more, orphans, killed
}

// showable reports whether slot i has a connection or listener, and not only a socket
// that is neither yet.
func (b *Bottom) showable(i uint32) bool {
	use := b.aux[i].use
	return use != useFree && use != useDone && b.conns[i].State != tcp.Closed
}

func (b *Bottom) socketInfo(i uint32) SocketInfo {
	c, a := &b.conns[i], &b.aux[i]
	s := SocketInfo{
		Flow: c.Flow, State: c.State, Unsent: c.Unacknowledged(),
		Age: uint32(b.now/tcp.Second) - a.born, Orphan: a.use == useOrphan,
	}
	s.Unread, _ = c.Readable()
	if c.State == tcp.Listen {
		s.Unread, s.Unsent = a.acceptCount, a.backlog
	}
	return s
}

// ErrNoOrphan is why a connection is not ended: the program that has it lives.
var ErrNoOrphan = errors.New("the connection is no orphan")

// EndOrphans ends the orphan with a flow, or all orphans if flow is nil, and returns how
// many there were. Their peers get RST. TIME-WAITs stay: nobody has to do with them any
// more, and RFC 1337 says what they are for.
func (b *Bottom) EndOrphans(flow *wire.Flow) (n int, err error) {
	b.Change(func() {
		for i := range min(b.ctl.conns.Fresh, MaxConns) {
			c := &b.conns[i]
			if !b.showable(i) || c.State == tcp.TimeWait || flow != nil && c.Flow != *flow {
				continue
			}
			if b.aux[i].use != useOrphan {
				if flow != nil {
					err = ErrNoOrphan
				}
				continue
			}
			b.abort(i)
			b.ctl.Counters.OrphansKilled++
			n++
		}
	})
	return n, err
}
