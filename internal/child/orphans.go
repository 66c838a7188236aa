package child

import (
	"encoding/json"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// showTimeout is how long the server has to read the list of sockets.
const showTimeout = time.Second

// maxAsked is how many of the server's questions are answered at once; others get no
// answer.
const maxAsked = 4

// answer answers a question of the server's about what this child has, in a goroutine of
// its own: the segment may be locked for a while, and the server has other things to say.
func (c *child) answer(m *message.Message) {
	select {
	case <-c.began:
	default:
		message.CloseFiles(m.Files)
		return
	}
	select {
	case c.asked <- struct{}{}:
	default:
		message.CloseFiles(m.Files)
		return
	}
	q := *m // valid for longer than m
	go func() {
		defer func() { <-c.asked }()
		if q.Type == message.End {
			c.endOrphans(&q)
		} else {
			c.showSockets(&q)
		}
	}()
}

// showSockets writes the list of connections and listeners into the pipe that came.
func (c *child) showSockets(m *message.Message) {
	if len(m.Files) != 1 || unix.SetNonblock(m.Files[0], true) != nil {
		message.CloseFiles(m.Files)
		return
	}
	pipe := os.NewFile(uintptr(m.Files[0]), "sockets")
	defer pipe.Close()
	pipe.SetWriteDeadline(time.Now().Add(showTimeout))
	var l message.SocketList
	var all []half.SocketInfo
	all, l.More, l.Orphans, l.Killed = c.bottom.Sockets(message.MaxSockets)
	for _, s := range all {
		l.Sockets = append(l.Sockets, message.SocketInfo{
			Local: s.Flow.Local.Netip(), Remote: s.Flow.Remote.Netip(), State: s.State.String(),
			Unread: s.Unread, Unsent: s.Unsent, Age: s.Age, Orphan: s.Orphan,
		})
	}
	l.Work = work(c.bottom.Work())
	_ = json.NewEncoder(pipe).Encode(&l) // a server that has gone does not want it
}

// endOrphans ends the orphan that a message names, or all if it names none. The errno is
// 0, or EBUSY for a connection that is none.
func (c *child) endOrphans(m *message.Message) {
	flow := &wire.Flow{Local: m.Local, Remote: m.Remote}
	if *flow == (wire.Flow{}) {
		flow = nil
	}
	r := message.Message{Type: message.GeneralReply, ID: m.ID}
	n, err := c.bottom.EndOrphans(flow)
	if err != nil {
		r.Errno = uint32(unix.EBUSY)
	}
	r.N = uint32(n)
	c.tell(r)
	c.wake()
}

// work puts what a pool's halves have done into the words of a message.
func work(w half.Work) message.PoolWork {
	m := message.PoolWork{
		Scripts: w.Scripts, Crossings: w.Crossings, Copied: w.Copied, Placed: w.Placed, Missed: w.Missed,
		Hits: w.Cache.Hits, Misses: w.Cache.Misses, Flushes: w.Cache.Flushes,
		Operations: map[string]uint64{},
	}
	for k, n := range w.Operations {
		m.Operations[pool.Kind(k).String()] = n
	}
	return m
}
