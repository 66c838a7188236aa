package usertcp

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/tcp"
)

// Listen listens at address, like net.Listen. The network is "tcp", "tcp4" or
// "tcp6"; port 0 means any port; without a host it listens at all addresses of
// the connection server's host, of IPv4 only for "tcp4" and of IPv6 only for "tcp6". Errors are *net.OpError; errors.Is finds
// EADDRINUSE and EADDRNOTAVAIL in them.
func Listen(network, address string) (net.Listener, error) {
	var lc ListenConfig
	return lc.Listen(context.Background(), network, address)
}

// defaultBacklog is Linux's somaxconn.
const defaultBacklog = 4096

// ListenConfig has the options of Listen. The zero value means none.
type ListenConfig struct {
	// Backlog is how many connections may wait for Accept; 0 means 4096.
	Backlog int

	// KeepAlive is as in Dialer, for accepted connections.
	KeepAlive time.Duration

	// Options are those of the listener and of the connections that it accepts.
	Options []Option
}

// Listen listens at address.
func (lc *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	fail := func(at net.Addr, err error) error {
		return &net.OpError{Op: "listen", Net: network, Addr: at, Err: listenError(err)}
	}
	ends, err := resolve(ctx, network, address)
	if err != nil {
		return nil, fail(nil, err)
	}
	s, err := stack(ctx)
	if err != nil {
		return nil, fail(tcpAddr(ends[0]), err)
	}
	backlog := lc.Backlog
	if backlog <= 0 {
		backlog = defaultBacklog
	}
	sock, local, err := s.Listen(ctx, listenAt(network, ends[0]), backlog, true, setup(lc.Options))
	if err != nil {
		return nil, fail(tcpAddr(ends[0]), err)
	}
	return &Listener{sock: sock, addr: tcpAddr(local), keepAlive: lc.KeepAlive, options: lc.Options}, nil
}

func listenError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && err == error(errno) {
		return os.NewSyscallError("bind", err)
	}
	return err
}

// Listener accepts connections: a net.Listener.
type Listener struct {
	sock      *half.Socket
	addr      *net.TCPAddr
	keepAlive time.Duration
	options   []Option
}

var _ net.Listener = (*Listener)(nil)

func (l *Listener) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: l.addr, Err: callError(op, err)}
}

// Accept waits for a connection and returns it, a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	s, err := l.sock.Accept()
	if err != nil {
		return nil, l.fail("accept", err)
	}
	idle := l.keepAlive
	if idle == 0 {
		idle = defaultKeepAlive
	}
	err = s.Options(func(o *tcp.ConnOptions) {
		setDefaults(o, idle, l.options)
	})
	if err != nil { // all sockets have been handed over or closed meanwhile
		return nil, l.fail("accept", err)
	}
	return newConn(s), nil
}

// SetFastOpenKeys sets the keys of the cookies of TCP Fast Open that the listener gives
// to its clients: cookies are made with the first and good if made with either, so
// that keys can be changed, and shared with other servers (TCP_FASTOPEN_KEY). Without
// them there is one key for the program's listeners, which lasts as long as the program. 256
// listeners of a program can have keys; for one more the error is ENOBUFS.
func (l *Listener) SetFastOpenKeys(first, second [16]byte) error {
	return l.fail("set", l.sock.SetFastOpenKeys(first, second))
}

// Close stops listening. Connections that wait for Accept are reset.
func (l *Listener) Close() error { return l.fail("close", closeSocket(l.sock)) }

// Addr returns the listener's address, a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return l.addr }

// SetDeadline sets the deadline of Accept; the zero time means none.
func (l *Listener) SetDeadline(t time.Time) error {
	return l.fail("set", l.sock.SetDeadline(true, false, t))
}
