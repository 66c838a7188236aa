package server

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// spawn starts the child that an application has asked for. The errno is 0 or
// EPROTONOSUPPORT (another version), EINVAL (no channel for the child, or one
// that is none), EALREADY (it has a child), EMFILE, ENFILE (too many children),
// ENOBUFS (the user has all the memory that he may have), ESHUTDOWN, EAGAIN (the process could not be started).
func (s *Server) spawn(app application, m *message.Message) (*child, unix.Errno) {
	switch {
	case m.N != message.Version:
		return nil, unix.EPROTONOSUPPORT
	case len(m.Files) != 1 || !isSeqpacket(m.Files[0]):
		return nil, unix.EINVAL
	}
	c, errno := s.addChild(app)
	if errno != 0 {
		return nil, errno
	}
	if err := s.startChild(c, m.Files[0]); err != nil {
		s.log.Error("starting a child", "err", err)
		s.forgetChild(c)
		close(c.gone)
		return nil, unix.EAGAIN
	}
	s.counters.spawned.Add(1)
	return c, 0
}

func isSeqpacket(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	typ, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return errors.Join(err, err2) == nil && domain == unix.AF_UNIX && typ == unix.SOCK_SEQPACKET
}

// addChild finds room for a child.
func (s *Server) addChild(app application) (*child, unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopping() {
		return nil, unix.ESHUTDOWN
	}
	for _, c := range s.children {
		if c.owner().ch == app.ch {
			return nil, unix.EALREADY
		}
	}
	if app.uid != 0 && s.perUID[app.uid] >= s.cfg.MaxChildren {
		return nil, unix.EMFILE
	}
	if s.ledger.tooMuchMemory(app.uid) {
		return nil, unix.ENOBUFS
	}
	if len(s.children) >= maxChildren {
		return nil, unix.ENFILE
	}
	stream, ok := s.streams.take()
	if !ok {
		panic("BUG: fewer children than streams, and yet no stream is free")
	}
	c := newChild(s, wire.NewVCI(s.RingID(), stream), app)
	s.children[stream] = c
	s.perUID[app.uid]++
	s.ports.enrol(c.vci, app.uid)
	return c, 0
}

// forgetChild undoes addChild, and gives back all that the child had.
func (s *Server) forgetChild(c *child) {
	c.closePool() // or the kernel, which has its ports back then, would not hear from them
	s.ports.release(c.vci)
	s.ledger.close(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.children, c.vci.Stream())
	s.streams.give(c.vci.Stream())
	if s.perUID[c.app.uid]--; s.perUID[c.app.uid] == 0 {
		delete(s.perUID, c.app.uid)
	}
}

// startChild starts the first process, with user as its channel to the application.
func (s *Server) startChild(c *child, user int) (err error) {
	control, controlEnd, err := message.Pair()
	if err != nil {
		return err
	}
	defer controlEnd.Close()
	frames, framesEnd, err := message.Pair()
	if err != nil {
		return errors.Join(err, control.Close())
	}
	c.kept.frames = framesEnd
	defer func() {
		if err != nil {
			err = errors.Join(err, control.Close(), frames.Close())
			s.meetings.remove(c.vci)
			c.dropAll()
		}
	}()
	if c.kept.user, err = dupFile(user, "user channel"); err != nil {
		return err
	}
	if c.kept.meeting, err = s.meetings.make(c.vci); err != nil {
		return err
	}
	if err := c.makePool(); err != nil {
		return err
	}
	cmd, err := s.cfg.Spawn(SpawnArgs{
		VCI: c.vci, Addrs: s.cfg.Addrs, CRC: s.cfg.CRC, Pools: s.cfg.Pools, Stderr: s.cfg.Stderr, TAP: c.tap(),
		Files: [4]*os.File{controlEnd, framesEnd, c.kept.user, c.kept.meeting},
	})
	if err != nil {
		return err
	}
	for _, m := range s.ringLock() {
		_ = control.SendMessage(&m) // if that fails it has ended already
	}
	c.attend(ours(cmd), control)
	c.tellLimits(control)
	c.start(frames)
	return nil
}
