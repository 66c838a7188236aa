package usertcp

import (
	"net"
	"syscall"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/tcp"
	"usertcp/internal/user"
)

// Option is a socket option by the kernel's numbers, for Dialer.Options and
// ListenConfig.Options: {syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1200}.
type Option struct {
	Level, Name, Value int
}

// LevelUser is the level of the options that Linux has only as sysctls of the
// host.
const LevelUser = half.LevelUser

// Options of LevelUser.
const (
	OptionECN               = half.OptionECN               // RFC 3168 and 9768, as net.ipv4.tcp_ecn: 0 off, 1 ask for RFC 3168, 2 agree to it, 3 (default) ask for RFC 9768, 4 agree to it and ask for RFC 3168, 5 agree to it
	OptionMTUProbing        = half.OptionMTUProbing        // RFC 4821: 0 off, 1 (default) when a black hole is suspected, 2 always, as net.ipv4.tcp_mtu_probing
	OptionBaseMSS           = half.OptionBaseMSS           // octets of payload that nearly every path carries, with which a search for the path's MTU begins, as net.ipv4.tcp_base_mss; 0 (default): for packets of 1,200 octets
	OptionMTUProbeFloor     = half.OptionMTUProbeFloor     // octets of payload below which no search goes, as net.ipv4.tcp_mtu_probe_floor; 0 (default): for packets of 552 octets, in IPv6 of 1,280
	OptionUserTimeoutOption = half.OptionUserTimeoutOption // RFC 5482: 1 tells the peer of TCP_USER_TIMEOUT and heeds what it tells; 0 is the default
	OptionAutoCorking       = half.OptionAutoCorking       // as net.ipv4.tcp_autocorking: 1 (default) lets small writes that follow each other at once share packets, see SetNoDelay; 0 sends each at once
	OptionSndMax            = half.OptionSndMax            // octets up to which the send buffer grows by itself, as the last number of net.ipv4.tcp_wmem
	OptionRcvMax            = half.OptionRcvMax            // octets up to which the receive buffer grows by itself, as the last number of net.ipv4.tcp_rmem
)

// Info is what Linux's TCP_INFO says of a connection; its times are in
// nanoseconds.
type Info = tcp.Info

// setup sets options before a socket is used.
func setup(options []Option) user.Setup {
	return func(s *half.Socket) error {
		for _, o := range options {
			if err := s.SetOption(o.Level, o.Name, o.Value); err != nil {
				return err
			}
		}
		return nil
	}
}

// setDefaults sets what package net sets on every connection, but for what the
// program has set itself.
func setDefaults(o *tcp.ConnOptions, idle time.Duration, options []Option) {
	noDelay, keep := true, true
	for _, x := range options {
		noDelay = noDelay && (x.Level != syscall.IPPROTO_TCP || x.Name != syscall.TCP_NODELAY)
		keep = keep && (x.Level != syscall.SOL_SOCKET || x.Name != syscall.SO_KEEPALIVE)
	}
	if noDelay {
		o.NoDelay = 1
	}
	if keep {
		setKeepAlive(o, idle)
	}
}

// setKeepAlive makes idle the time before the first probe and between two.
func setKeepAlive(o *tcp.ConnOptions, idle time.Duration) {
	if idle <= 0 {
		o.KeepAlive = 0
		return
	}
	s := uint32(wholeSeconds(idle))
	o.KeepAlive, o.KeepIdle, o.KeepInterval = 1, s, s
}

// maxKeepTime is the kernel's limit, in seconds.
const maxKeepTime = 32767

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) int {
	return int(min((d+time.Second-1)/time.Second, maxKeepTime))
}

// SetOption sets a socket option by the kernel's level and name, for example
// syscall.IPPROTO_TCP and syscall.TCP_CORK. errors.Is finds ENOPROTOOPT if the
// option is not known, EINVAL if the value is out of range. Sizes of buffers are
// taken as they are and not doubled; SO_LINGER takes seconds, less than zero for
// off.
func (c *Conn) SetOption(level, name, value int) error {
	return c.fail("set", c.sock.SetOption(level, name, value))
}

// Option returns a socket option.
func (c *Conn) Option(level, name int) (int, error) {
	v, err := c.sock.Option(level, name)
	return v, c.fail("get", err)
}

// Info returns what TCP_INFO says now.
func (c *Conn) Info() (*Info, error) {
	i, err := c.sock.Info()
	if err != nil {
		return nil, c.fail("get", err)
	}
	return &i, nil
}

// SetOption sets a socket option of the listener. Connections that come from now
// on have it too.
func (l *Listener) SetOption(level, name, value int) error {
	return l.fail("set", l.each(func(s *half.Socket) error { return s.SetOption(level, name, value) }))
}

