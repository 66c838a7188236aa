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
