package tcp

import "usertcp/internal/seq"

// limit is what keeps a connection that has something to send or in flight from
// sending more, as TCP_INFO tells it apart.
type limit uint8

const (
	limitNone   limit = iota // nothing to send, and nothing in flight
	limitPath                // the network, or the program that writes no more
	limitWindow              // the peer's window
	limitBuffer              // the send buffer: all of it is in flight, and the program waits to write
	limits      = iota
)

// limited is for how long a connection was limited by what.
type limited struct {
	since Time               // when now began to hold
	spans [limits - 1]uint32 // by limit but for limitNone, in spanUnit
	now   limit
	_     [3]uint8
}

// spanUnit is the unit of limited.spans, which last for five days.
const spanUnit = 100 * Microsecond

// watchLimit finds out what limits the connection, and accounts for what did
// before. It is called when something has left, nothing more can leave, or an
// acknowledgement has come.
func (c *Conn) watchLimit(now Time) {
	l := &c.limited
	k := c.limit()
	if k == l.now {
		return
	}
	if l.now == limitNone {
		l.since = now
	}
	l.advance(now)
	l.now = k
}

// advance accounts for the time until now; what does not fill a unit is left for
// the next time.
func (l *limited) advance(now Time) {
	if l.now != limitNone {
		n := uint32((now - l.since) / spanUnit)
		l.spans[l.now-1] += n
		l.since += Time(n) * spanUnit
	}
}

// limit returns what limits the connection.
func (c *Conn) limit() limit {
	unsent := c.unsent()
	switch {
	case unsent == 0 && c.flight() == 0:
		return limitNone
	case unsent == 0 && c.has(flagStarved) && c.flight()+c.snd.mss <= c.cc.cwnd:
		return limitBuffer
	case unsent > 0:
		n := min(unsent, c.snd.mss)
		if c.sndEdge().Before(c.snd.nxt.Add(seq.Size(n))) && c.mayFly(n) {
			return limitWindow
		}
	}
	return limitPath
}

// LacksSpace says that the program would write, and finds no room: until there is
// room again the send buffer limits the connection, if nothing else does.
func (c *Conn) LacksSpace(now Time) {
	c.begin()
	if c.sends() {
		c.set(flagStarved)
		c.watchLimit(now)
	}
}

// limitedBy returns for how long k limited the connection.
func (c *Conn) limitedBy(now Time, k limit) Time {
	l := c.limited
	l.advance(now)
	return Time(l.spans[k-1]) * spanUnit
}
