package server

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// A server that starts where another was killed takes its children over: they
// wait for it at their meeting points, and tell it all that it has to know.
//
//	child                                      new server
//	  ◄── (meeting point) Adopt{channels} ──────────│
//	  ── Keep{user} Keep{ring} Keep{memory} … ─────►│
//	  ── Keep{circuit}… Keep{bind}… Keep{flow}… ───►│
//	  ── Keep{end} ────────────────────────────────►│  ports, flows and streams are taken
//
// All of it happens before the first application is let in, so that nobody else
// gets a port or a stream that is in use.

// adoptChildren takes over all children that are there. It returns the lock on the
// ring id that they have kept, nil if there are none.
func (s *Server) adoptChildren() (*os.File, error) {
	found, err := s.meetings.find()
	var all sync.WaitGroup
	left := make([]*foreign, len(found))
	for i, conn := range found {
		all.Go(func() {
			defer conn.Close()
			ch := message.NewChannel(conn)
			p, err := childAt(ch)
			if err == nil {
				err = s.adoptChild(ch, p)
			}
			if err != nil {
				s.log.Warn("a child of the server before stays without one", "meeting", conn.RemoteAddr(), "err", err)
				left[i] = &foreign{s.meetingVCI(ch).Stream(), p}
			}
		})
	}
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range left {
		if f != nil {
			s.leave(*f)
		}
	}
	return s.formerLock, err
}

// childAt returns the child at the other end of meeting. Who is there was put there by a
// server: nobody else can enter the directory.
func childAt(meeting *message.Channel) (*process, error) {
	pid, _, _, err := meeting.Peer()
	if err != nil {
		return nil, err
	}
	return adopted(pid)
}

// adoptChild takes over the child p, which is at the other end of meeting.
func (s *Server) adoptChild(meeting *message.Channel, p *process) error {
	control, controlEnd, err := message.Pair()
	if err != nil {
		return err
	}
	frames, framesEnd, err := message.Pair()
	if err != nil {
		return errors.Join(err, control.Close(), controlEnd.Close())
	}
	m := message.Message{
		Type: message.Adopt, N: message.Version, Files: []int{int(controlEnd.Fd()), int(framesEnd.Fd())},
	}
	err = meeting.SendMessage(&m)
	controlEnd.Close()
	listed := make(chan struct{})
	c := newChild(s, s.meetingVCI(meeting), application{})
	c.kept.frames, c.kept.listed = framesEnd, listed
	c.attend(p, control)
	if err == nil {
		select {
		case <-listed:
			err = s.admit(c)
		case <-c.control.Load().Done():
			err = c.control.Load().Err()
		case <-time.After(takeOverTimeout):
			err = fmt.Errorf("waited %v for what it keeps", takeOverTimeout)
		}
	}
	if err != nil {
		c.control.Load().Close()
		frames.Close()
		s.ports.release(c.vci)
		s.ledger.close(c)
		c.dropAll()
		return err
	}
	c.tellLimits(control)
	c.start(frames)
	s.counters.adopted.Add(1)
	s.log.Info("child taken over", "vci", c.vci, "child", p.pid, "pid", c.app.pid, "uid", c.app.uid)
	return nil
}

// meetingVCI returns the VCI whose stream names a meeting point; the ring id is
// not known yet.
func (s *Server) meetingVCI(ch *message.Channel) wire.VCI {
	name := ch.RemoteName()
	stream, _ := strconv.Atoi(strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".sock"))
	return wire.NewVCI(0, stream&wire.MaxStream)
}

// adoptItem takes an item of the list of a child that is being taken over. c.mu is
// held.
func (c *child) adoptItem(m *message.Message) {
	k := &c.kept
	switch {
	case m.N == message.KeepUser && len(m.Files) == 2 && k.user == nil:
		c.vci = m.VCI
		c.started = time.Unix(int64(m.Socket), 0)
		k.user = os.NewFile(uintptr(m.Files[0]), "user channel")
		k.meeting = os.NewFile(uintptr(m.Files[1]), "meeting point")
		if cred, err := unix.GetsockoptUcred(m.Files[0], unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			c.app.pid, c.app.uid = int(cred.Pid), int(cred.Uid)
			c.s.ports.enrol(c.vci, c.app.uid)
		}
	case m.N == message.KeepRing && len(m.Files) == 1:
		c.s.takeLock(m.Files[0])
	case m.N == message.KeepBind, m.N == message.KeepFlow, m.N == message.KeepLease:
		if errno := c.s.ports.adopt(c.vci, c.app.uid, m); errno != 0 {
			c.s.log.Error("a child's port or connection is not to be had any more", "vci", c.vci, "local", m.Local, "remote", m.Remote, "err", errno)
		}
	default:
		message.CloseFiles(m.Files)
	}
}

// takeLock keeps the first lock on the ring id that a child brings; all are copies.
func (s *Server) takeLock(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.formerLock != nil {
		unix.Close(fd)
		return
	}
	s.formerLock = os.NewFile(uintptr(fd), "ring lock")
}

// admit makes a child that has told all that it keeps one of the server's.
func (s *Server) admit(c *child) error {
	c.mu.Lock()
	complete := c.kept.user != nil && len(c.kept.memory) > 0
	for _, k := range c.kept.circuits {
		c.peers[k.peer] = true
	}
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	stream := c.vci.Stream()
	switch {
	case !complete:
		return errors.New("it has not told all that it keeps")
	case stream == wire.WellKnownStream || s.children[stream] != nil:
		return fmt.Errorf("its VCI %v is another's", c.vci)
	}
	s.streams.claim(stream)
	s.children[stream] = c
	s.perUID[c.app.uid]++
	return nil
}
