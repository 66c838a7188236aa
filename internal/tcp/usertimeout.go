package tcp

import "usertcp/internal/wire"

// The user timeout (RFC 9293 section 3.8.3) is how long sent data may wait for
// its acknowledgement. If the program asks for it both sides tell each other
// theirs with the option of RFC 5482.

// minutes is the granularity bit of the option: its value counts minutes and not
// seconds.
const minutes = 1 << 15

// userTimeoutSpan returns the user timeout, 0 if the number of retries decides.
// A program that has set one has the last word: the peer can't change it.
func (c *Conn) userTimeoutSpan() Time {
	u := c.Opt.UserTimeout
	if u == 0 && c.Opt.UserTimeoutOption != 0 {
		u = c.held.peerTimeout
	}
	return Time(u) * Millisecond
}

// takeUserTimeout takes what the peer says in its option: its data may take that
// long, so that ours should wait as long. A value of zero is reserved.
func (c *Conn) takeUserTimeout(now Time, o *wire.Options) {
	if o.Present&wire.HasUserTimeout == 0 || c.Opt.UserTimeoutOption == 0 {
		return
	}
	t := Time(o.UserTimeout&^minutes) * Second
	if o.UserTimeout&minutes != 0 {
		t *= 60
	}
	if t == 0 {
		return
	}
	c.held.peerTimeout = uint32(min(max(t, minUserTimeout), maxUserTimeout) / Millisecond)
	if c.armed(timerResend) {
		c.armResend(now)
	}
}

// tellUserTimeout adds the option to a segment without payload that leaves.
func (c *Conn) tellUserTimeout(out *Segment) {
	u := c.Opt.UserTimeout
	if c.Opt.UserTimeoutOption == 0 || u == 0 || u == c.held.told && out.Flags&wire.SYN == 0 {
		return
	}
	c.held.told = u
	s := (u + 999) / 1000
	if s < minutes {
		out.Options.UserTimeout = uint16(s)
	} else {
		out.Options.UserTimeout = uint16(min((s+59)/60, minutes-1)) | minutes
	}
	out.Options.Present |= wire.HasUserTimeout
}

// userTimeoutChanged sees to it that a changed user timeout holds from now on.
func (c *Conn) userTimeoutChanged(now Time) {
	if !c.State.Synchronized() || c.State == TimeWait {
		return
	}
	if c.armed(timerResend) && c.userTimeoutSpan() != 0 {
		c.timers.at[timerResend] = min(c.timers.at[timerResend], max(c.snd.since+c.userTimeoutSpan(), now+Millisecond))
		c.timers.findNext()
	}
	if u := c.Opt.UserTimeout; c.Opt.UserTimeoutOption != 0 && u != 0 && u != c.held.told {
		c.pending |= pendAck
	}
}
