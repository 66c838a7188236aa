package server

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// askTimeout bounds the time that a child has to say what it has: its program may be
// stopped with the segment's lock.
const askTimeout = 1500 * time.Millisecond

// askSockets has the children say what connections and listeners they have. The server
// maps no segment. One that does not answer in time is left out.
func (s *Server) askSockets(children []ChildInfo) {
	var all sync.WaitGroup
	for i := range children {
		c := s.child(children[i].VCI)
		if c == nil {
			continue
		}
		all.Go(func() {
			if l, err := c.sockets(); err == nil {
				children[i].Sockets = &l
			} else {
				s.log.Warn("a child does not say what it has", "vci", c.vci, "err", err)
			}
		})
	}
	all.Wait()
}

// sockets asks a child what it has.
func (c *child) sockets() (message.SocketList, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return message.SocketList{}, err
	}
	defer r.Close()
	err = c.channel().SendMessage(&message.Message{Type: message.Sockets, Files: []int{int(w.Fd())}})
	w.Close()
	if err != nil {
		return message.SocketList{}, err
	}
	r.SetReadDeadline(time.Now().Add(askTimeout))
	return message.ReadSocketList(r)
}

// answerEnd ends orphans for an application: root's and the server's own user may end all,
// others their own. The errno is 0, EBUSY if what was named is no orphan, or ESRCH.
func (s *Server) answerEnd(app application, m *message.Message) bool {
	r := message.Message{Type: message.GeneralReply, ID: m.ID}
	if !s.turn(s.polls, app.uid) {
		return false
	}
	if n, errno := s.endOrphans(app, m); n > 0 {
		r.N = uint32(n)
		s.counters.killed.Add(uint64(n))
		s.log.Info("orphans ended", "pid", app.pid, "uid", app.uid, "local", m.Local, "remote", m.Remote, "child", m.Socket, "orphans", n)
	} else {
		r.Errno = uint32(errno)
	}
	return app.ch.SendMessage(&r) == nil
}

func (s *Server) endOrphans(app application, m *message.Message) (n int, errno unix.Errno) {
	named := wire.Flow{Local: m.Local, Remote: m.Remote} != wire.Flow{}
	if named == (m.Socket != 0) {
		return 0, unix.EINVAL // one of both
	}
	var ended, busy atomic.Int64
	var all sync.WaitGroup
	for _, k := range s.Snapshot().Children {
		c := s.child(k.VCI)
		if c == nil || !app.mayManage(k.UID) || !named && k.PID != int(m.Socket) {
			continue
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
			defer cancel()
			r, err := c.control.Load().Call(ctx, &message.Message{Type: message.End, Local: m.Local, Remote: m.Remote})
			if err == nil && r.Errno == 0 {
				ended.Add(int64(r.N))
			} else if err == nil && unix.Errno(r.Errno) == unix.EBUSY {
				busy.Add(1)
			}
		})
	}
	all.Wait()
	if busy.Load() > 0 {
		return int(ended.Load()), unix.EBUSY
	}
	return int(ended.Load()), unix.ESRCH
}

// EndOrphan asks the server at a socket to end the orphan with a flow: its peer gets RST.
func EndOrphan(ctx context.Context, socket string, flow wire.Flow) error {
	_, err := end(ctx, socket, &message.Message{Local: flow.Local, Remote: flow.Remote})
	return err
}

// EndOrphansOf asks the server at a socket to end all orphans of the child with a process
// id, and returns how many there were.
func EndOrphansOf(ctx context.Context, socket string, child int) (int, error) {
	return end(ctx, socket, &message.Message{Socket: uint32(child)})
}

func end(ctx context.Context, socket string, m *message.Message) (int, error) {
	ch, err := message.Dial(socket)
	if err != nil {
		return 0, fmt.Errorf("no connection server at %s: %w", socket, err)
	}
	c := message.NewCaller(ch, message.User, message.Server, nil)
	defer c.Close()
	m.Type = message.End
	r, err := c.Call(ctx, m)
	switch {
	case err != nil:
		return 0, fmt.Errorf("connection server at %s: %w", socket, err)
	case unix.Errno(r.Errno) == unix.ESRCH:
		return 0, fmt.Errorf("no such orphan, or none of yours: %w", unix.ESRCH)
	case unix.Errno(r.Errno) == unix.EBUSY:
		return 0, fmt.Errorf("it is no orphan, its program lives: %w", unix.EBUSY)
	case r.Errno != 0:
		return 0, unix.Errno(r.Errno)
	}
	return int(r.N), nil
}
