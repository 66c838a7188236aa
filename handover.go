package usertcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/user"
)

// Handed is a socket that goes from one process to another, with what the program
// wants its successor to know of it: what it has read and not yet dealt with, say.
// One of Conn and Listener is set.
type Handed struct {
	Conn     *Conn
	Listener *Listener
	State    []byte // all of one HandOver together: 8 MiB at most
}

// maxStates bounds the states of one HandOver, octets: in the list they grow by a
// third.
const maxStates = 8 << 20

// entry is a Handed as it travels.
type entry struct {
	Index     uint32
	Listens   bool          `json:",omitempty"`
	Deaf      bool          `json:",omitempty"` // CloseRead was called
	KeepAlive time.Duration `json:",omitempty"` // of a Listener, as are
	Options   []Option      `json:",omitempty"`
	State     []byte        `json:",omitempty"`
}

// HandOver offers all the program's sockets by a name to another process of the same
// user, which takes them with TakeOver: a new version of this program, say, started
// already or later, or this process itself after it has called exec. Connections go on
// meanwhile, and nothing is lost: neither what Write has accepted nor what has arrived
// and was not read, nor connections that wait for Accept. If nobody has come after
// wait (a day at most) they end as if the program had ended then.
//
// The calls of the sockets that are in progress end with net.ErrClosed, and so do
// later ones: it is best to have none in progress, since a Read that returns at that
// moment has its octets, and a Write says how many it has written. Sockets of the
// program that are not handed over are closed as if the program had ended. After an
// error that wraps an errno nothing has changed: EADDRINUSE if another program of the
// user's offers by this name and goes on to for two seconds, EINVAL for a socket that is not
// to be handed over. After success the program may use usertcp as if it had just begun.
//
// A program that has taken sockets beside those that it had hands them over by two
// calls: sockets that came from different programs can't go together (EXDEV).
func HandOver(ctx context.Context, name string, wait time.Duration, sockets ...Handed) error {
	return handing(name, sockets, func(s *user.Stack, entries []entry) error {
		list, err := json.Marshal(entries)
		if err != nil {
			return err
		}
		if err := s.HandOver(ctx, name, max(wait, 0), list); err != nil {
			return err
		}
		if i := slices.Index(process.shards, s); i >= 0 {
			process.shards[i] = nil
		}
		process.taken = slices.DeleteFunc(process.taken, func(t *user.Stack) bool { return t == s })
		return nil
	})
}

// handing does something with the stack that the sockets are of, and with what is to be
// said of them. process is locked meanwhile.
func handing(name string, sockets []Handed, do func(*user.Stack, []entry) error) error {
	process.Lock()
	defer process.Unlock()
	s, entries, err := listOf(sockets)
	if err == nil {
		err = do(s, entries)
	}
	if err != nil {
		return fmt.Errorf("usertcp: hand over %q: %w", name, err)
	}
	return nil
}

// listOf returns the stack that the sockets are of, and what is to be said of them.
// process is locked.
func listOf(sockets []Handed) (*user.Stack, []entry, error) {
	var of *user.Stack
	var list []entry
	states := 0
	for _, h := range sockets {
		if (h.Conn == nil) == (h.Listener == nil) {
			return nil, nil, fmt.Errorf("neither a connection nor a listener, or both: %w", syscall.EINVAL)
		}
		if h.Listener != nil && h.Listener.all != nil {
			return nil, nil, fmt.Errorf("a listener in several shards: %w", syscall.EXDEV)
		}
		e, sock := h.entry()
		s := stackOf(sock)
		switch {
		case s == nil:
			return nil, nil, fmt.Errorf("a socket that has been handed over: %w", syscall.EINVAL)
		case of != nil && of != s:
			return nil, nil, fmt.Errorf("sockets of different shards, or that came from different programs: %w", syscall.EXDEV)
		case slices.ContainsFunc(list, func(o entry) bool { return o.Index == e.Index }):
			return nil, nil, fmt.Errorf("a socket twice: %w", syscall.EINVAL)
		}
		if states += len(h.State); states > maxStates {
			return nil, nil, fmt.Errorf("states of more than %d octets: %w", maxStates, syscall.EMSGSIZE)
		}
		of, list = s, append(list, e)
	}
	if of == nil {
		return nil, nil, fmt.Errorf("no sockets: %w", syscall.EINVAL)
	}
	return of, list, nil
}

func (h *Handed) entry() (entry, *half.Socket) {
	if l := h.Listener; l != nil {
		return entry{Index: l.sock.Index(), Listens: true, KeepAlive: l.keepAlive, Options: l.options, State: h.State}, l.sock
	}
	s := h.Conn.sock
	return entry{Index: s.Index(), Deaf: s.Deaf(), State: h.State}, s
}

// stackOf returns the stack of a socket, nil if the program has it no more. process
// is locked.
func stackOf(sock *half.Socket) *user.Stack {
	for _, s := range slices.Concat(process.shards, process.taken) {
		if s != nil && s.Owns(sock) {
			return s
		}
	}
	return nil
}

// TakeOver takes the sockets that another process of the same user has offered by a
// name, in the order in which it named them, and waits for them until ctx ends, for
// ten seconds if ctx has no deadline. Nobody else gets them then. Options of the
// sockets stay; deadlines are not set. errors.Is finds EPERM if only another user
// offers by this name, and ENOENT if nobody does until ctx ends. A socket that was
// closed while it was handed over is not there.
func TakeOver(ctx context.Context, name string) ([]Handed, error) {
	fail := func(err error) ([]Handed, error) { return nil, fmt.Errorf("usertcp: take over %q: %w", name, err) }
	s, list, err := user.TakeOver(ctx, ServerPath(), name)
	if err != nil {
		return fail(err)
	}
	var entries []entry
	if err := json.Unmarshal(list, &entries); err != nil {
		return fail(errors.Join(err, s.Close()))
	}
	var taken []Handed
	for _, e := range entries {
		if h, ok := e.take(s); ok {
			taken = append(taken, h)
		}
	}
	s.Settle()
	process.Lock()
	defer process.Unlock()
	if !adoptShard(s) {
		process.taken = append(process.taken, s)
		hasTaken.Store(true)
	}
	return taken, nil
}

// adoptShard makes a stack that was taken over the program's own, if it has none yet.
// process is locked.
func adoptShard(s *user.Stack) bool {
	if makeShards() != nil { // Dial says what is wrong
		return false
	}
	if first := process.shards[0]; first != nil && first.Alive() {
		return false
	}
	process.shards[0] = s
	return true
}

// take makes a socket of what was said of it.
func (e *entry) take(s *user.Stack) (Handed, bool) {
	sock, err := s.Take(e.Index)
	if err != nil {
		return Handed{}, false
	}
	h := Handed{State: e.State}
	if e.Listens {
		at := sock.Flow().Local
		h.Listener = &Listener{sock: sock, addr: tcpAddr(at), keepAlive: e.KeepAlive, options: e.Options}
		return h, true
	}
	if e.Deaf {
		sock.SetDeaf()
	}
	h.Conn = newConn(sock)
	return h, true
}
