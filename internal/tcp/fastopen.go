package tcp

import (
	"encoding/binary"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// TCP Fast Open (RFC 7413): a client that has a cookie of the server's sends its
// first data in the SYN, and the server's program gets it, and may answer it, before
// the handshake is complete. The cookie shows that the client gets what is sent to
// its address. What a SYN carries may arrive twice: it is for programs to choose.
//
// The cookies themselves, and who has which, are the half's business.

// fastOpen is the part of Fast Open in a connection.
type fastOpen struct {
	cookie [16]uint8 // of n octets: the peer's as a client, ours as a server
	mss    uint16    // the peer's MSS when it was last asked, 0: not known
	n      uint8
	state  uint8
	fail   FastFail
	_      [3]uint8
}

// What there is to fastOpen.state.
const (
	fastClient   = 1 << iota // our SYN has the option
	fastBare                 // … of which the program says that it is not needed
	fastHeld                 // our SYN waits for the first data
	fastSent                 // our SYN had data
	fastTaken                // the data of the SYN, ours or the peer's, was taken
	fastLearned              // the peer has sent a cookie
	fastServer               // opened by data in a SYN, before the handshake was complete
	fastGranting             // our SYN-ACK has a cookie
)

// FastFail says why the data of a SYN was not taken: Linux's tcpi_fastopen_client_fail.
type FastFail uint8

// The causes.
const (
	FastFailNone     FastFail = iota
	FastFailNoCookie          // there was no cookie for the server
	FastFailNotAcked          // the server did not take it
	FastFailResent            // the SYN had to be sent again
)

const (
	fastCookieLen = 8          // octets of our cookies, as Linux's
	fastHold      = 1 * Second // most that a SYN waits for data
)

// FastCookie returns the cookie for the remote end of a flow: who has not the key
// can't compute it. It is Linux's, so that both stacks can serve one address with
// one key: SipHash of source and destination of the SYN. ISN and cookieHash have
// messages of other lengths, so that one secret does for all.
func FastCookie(key *[16]byte, flow *wire.Flow) (cookie [fastCookieLen]byte) {
	var b [32]byte
	skip := 0
	if flow.Remote.Addr.Is4() {
		skip = 12
	}
	k := copy(b[:], flow.Remote.Addr[skip:])
	k += copy(b[k:], flow.Local.Addr[skip:])
	binary.LittleEndian.PutUint64(cookie[:], sipHash(key, b[:k]))
	return cookie
}

// AskFast is called right after OpenActive, in the same step, for a connection with
// Opt.FastOpen. cookie is the server's, with its MSS; without one the SYN asks for
// it. With one, or where the program says that none is needed, the SYN waits for
// the first data.
func (c *Conn) AskFast(now Time, cookie []byte, mss uint16) {
	f := &c.fast
	f.state, f.mss = fastClient, mss
	f.n = uint8(copy(f.cookie[:], cookie))
	if c.Opt.FastOpenNoCookie != 0 {
		f.state |= fastBare
	}
	if f.n == 0 && f.state&fastBare == 0 {
		f.fail = FastFailNoCookie
		return
	}
	f.state |= fastHeld
	c.pending &^= pendSyn
	c.arm(timerResend, now+fastHold)
}

// FastHeld reports whether the SYN waits for the program's first data.
func (c *Conn) FastHeld() bool { return c.State == SynSent && c.fast.state&fastHeld != 0 }

// LetFast lets the SYN go that has waited, with what data there is.
func (c *Conn) LetFast() {
	if c.FastHeld() {
		c.fast.state &^= fastHeld
		c.pending |= pendSyn
		c.stop(timerResend)
	}
}

// sendsEarly reports whether data may be written before the handshake is complete.
func (c *Conn) sendsEarly() bool {
	return c.FastHeld() || c.FastPending()
}

// fastSyn puts the option, and data, into our SYN. One that is sent again goes
// without them, as RFC 7413 section 4.2.1 advises: some middlebox may not like them.
func (c *Conn) fastSyn(m *Memory, out *Segment) {
	f, s, o := &c.fast, &c.snd, &out.Options
	f.state &^= fastHeld
	if s.nxt != s.iss {
		f.fail = FastFailResent
		return
	}
	if f.state&fastBare == 0 {
		o.Present |= wire.HasFastOpen
		o.Cookie, o.CookieLen = f.cookie, f.n
	}
	if f.n == 0 && f.state&fastBare == 0 || c.SndQ.Bytes == 0 {
		return
	}
	n := min(c.SndQ.Bytes, c.FastRoom())
	out.First, out.Skip, out.Len = c.SndQ.Head, 0, n
	s.next = c.SndQ.forward(m, cursor{c.SndQ.Head, 0}, n)
	f.state |= fastSent
	c.Stats.DataSegsOut++
	c.Stats.BytesSent += uint64(n)
}

// FastRoom returns how many octets of data a SYN can carry, all options supposed.
func (c *Conn) FastRoom() uint32 {
	mss := c.fast.mss
	if mss == 0 {
		mss = defaultMSS6
		if c.Flow.Remote.Addr.Is4() {
			mss = defaultMSS4
		}
	}
	return uint32(min(max(mss, minMSS), c.Opt.MSS)) - optionsLen
}

// fastAnswered takes from the SYN-ACK what it says of Fast Open.
func (c *Conn) fastAnswered(seg *Segment) {
	f, o := &c.fast, &seg.Options
	if f.state&fastClient == 0 {
		return
	}
	if o.Has(wire.HasMSS) {
		f.mss = o.MSS
	}
	if o.Has(wire.HasFastOpen) && o.CookieLen > 0 && f.state&fastBare == 0 { // one that was not asked for is not kept
		f.cookie, f.n = o.Cookie, o.CookieLen
		f.state |= fastLearned
	}
	c.Events |= EventFastOpen
}

// fastEstablish sees to data that was sent before the handshake was complete. What
// was in our SYN and is not acknowledged with it was not taken: it is as if it
// had never been sent, so that it goes at once.
func (c *Conn) fastEstablish(m *Memory, now Time, seg *Segment) {
	f, s := &c.fast, &c.snd
	early := f.state&fastServer != 0
	f.state &^= fastServer
	if s.nxt == s.una {
		return
	}
	if !early && seg.Ack.Before(s.nxt) {
		s.nxt = seg.Ack
		s.next = cursor{chunk: None}
		if c.SndQ.Count > 0 {
			s.next = c.SndQ.forward(m, cursor{c.SndQ.Head, 0}, uint32(seg.Ack.From(s.una)))
		}
	}
	if !early && seg.Ack == s.una {
		if f.fail == FastFailNone {
			f.fail = FastFailNotAcked
		}
		return
	}
	if f.state&fastSent != 0 {
		f.state |= fastTaken
		f.fail = FastFailNone
	}
	if c.has(flagSACK) {
		c.board.grow(m, s.nxt, stampOf(now), c.rack.grain)
	}
	c.armResend(now)
}

// GrantFast is called right after OpenPassive, in the same step: the SYN-ACK is to
// have this cookie.
func (c *Conn) GrantFast(cookie []byte) {
	c.fast.n = uint8(copy(c.fast.cookie[:], cookie))
	c.fast.state |= fastGranting
}

// AcceptFast is called right after OpenPassive, in the same step, if the SYN's data
// may be taken. The SYN must then be given to Input.
func (c *Conn) AcceptFast() { c.fast.state |= fastServer }

// FastPending reports whether the connection was opened by data in a SYN and nothing
// has shown yet that the peer got our answer.
func (c *Conn) FastPending() bool {
	const both = fastServer | fastTaken
	return c.State == SynReceived && c.fast.state&both == both
}

// FastFailed reports whether the connection has ended while it was FastPending.
func (c *Conn) FastFailed() bool { return c.State == Closed && c.fast.state&fastServer != 0 }

// Closing reports whether the program has said that it sends no more.
func (c *Conn) Closing() bool { return c.has(flagFinQueued) }

// FastOutcome says what the handshake has told a client: the cookie that the server
// has sent, if it has, and its MSS; whether it took the data; and whether a SYN with
// the option was lost.
func (c *Conn) FastOutcome() (cookie []byte, mss uint16, taken, lost bool) {
	f := &c.fast
	if f.state&fastLearned != 0 {
		cookie = f.cookie[:f.n]
	}
	return cookie, f.mss, f.state&fastTaken != 0, f.fail == FastFailResent
}

// takeFast takes the data of the SYN that has opened the connection, which counts
// as open for the program from now on.
func (c *Conn) takeFast(m *Memory, now Time, seg *Segment) {
	c.offerSyn()
	c.dropSyn(seg)
	seg.Flags &^= wire.FIN | wire.URG // they come again
	c.startCongestion(now)
	c.fast.state |= fastTaken
	c.arriveText(m, now, seg)
	c.Events |= EventEstablished | EventWritable
}

// fastEnd is the number behind what a SYN carries.
func fastEnd(iss seq.Number, out *Segment) seq.Number { return iss.Add(seq.Size(1 + out.Len)) }
