package half

import (
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Socket is a connection or a listener as the application's goroutines use it.
// Its methods may be called by any number of them; errors are errno values,
// io.EOF, os.ErrClosed and os.ErrDeadlineExceeded.
type Socket struct {
	t       *Top
	i       uint32
	rd, wr  waiter
	ur      waiter     // for urgent data
	rmu     sync.Mutex // one reader at a time
	wmu     sync.Mutex // one writer at a time
	umu     sync.Mutex // one reader of urgent data at a time
	closing bool       // guarded by the top half's lock
	deaf    bool       // CloseRead was called; guarded by the same
	done    sync.Once
}

// Open makes a socket.
func (t *Top) Open() (*Socket, error) {
	t.enter()
	defer t.leave()
	if t.closed {
		return nil, os.ErrClosed
	}
	t.now = t.clock() // the socket's age begins
	i := t.open()
	if i == none {
		return nil, ErrNoSockets
	}
	return t.socket(i), nil
}

func (t *Top) socket(i uint32) *Socket {
	s := &Socket{t: t, i: i}
	s.rd.init(s)
	s.wr.init(s)
	s.ur.init(s)
	for int(i) >= len(t.sockets) {
		t.sockets = append(t.sockets, nil)
	}
	t.sockets[i] = s
	return s
}

// Index returns the connection's index in the segment.
func (s *Socket) Index() uint32 { return s.i }

// Options changes the socket's options.
func (s *Socket) Options(change func(*tcp.ConnOptions)) error {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return os.ErrClosed
	}
	t.now = t.clock()
	c := t.begin(s.i)
	change(&c.Opt)
	c.OptionsChanged(t.now)
	t.commit(s.i)
	t.settle()
	return nil
}

// RouteMTU says how long a packet to the peer may be, in octets, since the host's routes
// have changed.
func (s *Socket) RouteMTU(octets uint32) {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return
	}
	t.now = t.clock()
	t.begin(s.i).RouteMTU(&t.mem, t.now, octets)
	t.commit(s.i)
	t.settle()
}

// Flow returns both ends of the connection.
func (s *Socket) Flow() wire.Flow {
	s.t.enter()
	defer s.t.leave()
	return s.t.conns[s.i].Flow
}

// Listen makes the socket a listener; the connection server has been told.
func (s *Socket) Listen(local wire.Endpoint, backlog int) {
	s.t.enter()
	s.t.listen(s.i, local, uint32(backlog))
	s.t.settle()
	s.t.leave()
}

// Connected waits until the active open that the bottom half has begun is
// complete, or has failed.
func (s *Socket) Connected() error {
	t := s.t
	t.enter()
	defer t.leave()
	t.drive()
	c := &t.conns[s.i]
	err := t.wait(&s.wr, func() bool { return c.State >= tcp.Established || c.State == tcp.Closed || c.FastHeld() })
	if err != nil {
		return err
	}
	return s.failure()
}

// failure returns why the connection has ended, if it has.
func (s *Socket) failure() error {
	switch s.t.conns[s.i].Error {
	case tcp.ErrNone:
		return nil
	case tcp.ErrRefused:
		return syscall.ECONNREFUSED
	case tcp.ErrReset:
		return syscall.ECONNRESET
	case tcp.ErrTimeout:
		return syscall.ETIMEDOUT
	case tcp.ErrAborted:
		return syscall.ECONNABORTED
	case tcp.ErrUnreachable:
		return syscall.EHOSTUNREACH
	case tcp.ErrNetUnreachable:
		return syscall.ENETUNREACH
	case tcp.ErrProhibited:
		return syscall.EACCES
	}
	return syscall.EIO
}

// Accept waits for a connection.
func (s *Socket) Accept() (*Socket, error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	t := s.t
	t.enter()
	defer t.leave()
	if err := s.awaitAccept(); err != nil {
		return nil, err
	}
	return t.socket(t.accept(s.i)), nil
}

// small is the length up to which octets are copied under the lock: to give it
// back and take it again would cost more.
const small = 2048

// Read reads what has arrived, at least one octet unless p is empty.
func (s *Socket) Read(p []byte) (int, error) { return s.receive(p, true) }

// Peek reads as Read does, and leaves what it has read for the next: MSG_PEEK of
// the kernel.
func (s *Socket) Peek(p []byte) (int, error) { return s.receive(p, false) }

