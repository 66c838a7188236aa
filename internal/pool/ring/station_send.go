package ring

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// neighbour is the way to another host. It is dialled when there is something
// to send, and sends only: what the other host has to say comes over a
// connection that it makes.
type neighbour struct {
	mu    sync.Mutex
	ch    *message.Channel // nil if not connected
	quiet time.Time        // drop frames until then: the host does not read
}

// Send sends f to the host of f.Dst; the Files remain the caller's. It may
// block for about a second while that host is not reading, and then fails at
// once for a while. The error wraps ErrNoHost if there is no such host,
// ErrStuck if it does not read, or is a *VersionError.
func (s *Station) Send(f Frame) error {
	id := f.Dst.Ring()
	if id == s.self.id {
		return s.loop(f)
	}
	n := &s.outgoing[id]
	n.mu.Lock()
	defer n.mu.Unlock()
	err := s.sendTo(n, id, &f)
	switch {
	case err == nil:
		s.counters.sent.Add(1)
		return nil
	case errors.Is(err, ErrStuck):
		s.counters.stuck.Add(1)
	default:
		s.counters.noHost.Add(1)
	}
	return fmt.Errorf("ring host %d: %w", id, err)
}

// loop gives a frame to this host's own handler, as if it had come.
func (s *Station) loop(f Frame) error {
	files, err := dupAll(f.Files)
	if err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	f.Files = files
	s.counters.looped.Add(1)
	s.handler(f)
	return nil
}

func dupAll(files []int) (dups []int, err error) {
	for _, fd := range files {
		d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			message.CloseFiles(dups)
			return nil, fmt.Errorf("copying a descriptor: %w", err)
		}
		dups = append(dups, d)
	}
	return dups, nil
}

// sendTo sends f to host id, once more over a new connection if the old one
// turns out to be dead, for the host may have been restarted, or if the host has not
// waited for our Hello, which was late on a machine that has other work.
func (s *Station) sendTo(n *neighbour, id int, f *Frame) (err error) {
	if time.Now().Before(n.quiet) {
		return ErrStuck
	}
	for range 2 {
		if err = s.connect(n, id); turnedAway(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = SendFrame(n.ch, f)
		if err == nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n.quiet = time.Now().Add(penalty)
			return ErrStuck
		}
		s.drop(n.ch)
		n.ch, err = nil, ErrNoHost
	}
	return err
}

// connect dials host id if there is no connection, and exchanges first frames.
func (s *Station) connect(n *neighbour, id int) error {
	if n.ch != nil {
		return nil
	}
	ch, err := message.Dial(s.dir.file(id, ".sock"))
	if err != nil {
		if errors.Is(err, unix.EAGAIN) { // its queue of connections is full
			n.quiet = time.Now().Add(penalty)
			return ErrStuck
		}
		return fmt.Errorf("%w: %w", ErrNoHost, err)
	}
	if !s.adopt(ch) {
		return ErrClosed
	}
	if err := s.introduce(ch, id); err != nil {
		s.drop(ch)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n.quiet = time.Now().Add(penalty)
			return fmt.Errorf("%w: waited %v for its Hello", ErrStuck, helloTimeout)
		}
		return err
	}
	ch.SetSendTimeout(frameTimeout)
	n.ch = ch
	return nil
}

var errTurnedAway = fmt.Errorf("%w: it closed the connection", ErrNoHost)

// turnedAway reports whether err is that the host has closed the connection before its
// answer: which of the three depends on when.
func turnedAway(err error) bool {
	return errors.Is(err, errTurnedAway) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

// introduce sends this host's first frame to host id and checks the answer.
func (s *Station) introduce(ch *message.Channel, id int) error {
	ch.SetSendTimeout(helloTimeout)
	ch.SetDeadline(time.Now().Add(helloTimeout))
	first := s.hello(id)
	if err := SendFrame(ch, &first); err != nil {
		return err
	}
	var f Frame
	err := RecvFrame(ch, make([]byte, frameHeader+MaxAddrs*helloAddr), &f)
	var ve *VersionError
	switch {
	case errors.As(err, &ve):
		return &VersionError{Host: id, Theirs: ve.Theirs}
	case errors.Is(err, io.EOF):
		return errTurnedAway
	case err != nil:
		return fmt.Errorf("its answer to Hello: %w", err)
	}
	return checkHelloFrom(&f, id)
}
