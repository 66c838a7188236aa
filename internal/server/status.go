package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// mayManage reports whether an application may look at, and end, what is user uid's.
func (a *application) mayManage(uid int) bool {
	return a.uid == 0 || a.uid == os.Geteuid() || a.uid == uid
}

// statusTimeout bounds the time that who asks for the status has to take it, and waits for it
// himself: as long as he has for his first message, so that a machine that has other work does
// not make an end of it.
const statusTimeout = spawnTimeout

// answerStatus writes the server's present state, as JSON, into the pipe that came
// with a Status: of all children for root and the server's own user, of his own for
// another. The errno is 0 or EINVAL.
func (s *Server) answerStatus(app application, m *message.Message) bool {
	r := message.Message{Type: message.GeneralReply, ID: m.ID, N: message.Version}
	if len(m.Files) != 1 || !isPipe(m.Files[0]) || unix.SetNonblock(m.Files[0], true) != nil {
		message.CloseFiles(m.Files)
		r.Errno = uint32(unix.EINVAL)
		_ = app.ch.SendMessage(&r)
		return false
	}
	pipe := os.NewFile(uintptr(m.Files[0]), "status")
	defer pipe.Close()
	if app.ch.SendMessage(&r) != nil {
		return false
	}
	// Who asks again waits until this has been answered: all children have to say
	// something to each.
	if !s.turn(s.polls, app.uid) {
		return false
	}
	snap := s.Snapshot()
	snap.Children = slices.DeleteFunc(snap.Children, func(c ChildInfo) bool { return !app.mayManage(c.UID) })
	snap.Limits.Users = slices.DeleteFunc(snap.Limits.Users, func(u UserInfo) bool { return !app.mayManage(u.UID) })
	s.askSockets(snap.Children)
	pipe.SetWriteDeadline(time.Now().Add(statusTimeout))
	_ = json.NewEncoder(pipe).Encode(snap) // who does not read it does not want it
	return true
}

func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// Status asks the server at a socket for its state.
func Status(ctx context.Context, socket string) (snap Snapshot, err error) {
	ch, err := message.Dial(socket)
	if err != nil {
		return snap, fmt.Errorf("no connection server at %s: %w", socket, err)
	}
	c := message.NewCaller(ch, message.User, message.Server, nil)
	defer c.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return snap, err
	}
	defer r.Close()
	reply, err := c.Call(ctx, &message.Message{Type: message.Status, N: message.Version, Files: []int{int(w.Fd())}})
	w.Close()
	if err == nil && reply.Errno != 0 {
		err = unix.Errno(reply.Errno)
	}
	if err != nil {
		return snap, fmt.Errorf("connection server at %s: %w", socket, err)
	}
	r.SetReadDeadline(time.Now().Add(askTimeout + statusTimeout))
	if err := json.NewDecoder(r).Decode(&snap); err != nil {
		return snap, fmt.Errorf("connection server at %s: its status: %w", socket, err)
	}
	return snap, nil
}
