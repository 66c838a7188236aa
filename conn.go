package usertcp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/tcp"
)

// defaultKeepAlive is the keep-alive time that package net has.
const defaultKeepAlive = 15 * time.Second

// Conn is a TCP connection: a net.Conn with the methods of *net.TCPConn that
// make sense in user space. Any number of goroutines may use it.
type Conn struct {
	sock          *half.Socket
	local, remote *net.TCPAddr
}

var _ net.Conn = (*Conn)(nil)

func newConn(s *half.Socket) *Conn {
	f := s.Flow()
	return &Conn{sock: s, local: tcpAddr(f.Local), remote: tcpAddr(f.Remote)}
}

// fail gives an error the form that package net has for it.
func (c *Conn) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: callError(op, err)}
}

// callError names the system call that a kernel's TCP would have failed in.
func callError(op string, err error) error {
	if errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	if errno, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError(op, errno)
	}
	return err
}

// Read reads what has arrived into p, and waits if nothing has. It returns
// io.EOF behind the last octet of a peer that has closed its side.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.sock.Read(p)
	return n, c.fail("read", err)
}

// Write sends p. When it returns without error all of p lies in memory that
// outlives this process: it will arrive unless the peer or the network fails. It
// waits for room in the send buffer.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.sock.Write(p)
	return n, c.fail("write", err)
}

// Close closes the connection. What was written still arrives, in the
// background; data that was received and not read makes it a reset (RFC 2525
// section 2.17).
func (c *Conn) Close() error { return c.fail("close", c.sock.Close()) }

// CloseWrite closes the sending side: the peer reads io.EOF. Reading goes on.
func (c *Conn) CloseWrite() error { return c.fail("close", c.sock.CloseWrite()) }

// CloseRead closes the reading side: what still comes is dropped.
func (c *Conn) CloseRead() error { return c.fail("close", c.sock.CloseRead()) }

// LocalAddr returns this end's address, a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's address, a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets the deadlines of Read and Write; the zero time means none.
// Calls that wait when it passes fail with os.ErrDeadlineExceeded.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.fail("set", c.sock.SetDeadline(true, true, t))
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.fail("set", c.sock.SetDeadline(true, false, t))
}

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.fail("set", c.sock.SetDeadline(false, true, t))
}

func (c *Conn) set(change func(*tcp.ConnOptions)) error {
	return c.fail("set", c.sock.Options(change))
}

// SetNoDelay turns Nagle's algorithm off (true, the default) or on.
func (c *Conn) SetNoDelay(on bool) error {
	return c.set(func(o *tcp.ConnOptions) { o.NoDelay = bit(on) })
}

// SetKeepAlive turns keep-alive probes on or off.
func (c *Conn) SetKeepAlive(on bool) error {
	return c.set(func(o *tcp.ConnOptions) { o.KeepAlive = bit(on) })
}

// SetKeepAlivePeriod sets the time without a segment before the first keep-alive
// probe, and between two probes; it is rounded up to a second.
func (c *Conn) SetKeepAlivePeriod(d time.Duration) error {
	if d <= 0 {
		return c.fail("set", syscall.EINVAL)
	}
	return c.set(func(o *tcp.ConnOptions) {
		on := o.KeepAlive
		setKeepAlive(o, d)
		o.KeepAlive = on
	})
}

// SetLinger makes Close discard what was not sent and reset the connection
// (sec == 0), or send it in the background (sec < 0, the default, and sec > 0).
func (c *Conn) SetLinger(sec int) error {
	return c.set(func(o *tcp.ConnOptions) { o.LingerSet, o.Linger = bit(sec >= 0), uint32(max(sec, 0)) })
}

// SetReadBuffer sets how many octets may wait to be read, from 4 KiB to 1 GiB.
// It has to be set before the connection uses it: a window once offered is not
// taken back.
func (c *Conn) SetReadBuffer(bytes int) error {
	if bytes <= 0 {
		return c.fail("set", syscall.EINVAL)
	}
	return c.set(func(o *tcp.ConnOptions) { o.RcvBuf = clampBuf(bytes) })
}

// SetWriteBuffer sets how many octets may wait to be sent and acknowledged, from
// 4 KiB to 1 GiB.
func (c *Conn) SetWriteBuffer(bytes int) error {
	if bytes <= 0 {
		return c.fail("set", syscall.EINVAL)
	}
	return c.set(func(o *tcp.ConnOptions) { o.SndBuf = clampBuf(bytes) })
}

func clampBuf(n int) uint32 { return uint32(min(max(n, 4<<10), 1<<30)) }

func bit(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}

func setKeepAlive(o *tcp.ConnOptions, d time.Duration) {
	if d <= 0 {
		o.KeepAlive = 0
		return
	}
	s := uint32(min((d+time.Second-1)/time.Second, 32767))
	o.KeepAlive, o.KeepIdle, o.KeepInterval = 1, s, s
}
