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
	"usertcp/internal/user"
)

// Listen listens at address, like net.Listen. The network is "tcp", "tcp4" or
// "tcp6"; port 0 means any port; without a host it listens at all addresses of
// the connection server's host, of IPv4 only for "tcp4" and of IPv6 only for "tcp6".
// Errors are *net.OpError; errors.Is finds EADDRINUSE and EADDRNOTAVAIL in them.
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
	all, err := stacks(ctx)
	if err != nil {
		return nil, fail(tcpAddr(ends[0]), err)
	}
	backlog := lc.Backlog
	if backlog <= 0 {
		backlog = defaultBacklog
	}
	l := &Listener{keepAlive: lc.KeepAlive, options: lc.Options}
	local := listenAt(network, ends[0])
	if len(all) == 1 {
		l.sock, local, err = all[0].Listen(ctx, local, backlog, true, setup(lc.Options))
	} else if l.all, local, err = user.ListenAll(ctx, all, local, backlog, true, setup(lc.Options)); err == nil {
		l.sock = l.all.Sockets()[0]
	}
	if err != nil {
		return nil, fail(tcpAddr(ends[0]), err)
	}
	l.addr = tcpAddr(local)
	return l, nil
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
	sock      *half.Socket   // that of the first shard
	all       *user.Acceptor // those of all shards, nil if there is one
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
	s, err := l.accept()
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
	return l.fail("set", l.each(func(s *half.Socket) error { return s.SetFastOpenKeys(first, second) }))
}

// Close stops listening. Connections that wait for Accept are reset.
func (l *Listener) Close() error {
	if l.all != nil {
		return l.fail("close", l.all.Close())
	}
	return l.fail("close", closeSocket(l.sock))
}

// Addr returns the listener's address, a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return l.addr }

// SetDeadline sets the deadline of Accept; the zero time means none.
func (l *Listener) SetDeadline(t time.Time) error {
	if l.all != nil {
		return l.fail("set", l.all.SetDeadline(t))
	}
	return l.fail("set", l.sock.SetDeadline(true, false, t))
}
