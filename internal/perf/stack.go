package perf

import (
	"context"
	"fmt"
	"net"
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

// NewStack returns the stack of that name.
func NewStack(name string) (Stack, error) {
	switch name {
	case "user":
		return newUserStack(), nil
	case "kernel":
		return newKernelStack(), nil
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
