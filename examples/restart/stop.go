package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"time"

	"usertcp"
)

// await waits for a request, and reports whether there is one to be answered here.
func (s *server) await(c *usertcp.Conn, r *bufio.Reader) bool {
	var err error
	if s.turn(c, true) {
		_, err = r.Peek(1)
		s.turn(c, false)
	} else {
		err = os.ErrDeadlineExceeded
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		unread, _ := r.Peek(r.Buffered())
		s.mu.Lock()
		s.left = append(s.left, usertcp.Handed{Conn: c, State: bytes.Clone(unread)})
		s.mu.Unlock()
	} else if err != nil {
		c.Close()
	}
	return err == nil
}

// turn notes whether c is idle, and reports whether the server goes on.
func (s *server) turn(c *usertcp.Conn, idle bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle[c] = idle; !idle {
		delete(s.idle, c)
		c.SetReadDeadline(time.Time{})
	}
	return !s.stopped
}

// stop ends all calls at the next request, and returns the sockets.
func (s *server) stop() []usertcp.Handed {
	s.mu.Lock()
	s.stopped = true
	for c := range s.idle {
		c.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	s.listener.SetDeadline(time.Unix(1, 0))
	s.serving.Wait()
	return append(s.left, usertcp.Handed{Listener: s.listener})
}
