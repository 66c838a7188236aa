package child

import (
	"time"

	"usertcp/internal/message"
)

// remnantPeriod is how often a child whose application has ended looks whether
// nothing is left but TIME-WAITs.
const remnantPeriod = 100 * time.Millisecond

// handRemnants gives connections in TIME-WAIT to the server when there are no
// others any more: they need no process of their own for a minute. Those that the
// server does not take stay.
func (c *child) handRemnants() {
	for _, r := range c.bottom.Remnants() {
		m := message.Message{Type: message.TimeWait, PDU: r.Append(nil)}
		if _, errno := c.ask(&m); errno != 0 {
			return
		}
		c.bottom.Retire(r.Flow)
	}
}
