package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// memoryMTU is the MTU from which on a link is another host's memory: a round
// trip takes microseconds there, and what is in flight fits the buffers that a
// connection begins with. Larger ones would only be colder.
const memoryMTU = 32 << 10

// limitBuffers says how far the buffers of a fresh connection may grow by
// themselves. A program can change it: SO_SNDBUF, SO_RCVBUF, OptionSndMax and
// OptionRcvMax.
func (h *Half) limitBuffers(o *tcp.ConnOptions) {
	if h.ctl.mtu >= memoryMTU {
		o.SndMax, o.RcvMax = 0, 0
	}
}

// Buffers of a connection over the host's devices, in octets, if the program has not
// said: an acknowledgement waits for the receiving program's turn on a CPU, and what
// is in flight meanwhile must not be all that there may be. With 1 MiB a stream
// between two programs had a third less.
const (
	nicSndBuf = 4 << 20
	nicRcvBuf = 2 << 20
)

// tune sets the buffers of a connection over the host's devices, which may grow,
// whatever the ring's MTU.
func (h *Half) tune(o *tcp.ConnOptions, circuit uint16) {
	if circuit != pool.NIC {
		return
	}
	d := tcp.DefaultOptions()
	if o.SndMax == 0 && o.RcvMax == 0 {
		o.SndMax, o.RcvMax = d.SndMax, d.RcvMax
	}
	if o.SndLock == 0 {
		o.SndBuf = max(o.SndBuf, nicSndBuf)
	}
	if o.RcvLock == 0 {
		o.RcvBuf = max(o.RcvBuf, nicRcvBuf)
	}
}

// tight reports whether memory runs short, so that no buffer may grow: the pool's, whose
// limits are those of all its connections together, or the host's, of which the
// connection server knows (limits.go).
func (h *Half) tight() bool {
	return h.ctl.limits.level != Plenty || h.rx.Used() > h.rx.Limit()/4*3 || h.ctl.chunks.Free < maxChunks/4
}

// crowd counts the connections over the host's devices to which data comes: what they
// have not read shares the pool's buffers. On a ring it lies in the peer's memory.
type crowd struct {
	epoch       uint8
	began       tcp.Time
	here, there uint32 // in this epoch and in the one before
}

const (
	crowdEpoch = 50 * tcp.Millisecond
	crowdFew   = 4        // connections that need no limit: their buffers do not grow so far
	crowdLeast = 512      // octets in a packet of a stream; who asks and answers with less needs no buffers
	leastShare = 64 << 10 // octets that a connection may have unread, however many others there are
)

// crowds notes that a packet of octets comes for connection i.
func (h *Half) crowds(i, octets uint32) {
	if octets < crowdLeast {
		return
	}
	c := &h.crowd
	if past := h.now - c.began; past >= crowdEpoch {
		if c.there = c.here; past >= 2*crowdEpoch {
			c.there = 0
		}
		c.here, c.began = 0, h.now
		c.epoch++
	}
	if a := &h.aux[i]; a.epoch != c.epoch {
		a.epoch = c.epoch
		c.here++
	}
}

// share returns what each of them may have of octets, 0 if they are few.
func (c *crowd) share(octets uint32) uint32 {
	if n := max(c.here, c.there); n > crowdFew {
		return max(leastShare, octets/(n+1))
	}
	return 0
}

// mostUnread returns how many octets a connection over the host's devices may have
// unread, its window included; 0 if there is no need for a limit. Windows are promises, and
// all of them together may be far more than the pool has: what comes when its buffers are
// full is lost, and the peer takes that for congestion. So connections to which data comes
// share half of the buffers (what the device's slots hold comes on top), and if more than a
// quarter is in use for whatever reason nobody gets more than half of the rest.
func (h *Half) mostUnread() uint32 {
	limit, used := uint32(h.rx.Limit())*rxSize, uint32(h.rx.Used())*rxSize
	most := h.crowd.share(limit / 2)
	if used <= limit/4 {
		return most
	}
	rest := max(leastShare, (limit-min(used, limit))/2)
	if most == 0 {
		return rest
	}
	return min(most, rest)
}
