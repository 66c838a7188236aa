package half

import (
	"os"
	"syscall"
)

// TryAccept is Accept that does not wait: EAGAIN if there is no connection.
func (s *Socket) TryAccept() (*Socket, error) {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing { // its slot may be another connection's by now
		return nil, os.ErrClosed
	}
	if err := t.deserted(); err != nil {
		return nil, err
	}
	i := t.accept(s.i)
	if i == none {
		return nil, syscall.EAGAIN
	}
	return t.socket(i), nil
}

// AwaitAccept waits until there is a connection for Accept, or none can come.
func (s *Socket) AwaitAccept() error {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.t.enter()
	defer s.t.leave()
	return s.awaitAccept()
}

// awaitAccept is AwaitAccept for who has the lock.
func (s *Socket) awaitAccept() error {
	t := s.t
	t.drive()
	la := &t.aux[s.i]
	if err := t.wait(&s.rd, func() bool { return la.acceptHead != 0 || t.abandoned }); err != nil {
		return err
	}
	return t.deserted()
}