// receive is Read, or if it does not take what it reads, Peek.
func (s *Socket) receive(p []byte, take bool) (int, error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	t := s.t
	t.enter()
	o := &s.rd.order
	if take {
		o.into, o.n = p, 0
	}
	if !t.drain(s.i, p) {
		t.drive()
	}
	s.share(&s.rd)
	c := &t.conns[s.i]
	var have uint32
	var fin bool
	err := t.wait(&s.rd, func() bool {
		have, fin = t.readable(s.i)
		return take && o.n > 0 || have > 0 && int(have) >= min(int(c.Opt.RcvLowat), len(p)) || fin || s.deaf || c.State == tcp.Closed
	})
	if err == errServed {
		return o.n, nil
	}
	if o.into = nil; take && o.n > 0 {
		t.leave()
		return o.n, nil
	}
	if err != nil || have == 0 || len(p) == 0 {
		if err == nil && have == 0 {
			err = s.end(fin || s.deaf)
		}
		t.leave()
		return 0, err
	}
	t.ensure(s.i)
	switch {
	case s.closing:
		t.leave()
		return 0, os.ErrClosed
	case !t.legible(s.i):
		t.leave()
		return 0, syscall.EIO
	}
	return s.read(p[:min(len(p), int(have))], take), nil
}

// end is what Read returns when there is nothing left to read.
func (s *Socket) end(fin bool) error {
	if err := s.failure(); err != nil && !fin {
		return err
	}
	return io.EOF
}

// read copies from the receive queue, and takes what it has copied. It is called
// with the lock and gives it back.
func (s *Socket) read(p []byte, take bool) int {
	t := s.t
	script := t.copies()
	n := t.peek(s.i, p, script)
	if n > small {
		t.leave()
	}
	script.Copy()
	if n > small {
		t.enter()
	}
	t.copied(script, pool.OpCopyOut)
	if take && t.deserted() == nil {
		t.consume(s.i, n)
		t.settle()
	}
	t.leave()
	return n
}

// Write sends p: when it returns, all of it lies in the segment.
func (s *Socket) Write(p []byte) (int, error) { return s.writeAll(p, written) }

// WriteMore sends p and says that more comes: MSG_MORE of the kernel. What fills no
// segment waits for it, but not for long.
func (s *Socket) WriteMore(p []byte) (int, error) { return s.writeAll(p, writtenMore) }

// manner is what a Write says of its octets.
type manner uint8

const (
	written       manner = iota
	writtenMore          // more comes
	writtenUrgent        // the last one is urgent
)

// writeAll sends p.
func (s *Socket) writeAll(p []byte, how manner) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	done := 0
	for {
		n, err := s.write(p[done:], how)
		if done += n; err != nil || done == len(p) {
			return done, err
		}
	}
}

// writeMax bounds what is copied in before it is sent, so that the peer can
// begin while we go on.
const writeMax = 64 << 10

// write sends the first part of p.
func (s *Socket) write(p []byte, how manner) (int, error) {
	t := s.t
	var r reservation
	t.enter()
	t.driveAfter(t.lookFor(s.i, len(p)))
	s.share(&s.wr)
	t.ensure(s.i) // without, what is written goes by our own buffers
	if s.closing {
		t.leave()
		return 0, os.ErrClosed
	}
	c := &t.conns[s.i] // under the lock: the segment may be handed over, and another be there
	if s.wr.expired() {
		t.leave()
		return 0, os.ErrDeadlineExceeded
	}
	want := min(len(p), writeMax)
	if err := s.writable(); err != nil || want == 0 {
		t.leave()
		return 0, err
	}
	if t.reserve(s.i, want, &r) == 0 {
		s.lacksSpace()
		err := t.wait(&s.wr, func() bool {
			// Asked more than once: what is reserved stays reserved.
			if r.n > 0 || s.writable() != nil || c.Writable() && t.reserve(s.i, want, &r) > 0 {
				return true
			}
			if c.SendSpace() > 0 {
				t.starve(s.i)
			}
			return false
		})
		if err == nil && r.n == 0 {
			err = s.writable()
		}
		if err != nil {
			t.cancel(&r)
			t.leave()
			return 0, err
		}
	}
	t.fill(&r, p)
	if err := t.deserted(); err != nil {
		t.leave()
		return 0, err
	}
	ok := s.queue(&r, len(p), how)
	t.settle()
	t.unstick(s.i, len(p))
	t.leave()
	if !ok {
		return 0, nil // the next round finds out why
	}
	return r.bytes, nil
}

// fill copies p into what was reserved, if it is long without the lock.
func (t *Top) fill(r *reservation, p []byte) {
	script := t.copies()
	r.fill(script, p)
	if r.bytes > small {
		t.leave()
	}
	script.Copy()
	if r.bytes > small {
		t.enter()
	}
	t.copied(script, pool.OpCopyIn)
}

// lacksSpace lets the engine know that the program waits for room.
func (s *Socket) lacksSpace() {
	t := s.t
	if t.conns[s.i].SendSpace() == 0 {
		t.begin(s.i).LacksSpace(t.now)
		t.commit(s.i)
	}
}

