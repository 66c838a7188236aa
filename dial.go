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
	"usertcp/internal/wire"
)

// Dial connects to address, like net.Dial. The network is "tcp", "tcp4" or
// "tcp6". Errors are *net.OpError; errors.Is finds ECONNREFUSED, EHOSTUNREACH,
// ETIMEDOUT and the like in them.
func Dial(network, address string) (net.Conn, error) {
	var d Dialer
	return d.Dial(network, address)
}

// DialTimeout is Dial with a timeout.
func DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	d := Dialer{Timeout: timeout}
	return d.Dial(network, address)
}

// Dialer has the options of Dial. The zero value means none. Of a name with several
// addresses each is tried, those of both families in turns, the next one while the ones
// before it have not answered yet; the first connection is it (RFC 8305).
type Dialer struct {
	Timeout   time.Duration // of a whole Dial; 0: that of TCP
	Deadline  time.Time     // the same as a moment
	LocalAddr net.Addr      // a *net.TCPAddr, or nil for any

	// KeepAlive is the time without a segment before the first keep-alive probe
	// and between two probes: 0 for 15 s, as in package net; negative for none.
	KeepAlive time.Duration

	// FallbackDelay is how long an attempt has before the next address is tried beside
	// it: 0 for 250 ms; negative: one is tried after the other.
	FallbackDelay time.Duration

	// Options are set before the connection opens.
	Options []Option

	// FirstData is written before Dial returns. It goes with the SYN (TCP Fast Open,
	// RFC 7413) if the server allows that and has given us a cookie at an earlier
	// Dial, which saves a round trip; else it follows the handshake. It may reach the
	// server twice, or to several addresses of its name: it must do no harm if it does, as a
	// request to read something.
	FirstData []byte
}

// tcpFastOpenConnect is TCP_FASTOPEN_CONNECT, which package syscall does not have.
const tcpFastOpenConnect = 30

// Dial connects to address.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to address. Once connected, the context's end has no
// effect on the connection.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	ends, err := resolve(ctx, network, address)
	if err != nil {
		return nil, d.fail(network, nil, err)
	}
	return d.dialAny(ctx, network, ends)
}

// dialAny connects to one of the ends.
func (d *Dialer) dialAny(ctx context.Context, network string, ends []wire.Endpoint) (net.Conn, error) {
	local, err := d.local()
	if err != nil {
		return nil, d.fail(network, nil, err)
	}
	s, err := stack(ctx)
	if err != nil {
		return nil, d.fail(network, nil, err)
	}
	delay := d.FallbackDelay
	if delay == 0 {
		delay = attemptDelay
	}
	return race(ctx, interleave(ends), delay, func(ctx context.Context, e wire.Endpoint) (net.Conn, error) {
		c, err := d.dial(ctx, s, local, e)
		if err != nil {
			return nil, d.fail(network, tcpAddr(e), err)
		}
		return c, nil
	})
}

// fail gives an error the form that package net has for it.
func (d *Dialer) fail(network string, to net.Addr, err error) error {
	return &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Addr: to, Err: dialError(err)}
}

func (d *Dialer) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline := d.Deadline
	if d.Timeout > 0 {
		if t := time.Now().Add(d.Timeout); deadline.IsZero() || t.Before(deadline) {
			deadline = t
		}
	}
	if deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline)
}

func (d *Dialer) local() (wire.Endpoint, error) {
	switch a := d.LocalAddr.(type) {
	case nil:
		return wire.Endpoint{}, nil
	case *net.TCPAddr:
		ap := a.AddrPort()
		return wire.Endpoint{Addr: wire.AddrFrom(ap.Addr().Unmap()), Port: ap.Port()}, nil
	default:
		return wire.Endpoint{}, &net.AddrError{Err: "mismatched local address type", Addr: a.String()}
	}
}

func (d *Dialer) dial(ctx context.Context, s *user.Stack, local, remote wire.Endpoint) (net.Conn, error) {
	if remote.Addr.IsZero() || remote.Port == 0 {
		return nil, syscall.ECONNREFUSED // nobody can listen there
	}
	if f := (wire.Flow{Local: remote, Remote: remote}); !half.Unicast(&f) {
		return nil, syscall.ENETUNREACH // as Linux has it
	}
	options := d.Options
	if len(d.FirstData) > 0 {
		options = append(options[:len(options):len(options)], Option{syscall.IPPROTO_TCP, tcpFastOpenConnect, 1})
	}
	sock, err := s.ConnectFirst(ctx, local, remote, d.FirstData, setup(options))
	if err != nil {
		return nil, err
	}
	idle := d.KeepAlive
	if idle == 0 {
		idle = defaultKeepAlive
	}
	err = sock.Options(func(o *tcp.ConnOptions) {
		setDefaults(o, idle, d.Options)
	})
	if err != nil { // all sockets have been handed over meanwhile
		return nil, err
	}
	return newConn(sock), nil
}

// dialError gives an error of the stack the form that package net has for it.
func dialError(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout{err}
	case errors.As(err, &errno) && err == error(errno):
		return os.NewSyscallError("connect", err)
	}
	return err
}

// errTimeout is a timeout as package net reports it, with what was waited for.
type errTimeout struct{ err error }

func (e errTimeout) Error() string {
	if e.err == context.DeadlineExceeded || e.err == os.ErrDeadlineExceeded {
		return "i/o timeout"
	}
	return "i/o timeout: " + e.err.Error()
}
func (e errTimeout) Timeout() bool   { return true }
func (e errTimeout) Temporary() bool { return true }
func (e errTimeout) Unwrap() error   { return e.err }
func (e errTimeout) Is(target error) bool {
	return target == os.ErrDeadlineExceeded || target == context.DeadlineExceeded
}
