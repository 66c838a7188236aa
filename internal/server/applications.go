package server

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// accept takes applications, until the listener is closed.
func (s *Server) accept() {
	for {
		conn, err := s.lis.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, say: others may give some back
			s.log.Warn("accepting an application", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		ch := message.NewChannel(conn)
		if !s.addApplication(ch) {
			s.counters.refused.Add(1)
			ch.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.removeApplication(ch)
			s.serveApplication(ch)
		})
	}
}

// addApplication finds room for a connection to the socket. Each user has room for as
// many as he may have programs and a few more, so that he can't take all there is.
func (s *Server) addApplication(ch *message.Channel) bool {
	_, uid, _, err := ch.Peer()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.isStopping() || len(s.apps) >= maxApplications || !s.roomFor(uid) {
		return false
	}
	s.apps[ch] = uid
	return true
}

// roomFor reports whether a user may have one more connection to the socket. s.mu is
// held.
func (s *Server) roomFor(uid int) bool {
	n := 0
	for _, u := range s.apps {
		if u == uid {
			n++
		}
	}
	return uid == 0 || n < s.cfg.MaxChildren+spareApplications
}

func (s *Server) removeApplication(ch *message.Channel) {
	ch.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.apps, ch)
}

func (s *Server) closeApplications() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.apps {
		ch.Close()
	}
}

// application is whom a child is spawned for, as the kernel knows it.
type application struct {
	ch       *message.Channel
	pid, uid int
}

// serveApplication answers an application's one request, Spawn (or others' for the
// server's state), and then waits
// for its end, which the child sees on its own channel.
func (s *Server) serveApplication(ch *message.Channel) {
	pid, uid, _, err := ch.Peer()
	if err != nil {
		return
	}
	app := application{ch: ch, pid: pid, uid: uid}
	log := s.log.With("pid", pid, "uid", uid)
	ch.SetDeadline(time.Now().Add(spawnTimeout))
	for {
		var m message.Message
		err := ch.RecvMessage(&m, message.User, message.Server)
		var ve *message.VersionError
		switch {
		case errors.Is(err, io.EOF):
			log.Info("the application has gone")
			return
		case errors.As(err, &ve):
			log.Warn("the application speaks another version", "err", err)
			s.refuse(ch, m.ID, unix.EPROTONOSUPPORT)
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			log.Warn("the application has not asked for a child", "waited", spawnTimeout)
			return
		case err != nil:
			s.counters.badApplication.Add(1)
			log.Warn("garbage from the application", "err", err)
			return
		}
		if !s.turn(s.messages, uid) {
			message.CloseFiles(m.Files)
			return
		}
		if m.Type == message.Status {
			if !s.answerStatus(app, &m) {
				return
			}
			continue
		}
		if !s.answer(app, &m) {
			return
		}
	}
}

// answer does what an application asks for, and reports whether its channel stays
// open.
func (s *Server) answer(app application, m *message.Message) bool {
	switch m.Type {
	case message.Spawn:
		app.ch.SetDeadline(time.Time{})
		return s.answerSpawn(app, m)
	case message.TakeOver:
		app.ch.SetDeadline(time.Now().Add(spawnTimeout)) // who finds nothing asks again
		return s.answerTakeOver(app, m)
	case message.End:
		return s.answerEnd(app, m)
	}
	message.CloseFiles(m.Files)
	s.counters.badApplication.Add(1)
	return false
}

// answerSpawn starts a child. The reply carries the child's VCI, or the errno;
// the child itself sends Init_Reply to the application. The result says whether
// there is a child that the channel stays open for.
func (s *Server) answerSpawn(app application, m *message.Message) bool {
	c, errno := s.spawn(app, m)
	message.CloseFiles(m.Files)
	if errno != 0 {
		s.log.Warn("no child for the application", "pid", app.pid, "err", errno)
		s.refuse(app.ch, m.ID, errno)
		return false
	}
	s.log.Info("child started", "vci", c.vci, "child", c.pid(), "pid", app.pid, "uid", app.uid)
	reply := message.Message{Type: message.GeneralReply, ID: m.ID, VCI: c.vci, N: message.Version, Socket: uint32(c.pid())}
	return app.ch.SendMessage(&reply) == nil
}

func (s *Server) refuse(ch *message.Channel, id uint32, errno unix.Errno) {
	s.counters.refused.Add(1)
	ch.SendMessage(&message.Message{
		Type: message.GeneralReply, ID: id, Errno: uint32(errno), N: message.Version,
	}) // if that fails, the application has gone
}