// queue puts what was reserved and filled, the first octets of size, into the send
// queue. It reports false if the connection sends no more.
func (s *Socket) queue(r *reservation, size int, how manner) bool {
	t := s.t
	if !t.send(s.i, r, how == written) {
		return false
	}
	switch {
	case how == writtenUrgent && r.bytes == size:
		t.sendUrgent(s.i)
	case how == writtenMore:
		t.begin(s.i).MoreComes()
		t.commit(s.i)
	}
	return true
}

// writable returns why the connection takes no data, for good.
func (s *Socket) writable() error {
	c := &s.t.conns[s.i]
	if err := s.failure(); err != nil {
		return err
	}
	switch c.State {
	case tcp.Established, tcp.CloseWait:
		return nil
	case tcp.SynSent, tcp.SynReceived: // Fast Open: what does not go with the SYN waits for the handshake
		if !c.Closing() {
			return nil
		}
	}
	return syscall.EPIPE
}

// CloseWrite ends the stream that we send; reading goes on.
func (s *Socket) CloseWrite() error {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return os.ErrClosed
	}
	if err := s.writable(); err != nil {
		return syscall.ENOTCONN
	}
	c := t.begin(s.i)
	c.Shutdown(&t.mem, t.clock())
	t.commit(s.i)
	t.settle()
	return nil
}

// CloseRead ends reading: what comes is acknowledged and dropped, and Read
// returns io.EOF.
func (s *Socket) CloseRead() error {
	t := s.t
	t.enter()
	if s.closing {
		t.leave()
		return os.ErrClosed
	}
	s.deaf = true
	t.signal(&s.rd)
	t.leave()
	// Whoever waits to read comes out, and whoever copies has what he copies until then.
	s.rmu.Lock()
	defer s.rmu.Unlock()
	t.enter()
	defer t.leave()
	if s.closing {
		return os.ErrClosed
	}
	c := t.begin(s.i)
	c.CloseRead(&t.mem, t.clock())
	t.commit(s.i)
	t.settle()
	return nil
}

// Close closes the socket. Goroutines that wait in its calls are told; the
// connection itself goes on until all that was written has arrived.
func (s *Socket) Close() error {
	err := os.ErrClosed
	s.done.Do(func() { err = s.close() })
	return err
}

func (s *Socket) close() error {
	t := s.t
	t.enter()
	s.closing = true
	t.signal(&s.rd)
	t.signal(&s.wr)
	t.signal(&s.ur)
	t.leave()
	// Whoever is in a call notices and comes out.
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.umu.Lock()
	defer s.umu.Unlock()
	t.enter()
	if t.sockets[s.i] != s { // it has gone to another pool meanwhile
		t.leave()
		return nil
	}
	s.closing = true // Move may have failed meanwhile
	s.ur.setDeadline(t, time.Time{})
	s.rd.setDeadline(t, time.Time{})
	s.wr.setDeadline(t, time.Time{})
	if t.closed { // the child has closed it, or will; its slot may be free
		t.sockets[s.i] = nil
		t.leave()
		return nil
	}
	for n := 0; n < 2 && t.step(); n++ {
		// What lies in the pool has arrived, and counts as unread. A driver may have
		// guessed that there is no more.
	}
	s.linger()
	t.sockets[s.i] = nil
	t.closeSocket(s.i)
	t.settle()
	if !t.leading && t.followers.first() == nil {
		t.unattended()
	}
	t.leave()
	return nil
}

// linger waits until the peer has all that was written and our FIN, if the
// program asked for that, but no longer than it said. What is left then goes on
// in the background, as in Linux.
func (s *Socket) linger() {
	t := s.t
	c := &t.conns[s.i]
	unread, _ := c.Readable()
	if c.Opt.LingerSet == 0 || c.Opt.Linger == 0 || unread > 0 || !c.State.Synchronized() {
		return
	}
	t.begin(s.i)
	c.Shutdown(&t.mem, t.clock())
	t.commit(s.i)
	t.settle()
	// All other calls are out, or wait for ours to end.
	s.closing = false
	s.wr.setDeadline(t, time.Now().Add(time.Duration(c.Opt.Linger)*time.Second))
	t.wait(&s.wr, func() bool {
		return c.State != tcp.FinWait1 && c.State != tcp.Closing && c.State != tcp.LastAck
	})
	s.wr.setDeadline(t, time.Time{})
	s.closing = true
}

// SetDeadline sets the deadlines of reading (and accepting) and of writing.
func (s *Socket) SetDeadline(read, write bool, d time.Time) error {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return os.ErrClosed
	}
	if read {
		s.rd.setDeadline(t, d)
		s.ur.setDeadline(t, d)
	}
	if write {
		s.wr.setDeadline(t, d)
	}
	return nil
}
