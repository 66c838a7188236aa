package usertcp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"usertcp/internal/half"
)

// The keep-alive time and count that package net has.
const (
	defaultKeepAlive      = 15 * time.Second
	defaultKeepAliveCount = 9
)

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
// background or while Close waits (SetLinger); data that was received and not read makes it a reset (RFC 2525
// section 2.17).
func (c *Conn) Close() error { return c.fail("close", closeSocket(c.sock)) }

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
