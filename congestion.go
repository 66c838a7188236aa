package usertcp

import (
	"syscall"

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
	id, ok := tcp.CongestionByName(name)
	if !ok {
		return c.fail("set", syscall.ENOENT)
	}
	return c.set(func(o *tcp.ConnOptions) { o.Congestion = id })
}

// CongestionControl returns the name of the connection's congestion control, ""
// if the connection has been closed.
func (c *Conn) CongestionControl() string {
	name := ""
	if c.set(func(o *tcp.ConnOptions) { name = tcp.CongestionName(o.Congestion) }) != nil {
		return ""
	}
	return name
}

// SetPacing makes the connection spread what it sends over the round trip, also
// where its congestion control does not ask for that. It is off by default.
func (c *Conn) SetPacing(on bool) error {
	return c.set(func(o *tcp.ConnOptions) { o.Pacing = bit(on) })
}
