package nic

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// room is how many packets the device takes: it copies what it is given at once
// and passes it on, so that there is no queue to fill.
const room = 64

// Room implements pool.Driver.
func (d *Driver) Room(uint16) int { return room }

// Offload implements pool.Driver: the kernel cuts what has a virtio header that
// says so.
func (d *Driver) Offload(uint16) uint32 { return pool.MaxPDU }

// Backlog implements pool.Driver.
func (d *Driver) Backlog(uint16) int { return 0 }

// Notify implements pool.Driver.
func (d *Driver) Notify(uint16, bool, bool) {}

// Notice implements pool.Driver. It begins a turn, whose first look is for what has come
// meanwhile, and not for what lay behind the last packet.
func (d *Driver) Notice() { d.pace.behind = false }

// Flush implements pool.Driver: what was sent has left.
func (d *Driver) Flush(*shm.Rings) {}

// Send implements pool.Operations: one system call for each packet. The kernel refuses
// it if what the TAP has under way exceeds its send buffer (TUNSETSNDBUF), or if
// there is no memory. A packet with which it can do nothing is lost, as a packet may
// be.
func (d *Driver) Send(p *pool.Packet) bool {
	n := int(p.Header + p.Inline)
	b := d.outHead[headLen : headLen+n]
	copy(b, p.Data[:n])
	putHead((*[headLen]byte)(d.outHead[:headLen]), b, p, int(p.SegSize))
	d.out.Reset()
	d.out.Add(d.outHead[:headLen+n])
	for _, q := range p.Pieces[:p.NPieces] {
		d.out.Add(d.txOctets[q.Off : q.Off+q.Len])
	}
	c := &d.ctl.counters
	_, errno := d.out.Write(d.fd)
	c.Writes++
	switch errno {
	case 0:
		c.FramesOut++
		c.OctetsOut += uint64(p.Header) + uint64(p.Payload)
		if d.outHead[atGSOType] != gsoNone {
			c.MergedOut++
		}
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		c.TxFull++
		return false
	default:
		c.TxErrors++
	}
	return true
}
