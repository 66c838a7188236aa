package perf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// requester is one worker of the client in a transaction test.
type requester struct {
	crew      *crew
	setup     *Setup
	done      *counter
	recording *atomic.Bool
	times     samples
	buffer    []byte
}

func newRequester(c *crew, s *Setup, m *meter, l *recorder, worker int) *requester {
	return &requester{
		crew:      c,
		setup:     s,
		done:      &m.counters[worker],
		recording: &m.recording,
		times:     samples{to: l},
		buffer:    make([]byte, s.Size),
	}
}

// exchange sends one request and reads its response.
func (r *requester) exchange(conn net.Conn) error {
	if _, err := conn.Write(r.buffer); err != nil {
		return fmt.Errorf("sending a request: %w", err)
	}
	if _, err := io.ReadFull(conn, r.buffer); err != nil {
		return fmt.Errorf("receiving a response: %w", err)
	}
	return nil
}

// finish counts one transaction that began at the given time, and returns the
// present one.
func (r *requester) finish(began time.Time) time.Time {
	now := time.Now()
	r.done.n.Add(1)
	if r.recording.Load() {
		r.times.add(now.Sub(began))
	}
	return now
}

// request repeats transactions over one connection until the crew is stopped.
func (r *requester) request(conn net.Conn) error {
	began := time.Now()
	for !r.crew.stop.Load() {
		if err := r.exchange(conn); err != nil {
			return err
		}
		began = r.finish(began)
	}
	return closeWrite(conn)
}

// connectAndRequest repeats transactions, each over a connection of its own.
func (r *requester) connectAndRequest(ctx context.Context, st Stack, addr string, portWaits *counter) error {
	began := time.Now()
	for !r.crew.stop.Load() {
		conn, err := st.Dial(ctx, addr)
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			// All ports are in TIME-WAIT. The time spent waiting for one is part
			// of the transaction's; the report says how often it happened.
			portWaits.n.Add(1)
			pause(time.Millisecond, r.crew.failed)
			continue
		}
		if err != nil {
			return err
		}
		if err := r.crew.adopt(conn); err != nil {
			return err
		}
		err = r.exchange(conn)
		if closeErr := r.crew.release(conn); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
		began = r.finish(began)
	}
	return nil
}

// respond answers requests until the other side closes.
func respond(s *Setup, conn net.Conn, done *counter) error {
	buffer := make([]byte, s.Size)
	for {
		_, err := io.ReadFull(conn, buffer)
		if errors.Is(err, io.EOF) {
			return nil // between two requests
		}
		if err != nil {
			return fmt.Errorf("receiving a request: %w", err)
		}
		if _, err := conn.Write(buffer); err != nil {
			return fmt.Errorf("sending a response: %w", err)
		}
		done.n.Add(1)
	}
}

// acceptAndRespond serves one connection after the other until the listener is
// closed. The client closes first, so that TIME-WAIT is on its side.
func (c *crew) acceptAndRespond(s *Setup, l net.Listener, done *counter) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.adopt(conn); err != nil {
			return err
		}
		err = respond(s, conn, done)
		if closeErr := c.release(conn); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
}
