package usertcp

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/user"
)

// HandOverSome is HandOver for some of the program's sockets, which keeps the rest and
// goes on with them. What lies in the buffers goes along, and so do the connections
// that wait for Accept at a listener; connections that it has accepted stay unless
// they are named. Until somebody takes them, and at most for wait, it is as for HandOver.
//
// The sockets get a child of their own, so that it is better to hand over many by one
// call than each by its own. errors.Is finds ENOBUFS if more octets lie in their
// buffers than one pool has room for, about 28 MiB; then, and after other errors that
// wrap an errno, nothing has changed. Otherwise it is as for HandOver.
func HandOverSome(ctx context.Context, name string, wait time.Duration, sockets ...Handed) error {
	return handing(name, sockets, func(s *user.Stack, entries []entry) error {
		defer endEmpty()
		return s.HandOverSome(ctx, name, max(wait, 0), partsOf(sockets), func(indices []uint32) ([]byte, error) {
			for i := range entries {
				entries[i].Index = indices[i]
			}
			return json.Marshal(entries)
		})
	})
}

// partsOf returns the sockets as the stack knows them.
func partsOf(sockets []Handed) []user.Part {
	parts := make([]user.Part, len(sockets))
	for i, h := range sockets {
		_, parts[i].Socket = h.entry()
		parts[i].Listens = h.Listener != nil
	}
	return parts
}

// HandOver hands this connection over, and none of the program's other sockets, with a
// state for who takes it: see HandOverSome.
func (c *Conn) HandOver(ctx context.Context, name string, wait time.Duration, state []byte) error {
	return HandOverSome(ctx, name, wait, Handed{Conn: c, State: state})
}

// HandOver hands this listener over, with the connections that wait for Accept, and
// none of the program's other sockets: see HandOverSome.
func (l *Listener) HandOver(ctx context.Context, name string, wait time.Duration, state []byte) error {
	return HandOverSome(ctx, name, wait, Handed{Listener: l, State: state})
}

// hasTaken says that there may be stacks whose sockets came from other processes.
var hasTaken atomic.Bool

// closeSocket closes a socket, and ends the stack that it came with if it was the last.
func closeSocket(sock *half.Socket) error {
	err := sock.Close()
	if hasTaken.Load() {
		process.Lock()
		endEmpty()
		process.Unlock()
	}
	return err
}

// endEmpty ends stacks that came from other processes and have no sockets any more:
// new ones are made in the program's own. process is locked.
func endEmpty() {
	process.taken = slices.DeleteFunc(process.taken, func(s *user.Stack) bool {
		if !s.Empty() {
			return false
		}
		_ = s.Close() // what it is at goes on in its child
		return true
	})
	hasTaken.Store(len(process.taken) > 0)
}
