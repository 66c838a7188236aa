package nic

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// post is what has become of mail, until somebody with the lock adds it to the counters.
type post struct {
	refused, failed atomic.Uint64
	trouble         int // packets that do not go by mail, since some were refused
}

// postTrouble is how many packets are asked about one by one when the device has
// refused some.
const postTrouble = 1000

var (
	_ pool.Poster = (*Driver)(nil)
	_             = [pool.FrameMax - pool.MaxData - headLen]struct{}{}
)

// Frame implements pool.Poster.
func (d *Driver) Frame(p *pool.Packet, b *[pool.FrameMax]byte) int {
	c := &d.ctl.counters
	if n := d.post.refused.Swap(0); n > 0 {
		c.TxFull += n
		d.post.trouble = postTrouble
	}
	if n := d.post.failed.Swap(0); n > 0 {
		c.TxErrors += n
	}
	if d.post.trouble > 0 {
		d.post.trouble--
		return 0
	}
	n := int(p.Header + p.Inline)
	copy(b[headLen:], p.Data[:n])
	putHead((*[headLen]byte)(b[:headLen]), b[headLen:headLen+n], p, int(p.SegSize))
	c.Writes++
	c.FramesOut++
	c.OctetsOut += uint64(p.Header) + uint64(p.Payload)
	if b[atGSOType] != gsoNone {
		c.MergedOut++
	}
	return headLen + n
}

// Post implements pool.Poster.
func (d *Driver) Post(m *pool.Mail) {
	for i := range m.Len() {
		switch shm.Write(d.fd, m.Frame(i)) {
		case 0:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			d.post.refused.Add(1)
		default:
			d.post.failed.Add(1)
		}
	}
}