// Option returns a socket option of the listener.
func (l *Listener) Option(level, name int) (int, error) {
	v, err := l.sock.Option(level, name)
	return v, l.fail("get", err)
}

func (c *Conn) setTCP(name, value int) error { return c.SetOption(syscall.IPPROTO_TCP, name, value) }

func (c *Conn) setSocket(name, value int) error {
	return c.SetOption(syscall.SOL_SOCKET, name, value)
}

func toInt(on bool) int {
	if on {
		return 1
	}
	return 0
}

// SetNoDelay turns Nagle's algorithm off (true, the default) or on (TCP_NODELAY). When
// it is off a Write leaves at once, with one exception, as with Linux: over a network
// device small writes that follow each other at once, more than eight within 50 µs of
// each other, wait up to 20 µs for the next while what was written before is on its way
// (up to about 0.1 ms, if the program writes no more). OptionAutoCorking turns that off.
func (c *Conn) SetNoDelay(on bool) error { return c.setTCP(syscall.TCP_NODELAY, toInt(on)) }

// SetCork holds back segments that are not full, for a round-trip timeout at most
// (TCP_CORK). To take the cork out sends them at once.
func (c *Conn) SetCork(on bool) error { return c.setTCP(syscall.TCP_CORK, toInt(on)) }

// SetQuickAck acknowledges everything at once, or goes over to delayed
// acknowledgements (TCP_QUICKACK).
func (c *Conn) SetQuickAck(on bool) error { return c.setTCP(syscall.TCP_QUICKACK, toInt(on)) }

// SetKeepAlive turns keep-alive probes on or off (SO_KEEPALIVE).
func (c *Conn) SetKeepAlive(on bool) error { return c.setSocket(syscall.SO_KEEPALIVE, toInt(on)) }

// SetKeepAlivePeriod sets the time without a segment before the first keep-alive
// probe, and between two probes; it is rounded up to a second.
func (c *Conn) SetKeepAlivePeriod(d time.Duration) error {
	if d <= 0 {
		return c.fail("set", syscall.EINVAL)
	}
	if err := c.setTCP(syscall.TCP_KEEPIDLE, wholeSeconds(d)); err != nil {
		return err
	}
	return c.setTCP(syscall.TCP_KEEPINTVL, wholeSeconds(d))
}

// SetKeepAliveConfig sets all of keep-alive: TCP_KEEPIDLE, TCP_KEEPINTVL and
// TCP_KEEPCNT. Zero means the default of package net, less than zero no change.
func (c *Conn) SetKeepAliveConfig(k net.KeepAliveConfig) error {
	if k.Idle == 0 {
		k.Idle = defaultKeepAlive
	}
	if k.Interval == 0 {
		k.Interval = defaultKeepAlive
	}
	if k.Count == 0 {
		k.Count = defaultKeepAliveCount
	}
	err := c.SetKeepAlive(k.Enable)
	if err == nil && k.Idle > 0 {
		err = c.setTCP(syscall.TCP_KEEPIDLE, wholeSeconds(k.Idle))
	}
	if err == nil && k.Interval > 0 {
		err = c.setTCP(syscall.TCP_KEEPINTVL, wholeSeconds(k.Interval))
	}
	if err == nil && k.Count > 0 {
		err = c.setTCP(syscall.TCP_KEEPCNT, k.Count)
	}
	return err
}

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall lacks.
const tcpUserTimeout = 18

// SetUserTimeout sets how long sent data may stay unacknowledged before the
// connection is given up, in milliseconds, rounded up (TCP_USER_TIMEOUT). Zero
// leaves it to the number of retransmissions.
func (c *Conn) SetUserTimeout(d time.Duration) error {
	if d < 0 {
		return c.fail("set", syscall.EINVAL)
	}
	return c.setTCP(tcpUserTimeout, int((d+time.Millisecond-1)/time.Millisecond))
}

// SetLinger makes Close discard what was not sent and reset the connection
// (sec == 0), wait until it is sent and acknowledged but at most sec seconds
// (sec > 0), or send it in the background (sec < 0, the default) (SO_LINGER).
func (c *Conn) SetLinger(sec int) error { return c.setSocket(syscall.SO_LINGER, sec) }

// SetReadBuffer sets how many octets may wait to be read, from 4 KiB to 1 GiB,
// and ends the tuning of the buffer (SO_RCVBUF). A window once offered is not
// taken back.
func (c *Conn) SetReadBuffer(bytes int) error { return c.setSocket(syscall.SO_RCVBUF, bytes) }

// SetWriteBuffer sets how many octets may wait to be sent and acknowledged, from
// 4 KiB to 1 GiB, and ends the tuning of the buffer (SO_SNDBUF).
func (c *Conn) SetWriteBuffer(bytes int) error { return c.setSocket(syscall.SO_SNDBUF, bytes) }
