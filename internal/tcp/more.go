package tcp

// MoreComes says of what was queued last that the program will send more soon
// (MSG_MORE in Linux): what fills no segment waits for it, even without Nagle's
// algorithm, until the program sends something without saying so, pushes, or
// closes, the peer's next segment has come, or the persist timer lets it go. It is
// the absence of the PUSH flag of RFC 9293 section 3.9.1.2.
func (c *Conn) MoreComes() {
	c.begin()
	if c.sends() && c.unsent() > 0 {
		c.set(flagMore | flagUnpushed)
	}
}

// Push lets what is queued leave, and what is less than full-sized with it, even
// if the program has corked the connection: turning TCP_NODELAY on does that in
// Linux. What is queued afterwards waits again.
func (c *Conn) Push() {
	c.begin()
	c.clear(flagMore)
	if c.unsent() > 0 {
		c.set(flagPush)
	}
}

// queued takes note that the program sends, and has not said that more comes.
func (c *Conn) queued() { c.clear(flagMore | flagUnpushed | flagPush) }

// pushes reports whether PSH goes with the last octets that are queued: not if the
// program has said that more comes, unless it is the timer that lets them go.
func (c *Conn) pushes() bool { return !c.has(flagUnpushed) || c.has(flagOverride) }
