package half

import (
	"syscall"
	"time"

	"usertcp/internal/shm"
)

// Leave ends this process's use of the segment, so that another process can be its
// top half: when it returns nothing of this process looks at the segment any more,
// and it may be unmapped. Calls in progress end with os.ErrClosed, as do those that
// come later, which find void, a fresh segment of nobody's, in its place.
func (t *Top) Leave(void Config) error {
	t.enter()
	t.closed = true
	var sockets []*Socket
	for _, s := range t.sockets {
		if s != nil {
			sockets = append(sockets, s)
			s.turnOut()
		}
	}
	t.poke()
	t.leave()
	t.watch.Stop()
	t.alarm.Stop()
	for _, s := range sockets {
		s.forsake()
	}
	t.enter()
	for t.leading { // the watchdog, which sees that it is to end
		t.leave()
		time.Sleep(100 * time.Microsecond)
		t.enter()
	}
	return t.exchange(void)
}

// turnOut ends the calls that are in progress.
func (s *Socket) turnOut() {
	s.closing = true
	s.t.signal(&s.rd)
	s.t.signal(&s.wr)
	s.t.signal(&s.ur)
}

// forsake waits until nobody is in a call of the socket's; there will be none any
// more, and Close has nothing to do.
func (s *Socket) forsake() {
	s.done.Do(func() {})
	for _, m := range []interface {
		Lock()
		Unlock()
	}{&s.rmu, &s.wmu, &s.umu} {
		m.Lock()
		defer m.Unlock()
	}
	t := s.t
	t.enter()
	for _, w := range []*waiter{&s.rd, &s.wr, &s.ur} {
		w.setDeadline(t, time.Time{})
	}
	t.leave()
}

// exchange puts void in the place of the segment. It is called with the lock and
// gives it back.
func (t *Top) exchange(void Config) error {
	t.ctl.leader.Store(0)
	t.flush()
	t.mails.stop()
	r := t.takeRings()
	t.lock.Unlock()
	err := t.init(void, shm.TopHalf)
	t.sockets, t.fetch = nil, nil
	t.unlock(&r)
	if e := t.file.Close(); err == nil {
		err = e
	}
	return err
}

// Take returns socket i, which the process before this one has had. It returns EBADF
// if there is none, or it has been taken.
func (t *Top) Take(i uint32) (*Socket, error) {
	t.enter()
	defer t.leave()
	if i >= MaxConns || t.aux[i].use != useProgram || int(i) < len(t.sockets) && t.sockets[i] != nil {
		return nil, syscall.EBADF
	}
	return t.socket(i), nil
}

// Settle closes what the process before this one has had and this one has not
// taken, and begins to look after the rest.
func (t *Top) Settle() {
	t.enter()
	defer t.leave()
	t.now = t.clock()
	for i := range min(t.ctl.conns.Fresh, MaxConns) {
		if t.aux[i].use == useProgram && (int(i) >= len(t.sockets) || t.sockets[i] == nil) {
			t.closeSocket(i)
		}
	}
	t.settle()
	if !t.leading {
		t.step()
		t.unattended()
	}
}

// Deaf reports whether CloseRead was called: the segment does not know it.
func (s *Socket) Deaf() bool {
	s.t.enter()
	defer s.t.leave()
	return s.deaf
}

// SetDeaf makes the socket as one whose CloseRead was called.
func (s *Socket) SetDeaf() {
	s.t.enter()
	s.deaf = true
	s.t.leave()
}

// Of reports whether t is the socket's top half.
func (s *Socket) Of(t *Top) bool { return s.t == t }
