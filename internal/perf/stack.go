package perf

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Stack is a TCP implementation under test.
type Stack interface {
	// Name is "user" or "kernel".
	Name() string
	// Dial connects to "host:port".
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// Listen listens on "host:port"; port 0 is any free one.
	Listen(ctx context.Context, addr string) (net.Listener, error)
	// Helpers are the processes besides this one that do this stack's work.
	Helpers() []Helper
}

// Helper is a process that works for a program's connections.
type Helper struct {
	Role string // "child" or "server"
	PID  int
}

// StackNames lists what NewStack knows.
var StackNames = []string{"user", "kernel"}

// Tuning is what every connection of a stack gets. The zero value leaves it to the
// stack.
type Tuning struct {
	Buffers int // SO_SNDBUF and SO_RCVBUF, octets
}

// Check reports the first thing that is wrong.
func (t *Tuning) Check() error {
	if t.Buffers < 0 || t.Buffers > maxBuffers {
		return fmt.Errorf("buffers of %d are not between 0 and %d octets", t.Buffers, maxBuffers)
	}
	return nil
}

// maxBuffers limits a Tuning, octets.
const maxBuffers = 1 << 30

// options are the socket options of a Tuning: level, name, value.
func (t *Tuning) options() (list [][3]int) {
	if t.Buffers > 0 {
		list = append(list, [3]int{unix.SOL_SOCKET, unix.SO_SNDBUF, t.Buffers}, [3]int{unix.SOL_SOCKET, unix.SO_RCVBUF, t.Buffers})
	}
	return list
}

// NewStack returns the stack of that name.
func NewStack(name string, t Tuning) (Stack, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	switch name {
	case "user":
		return userStack{t}, nil
	case "kernel":
		return kernelStack{t}, nil
	}
	return nil, fmt.Errorf("unknown stack %q (there are: user, kernel)", name)
}

// halfCloser is what both stacks' connections can do beside net.Conn.
type halfCloser interface {
	CloseWrite() error
}

// closeWrite ends the sending direction: what was written is delivered, then the
// other side reads end of file.
func closeWrite(c net.Conn) error {
	if h, ok := c.(halfCloser); ok {
		return h.CloseWrite()
	}
	return c.Close()
}
