package half

import (
	"encoding/binary"
	"unsafe"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Fast Open (RFC 7413): the cookies that we have of servers, those that we give to
// clients, and how many connections data in a SYN may open before it is known that
// the client gets our answers.

const (
	fastCache = 256 // servers whose cookies are kept
	fastSlots = 256 // connections that SYNs with data have opened, at one time
	fastTries = 4   // places of the cache where a server can stand
	fastKeyed = 256 // listeners that have keys of their own

	fastPause    = 60 // s without Fast Open after a SYN of it was lost; doubled each time
	fastPauseMax = 3600
	fastGrudge   = 60 // s that a connection counts which its client has reset
)

// fastState is what a segment knows of Fast Open. All of it is guarded by the lock,
// and none of it must be right: a cookie that is wrong is refused.
type fastState struct {
	keys  [fastKeyed]fastKeys
	slots [fastSlots]fastSlot
	cache [fastCache]fastServer
}

// fastSlot is a connection that a SYN with data has opened.
type fastSlot struct {
	conn  uint32 // index + 1, 0 if it is free
	gen   uint32 // of the connection's slot
	until uint32 // s; not 0: it was reset before the handshake was complete, and counts until then
	_     uint32
}

// fastServer is a server that we may know a cookie of.
type fastServer struct {
	addr   wire.Addr
	cookie [16]byte
	n      uint8  // octets of cookie
	lost   uint8  // SYNs with the option that were lost, since one was not
	mss    uint16 // that it offered
	used   uint32 // s, when it was last used
	until  uint32 // s: no Fast Open before
	_      uint32
}

var (
	_ [48]byte                                         = [unsafe.Sizeof(fastServer{})]byte{}
	_ [40]byte                                         = [unsafe.Sizeof(fastKeys{})]byte{}
	_ [fastKeyed*40 + fastSlots*16 + fastCache*48]byte = [unsafe.Sizeof(fastState{})]byte{}
	_ [fastKeyed*40 + fastSlots*16]byte                = [unsafe.Offsetof(fastState{}.cache)]byte{}
)

func (h *Half) seconds() uint32 { return uint32(h.now/tcp.Second) + 1 }

// fastServer returns the cache's entry of a server; if there is none and fresh is
// set, that of the one that was not used for the longest time.
func (h *Half) fastServer(addr *wire.Addr, fresh bool) *fastServer {
	x := (binary.LittleEndian.Uint64(addr[8:]) ^ binary.LittleEndian.Uint64(addr[:])) * 0x9e3779b97f4a7c15
	at := uint32((x ^ x>>29) * 0xbf58476d1ce4e5b9 >> 40)
	var oldest *fastServer
	for k := range uint32(fastTries) {
		e := &h.fast.cache[(at+k)%fastCache]
		if e.addr == *addr {
			return e
		}
		if oldest == nil || e.used < oldest.used {
			oldest = e
		}
	}
	if !fresh {
		return nil
	}
	*oldest = fastServer{addr: *addr}
	return oldest
}

// askFast lets connection c, which has just begun an active open, do Fast Open, if
// its program wants that and its SYNs were not lost of late.
func (h *Half) askFast(c *tcp.Conn) {
	if c.Opt.FastOpen == 0 {
		return
	}
	e := h.fastServer(&c.Flow.Remote.Addr, false)
	switch {
	case e == nil:
		c.AskFast(h.now, nil, 0)
	case e.until <= h.seconds():
		e.used = h.seconds()
		c.AskFast(h.now, e.cookie[:min(int(e.n), len(e.cookie))], e.mss)
	}
}

// learnFast remembers what a handshake has told of a server.
func (h *Half) learnFast(c *tcp.Conn) {
	cookie, mss, taken, lost := c.FastOutcome()
	e := h.fastServer(&c.Flow.Remote.Addr, true)
	e.used = h.seconds()
	e.mss = mss
	if cookie != nil {
		e.cookie = [16]byte{}
		e.n = uint8(copy(e.cookie[:], cookie))
	}
	switch {
	case lost && cookie == nil: // with one the option has come through
		// Something on the path does not like the option, or data in a SYN: RFC 7413
		// section 4.1.3.1 asks for a cache of such negative responses, too.
		e.lost = min(e.lost+1, 16)
		e.until = h.seconds() + min(uint32(fastPause)<<(e.lost-1), fastPauseMax)
	case taken:
		e.lost, e.until = 0, 0
	}
}

// fastPassive decides what connection i, which the SYN in h.arr has just made for
// listener l, does of Fast Open. It reports whether the SYN's data may be taken.
func (h *Half) fastPassive(l, i uint32) bool {
	opt, o, c := &h.conns[l].Opt, &h.arr.Options, &h.conns[i]
	asked, bare := o.Has(wire.HasFastOpen), opt.FastOpenNoCookie != 0
	if opt.FastOpenQueue == 0 || !asked && !bare {
		return false
	}
	first, second := h.fastKeys(l)
	cookie, older := tcp.FastCookie(first, &c.Flow), tcp.FastCookie(second, &c.Flow)
	shown := string(o.Cookie[:min(int(o.CookieLen), len(o.Cookie))])
	if asked && shown != string(cookie[:]) {
		// A request, or a cookie of an old key, of another address, or made up: RFC 7413
		// section 4.2.2 gives them all a good one.
		c.GrantFast(cookie[:])
	}
	if !bare && shown != string(cookie[:]) && shown != string(older[:]) || h.arr.Len == 0 {
		return false
	}
	slot := h.fastSlot(uint32(opt.FastOpenQueue))
	if slot == nil {
		h.ctl.Counters.FastFull++
		return false
	}
	*slot = fastSlot{conn: i + 1, gen: h.aux[i].gen}
	c.AcceptFast()
	h.ctl.Counters.FastTaken++
	return true
}

// fastSlot returns a free slot, if fewer than limit are in use: who has
// collected cookies could otherwise have us work for any number of addresses (RFC
// 7413 section 5.1). What was reset counts for a while too.
func (h *Half) fastSlot(limit uint32) *fastSlot {
	var free *fastSlot
	used, now := uint32(0), h.seconds()
	for k := range h.fast.slots {
		s := &h.fast.slots[k]
		switch i := s.conn - 1; {
		case s.conn == 0:
		case s.until > now && s.until <= now+fastGrudge:
			used++
			continue
		case s.until == 0 && i < MaxConns && h.aux[i].gen == s.gen && h.conns[i].FastPending():
			used++
			continue
		}
		*s = fastSlot{}
		free = s
	}
	if used >= limit {
		return nil
	}
	return free
}

// fastClosed notes that connection i has ended: if that was before its handshake
// was complete, its slot stays taken.
func (h *Half) fastClosed(i uint32) {
	if !h.conns[i].FastFailed() {
		return
	}
	for k := range h.fast.slots {
		if s := &h.fast.slots[k]; s.conn == i+1 && s.until == 0 && s.gen == h.aux[i].gen {
			s.until = h.seconds() + fastGrudge
		}
	}
}

// LetFast sends the SYN of an active open that has waited for the program's first
// data: there is none for now.
func (s *Socket) LetFast() {
	t := s.t
	t.enter()
	t.now = t.clock()
	t.begin(s.i).LetFast()
	t.commit(s.i)
	t.settle()
	t.leave()
}
