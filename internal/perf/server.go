package perf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Server is the listening side: it runs one client's test after the other.
type Server struct {
	Stack Stack
	Once  bool              // end after the first test
	Log   func(line string) // told about each test; may be nil
}

// Serve accepts control connections on l until ctx ends, and closes l. A test
// that fails is logged, and with Once is Serve's error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		err = s.session(ctx, conn)
		if err != nil {
			s.log(fmt.Sprintf("test from %v failed: %v", conn.RemoteAddr(), err))
		}
		if s.Once {
			return err
		}
	}
}

func (s *Server) log(line string) {
	if s.Log != nil {
		s.Log(line)
	}
}

// session runs one test.
func (s *Server) session(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	ctl := newControl(conn)
	setup, l, err := s.begin(ctx, ctl)
	if err != nil {
		return errors.Join(err, ctl.send("the offer", offer{Error: err.Error()}))
	}
	defer l.Close()
	err = ctl.send("the offer", offer{Data: l.Addr().String(), Stack: s.Stack.Name()})
	if err != nil {
		return err
	}
	res, err := s.run(ctx, ctl, setup, l)
	if err != nil {
		res.Error = err.Error()
	}
	s.log(fmt.Sprintf("%s from %v: %d in %.2f s", setup.Test, conn.RemoteAddr(), res.Window.Count, res.Window.Seconds))
	return errors.Join(err, ctl.send("the result", res))
}

// begin reads and checks what the client wants, and listens for its data.
func (s *Server) begin(ctx context.Context, ctl *control) (*Setup, net.Listener, error) {
	var m setupMessage
	if err := ctl.receive("the test's set-up", patience, &m); err != nil {
		return nil, nil, err
	}
	if m.Version != protocolVersion {
		return nil, nil, fmt.Errorf("the client speaks version %d of the perf protocol, this server %d", m.Version, protocolVersion)
	}
	if err := m.Setup.Check(); err != nil {
		return nil, nil, err
	}
	host, _, err := net.SplitHostPort(ctl.conn.LocalAddr().String())
	if err != nil {
		return nil, nil, err
	}
	l, err := s.Stack.Listen(ctx, net.JoinHostPort(host, "0"))
	return &m.Setup, l, err
}

// run takes the server's part in the test.
func (s *Server) run(ctx context.Context, ctl *control, setup *Setup, l net.Listener) (result, error) {
	var res result
	crew := newCrew(setup.duration()+2*patience, l)
	defer crew.closeAll()
	defer crew.watch(ctx)()
	meter := newMeter("server", setup.Conns, s.Stack)
	if err := acceptAll(crew, setup, l, peerHost(ctl.conn)); err != nil {
		return res, errors.Join(err, ctl.send("the start", ready{Error: err.Error()}))
	}
	s.hireAll(crew, setup, l, meter)
	if err := ctl.send("the start", ready{}); err != nil {
		crew.fail(err)
		return res, errors.Join(err, crew.wait())
	}
	res.Window = meter.measure(setup, crew)
	pause(slack, crew.failed)
	crew.stop.Store(true) // for maerts
	return res, s.finish(ctl, crew, l, meter, &res)
}

// hireAll starts the workers, one for each connection.
func (s *Server) hireAll(c *crew, setup *Setup, l net.Listener, m *meter) {
	if setup.Test == HTTP {
		c.hire(func() error { return c.serveHTTP(setup, l, m.counters) })
		return
	}
	for i := range setup.Conns {
		count := &m.counters[i]
		if setup.Test == CRR {
			c.hire(func() error { return c.acceptAndRespond(setup, l, count) })
			continue
		}
		conn := c.conns[i]
		work := map[Test]func(*Setup, net.Conn, *counter) error{
			Stream: receiveMessages, Maerts: c.sendMessages, RR: respond,
		}[setup.Test]
		c.hire(func() error { return work(setup, conn, count) })
	}
}

// finish waits for the client to have ended, then for the workers, who find the
// ends of their connections.
func (s *Server) finish(ctl *control, c *crew, l net.Listener, m *meter, res *result) error {
	var d done
	if err := ctl.receive("the end of the test", slack+patience, &d); err != nil {
		c.fail(err)
	}
	l.Close()
	if err := c.wait(); err != nil {
		return err
	}
	res.Total = m.total()
	return nil
}

// acceptAll accepts the data connections of a test that keeps them. Others than
// the client's own are turned away.
func acceptAll(c *crew, s *Setup, l net.Listener, client string) error {
	if !s.Test.keeps() {
		return nil
	}
	timer := time.AfterFunc(patience, func() { l.Close() })
	defer timer.Stop()
	for len(c.conns) < s.Conns {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("waited %v for %d data connections; %d came", patience, s.Conns, len(c.conns))
		}
		if err != nil {
			return err
		}
		if peerHost(conn) != client {
			conn.Close()
			continue
		}
		if err := c.adopt(conn); err != nil {
			return err
		}
	}
	return nil
}

// peerHost returns the other side's address without its port.
func peerHost(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}
