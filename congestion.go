package usertcp

import (
	"syscall"

	"usertcp/internal/half"
	"usertcp/internal/tcp"
)

// CongestionControls lists the names of the congestion controls that there are,
// the default first.
func CongestionControls() []string { return tcp.CongestionNames() }

// SetCongestionControl chooses the connection's congestion control by the name
// that TCP_CONGESTION has for it: "cubic" (the default), "reno" or "bbr". It may be
// changed at any time; the new one goes on from the windows of the old one. A name
// that is none fails with syscall.ENOENT.
func (c *Conn) SetCongestionControl(name string) error {
	return c.fail("set", setCongestionControl(c.sock, name))
}

// CongestionControl returns the name of the connection's congestion control, ""
// if the connection has been closed.
func (c *Conn) CongestionControl() string {
	name := ""
	if c.sock.Options(func(o *tcp.ConnOptions) { name = tcp.CongestionName(o.Congestion) }) != nil {
		return ""
	}
	return name
}

// SetCongestionControl chooses the congestion control of the connections that the
// listener accepts from now on: see Conn.SetCongestionControl.
func (l *Listener) SetCongestionControl(name string) error {
	return l.fail("set", l.each(func(s *half.Socket) error { return setCongestionControl(s, name) }))
}

func setCongestionControl(s *half.Socket, name string) error {
	id, ok := tcp.CongestionByName(name)
	if !ok {
		return syscall.ENOENT
	}
	return s.Options(func(o *tcp.ConnOptions) { o.Congestion = id })
}

// SetPacing makes the connection spread what it sends over the round trip, also
// where its congestion control does not ask for that. It is off by default.
func (c *Conn) SetPacing(on bool) error {
	return c.fail("set", c.sock.Options(func(o *tcp.ConnOptions) { o.Pacing = uint8(toInt(on)) }))
}
