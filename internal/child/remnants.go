package child

import (
	"time"

	"usertcp/internal/message"
	"usertcp/internal/tcp"
)

// remnantPeriod is how often a child whose application has ended looks whether
// nothing is left but TIME-WAITs, and lingerPeriod how often what it can do without.
const (
	remnantPeriod = 100 * time.Millisecond
	lingerPeriod  = 2 * time.Second
)

// remnantsAtOnce is how many remnants go in one message.
const remnantsAtOnce = message.MaxPDU / tcp.RemnantLen

// handRemnants gives connections in TIME-WAIT to the server when there are no
// others any more: they need no process of their own for a minute. Those that the
// server does not take stay.
func (c *child) handRemnants() { c.leaveTimeWaits(c.bottom.Remnants()) }

// vacate gives back what a program that has ended has left of ports, while other
// connections of its keep this child: first what has been in TIME-WAIT for a while, then
// the leased blocks in which nothing is left.
func (c *child) vacate() {
	select {
	case <-c.ended:
	default:
		return
	}
	c.leaveTimeWaits(c.bottom.LingeringRemnants())
	c.returnLeases()
}

// leaveTimeWaits gives the server connections in TIME-WAIT, and returns how many it has taken.
func (c *child) leaveTimeWaits(rs []tcp.Remnant) (taken int) {
	for len(rs) > 0 {
		var some []tcp.Remnant
		n := min(len(rs), remnantsAtOnce)
		some, rs = rs[:n], rs[n:]
		m := message.Message{Type: message.TimeWait}
		for i := range some {
			m.PDU = some[i].Append(m.PDU)
		}
		r, errno := c.ask(&m)
		for i := range some[:min(int(r.N), n)] {
			c.bottom.Retire(some[i].Flow)
			taken++
		}
		if errno != 0 {
			break
		}
	}
	return taken
}
