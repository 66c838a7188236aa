package ring

import (
	"errors"
	"io"
	"net"
	"time"

	"usertcp/internal/message"
)

// accept takes connections from other hosts, until the listener is closed.
func (s *Station) accept() {
	for {
		conn, err := s.lis.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, say
			time.Sleep(10 * time.Millisecond)
			continue
		}
		ch := message.NewChannel(conn)
		if !s.adopt(ch) {
			return
		}
		s.wg.Go(func() {
			defer s.drop(ch)
			s.serve(ch)
		})
	}
}

// serve receives one host's frames.
func (s *Station) serve(ch *message.Channel) {
	if s.crowded() {
		s.counters.hello.Add(1)
		return
	}
	buf := make([]byte, MaxFrame)
	id, err := s.greet(ch, buf)
	if err != nil {
		s.counters.hello.Add(1)
		return
	}
	for {
		var f Frame
		err := RecvFrame(ch, buf, &f)
		switch {
		case err == nil:
			s.take(id, f)
		case IsBadFrame(err):
			s.counters.badFrame.Add(1)
		default:
			return
		}
	}
}

func (s *Station) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.channels) > maxIncoming
}

// greet answers the first frame of a host that has connected, and returns its
// ring id. A host of another version is answered too, so that it learns why.
func (s *Station) greet(ch *message.Channel, buf []byte) (id int, err error) {
	ch.SetSendTimeout(helloTimeout)
	ch.SetDeadline(time.Now().Add(helloTimeout))
	var f Frame
	err = RecvFrame(ch, buf, &f)
	var ve *VersionError
	if err != nil && !errors.As(err, &ve) {
		return 0, err
	}
	answer := s.hello(f.Src.Ring())
	if serr := SendFrame(ch, &answer); serr != nil || ve != nil {
		return 0, errors.Join(err, serr)
	}
	ch.SetDeadline(time.Time{})
	return f.Src.Ring(), checkHelloFrom(&f, f.Src.Ring())
}

// checkHelloFrom checks the first frame of host id.
func checkHelloFrom(f *Frame, id int) error {
	switch {
	case f.Type != FrameHello:
		message.CloseFiles(f.Files)
		return ErrFrameType
	case f.N != FrameVersion:
		return &VersionError{Host: id, Theirs: f.N}
	case f.Src.Ring() != id:
		return ErrFrameVCI
	}
	return nil
}

// take passes on a frame that has come from host id.
func (s *Station) take(id int, f Frame) {
	switch {
	case f.Src.Ring() != id:
		s.counters.badSrc.Add(1)
	case f.Type == FrameHello || f.Dst.Ring() != s.self.id:
		s.counters.badFrame.Add(1)
	default:
		s.counters.received.Add(1)
		s.handler(f)
		return
	}
	message.CloseFiles(f.Files)
}

// IsBadFrame reports whether an error of RecvFrame is about one frame only, and
// the channel of further use.
func IsBadFrame(err error) bool {
	return !errors.Is(err, io.EOF) && (errors.Is(err, message.ErrTruncated) || isFrameError(err))
}

func isFrameError(err error) bool {
	var ve *VersionError
	if errors.As(err, &ve) {
		return true
	}
	for _, e := range [...]error{
		ErrFrameShort, ErrFrameMagic, ErrFrameType, ErrFrameReserved, ErrFrameVCI,
		ErrFramePDU, ErrFrameTrailer, ErrFrameFiles, ErrFrameErrno,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
