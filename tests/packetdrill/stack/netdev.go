package stack

import (
	"sync"
	"sync/atomic"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// Sizes of the network device.
const (
	txBuffers  = 1024
	txSize     = 16 << 10
	rxSlots    = 256
	rxSlotSize = 64 << 10
	queueLen   = 4096
)

// sent is a packet that has left, and when.
type sent struct {
	ip []byte
	at time.Time
}

// netdev is a pool.Driver with one circuit, 0, that leads to packetdrill. The
// octets of packets are copied at once, both ways.
type netdev struct {
	mu      sync.Mutex
	arrived [][]byte // not taken by Receive yet

	out  chan sent
	tx   pool.Buffers
	txm  []byte
	rxm  []byte
	free []uint32 // slots of rxm
	rx   map[uint32]int
	lost uint64

	queue  queueing
	routes routes
	cuts   atomic.Bool // segmentation offload is switched off: trains leave as single packets
}

var _ pool.Driver = (*netdev)(nil)

func newNetdev() *netdev {
	d := &netdev{
		out: make(chan sent, queueLen),
		txm: make([]byte, txBuffers*txSize),
		rxm: make([]byte, rxSlots*rxSlotSize),
		rx:  map[uint32]int{},
	}
	d.tx = pool.NewBuffers(new(pool.List), make([]uint32, txBuffers), make([]uint32, txBuffers), txSize, 0)
	d.tx.Reset(txBuffers)
	for i := range uint32(rxSlots) {
		d.free = append(d.free, i)
	}
	return d
}

// push makes a packet arrive.
func (d *netdev) push(ip []byte) {
	d.mu.Lock()
	d.arrived = append(d.arrived, append([]byte(nil), ip...))
	d.mu.Unlock()
}

func (d *netdev) pop() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.arrived) == 0 {
		return nil
	}
	b := d.arrived[0]
	d.arrived = d.arrived[1:]
	return b
}

// Pending implements pool.Driver.
func (d *netdev) Pending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.arrived) > 0
}

// Glance implements pool.Driver.
func (d *netdev) Glance() bool { return d.Pending() }

// Arm implements pool.Driver.
func (d *netdev) Arm() bool { return d.Pending() }

// Receive implements pool.Operations.
func (d *netdev) Receive(p *pool.Packet) bool {
	for {
		b := d.pop()
		if b == nil {
			return false
		}
		if d.split(p, b) {
			return true
		}
		d.lost++
	}
}

// split puts the packet in b into p: its headers, and its payload as one piece.
func (d *netdev) split(p *pool.Packet, b []byte) bool {
	var ip wire.IP
	if wire.ParseIP(b, &ip) != nil || ip.TotalLen > len(b) || ip.HeaderLen+14 > ip.TotalLen {
		return false
	}
	b = b[:ip.TotalLen]
	n := ip.HeaderLen + int(b[ip.HeaderLen+12]>>4)*4
	if n > len(b) || n > pool.MaxData {
		return false
	}
	*p = pool.Packet{Header: uint16(n), ID: pool.None, Region: pool.RxRegion(0), Payload: uint32(len(b) - n)}
	copy(p.Data[:], b[:n])
	if flags := wire.Flags(b[ip.HeaderLen+13]); flags&(wire.SYN|wire.ACK) == wire.SYN {
		p.PathMTU, _ = d.routes.mtu(ip.Src)
	}
	if len(b) == n {
		return true
	}
	if len(d.free) == 0 {
		return false
	}
	slot := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	off := slot * rxSlotSize
	copy(d.rxm[off:], b[n:])
	p.NPieces, p.ID = 1, slot
	p.Pieces[0] = pool.Piece{Off: off, Len: uint32(len(b) - n)}
	d.rx[slot] = 1
	return true
}

// Release implements pool.Operations.
func (d *netdev) Release(_ uint16, id uint32, n int) {
	if d.rx[id] -= n; d.rx[id] == 0 {
		delete(d.rx, id)
		d.free = append(d.free, id)
	}
}

// Send implements pool.Operations. Scripts for Linux expect trains whole, as a device
// with segmentation offload gets them, unless they have switched that off.
func (d *netdev) Send(p *pool.Packet) bool {
	if d.queue.refuses() {
		return false
	}
	b := append(make([]byte, 0, int(p.Header)+int(p.Payload)), p.Data[:p.Header+p.Inline]...)
	for _, q := range p.Pieces[:p.NPieces] {
		b = append(b, d.txm[q.Off:q.Off+q.Len]...)
	}
	packets := [][]byte{b}
	if d.cuts.Load() {
		packets = cut(b, int(p.Header), int(p.SegSize))
	} else {
		checksum(b, int(p.Header))
	}
	for _, ip := range packets {
		select {
		case d.out <- sent{ip, time.Now()}:
		default:
			d.lost++
		}
	}
	return true
}

// The rest of pool.Driver: a circuit that is always there and has room.

func (d *netdev) Execute(ops []pool.Op)                    { pool.Perform(d, ops) }
func (d *netdev) MayRefuse(uint16) bool                    { return true }
func (d *netdev) Crossings() uint64                        { return 0 }
func (d *netdev) Awake()                                   {}
func (d *netdev) Changed() bool                            { return false }
func (d *netdev) Mapped(c uint16) bool                     { return c == 0 }
func (d *netdev) Usable(c uint16) bool                     { return c == 0 }
func (d *netdev) Crowded(uint16) bool                      { return len(d.free) < rxSlots/4 }
func (d *netdev) Use(uint16, int)                          {}
func (d *netdev) Flush(*shm.Rings)                         {}
func (d *netdev) Offload(uint16) uint32                    { return pool.MaxPDU }
func (d *netdev) Room(uint16) int                          { return queueLen - len(d.out) }
func (d *netdev) Backlog(uint16) int                       { return 0 }
func (d *netdev) Notify(uint16, bool, bool)                {}
func (d *netdev) Notice()                                  {}
func (d *netdev) Alloc(uint16) (buf, off uint32)           { return d.tx.Alloc() }
func (d *netdev) Ref(_ uint16, buf uint32)                 { d.tx.Ref(buf) }
func (d *netdev) Unref(_ uint16, buf uint32)               { d.tx.Unref(buf) }
func (d *netdev) BufferSize() int                          { return txSize }
func (d *netdev) Rebuild(_, _ func(uint16, uint32) uint32) {}

// Octets implements pool.Driver.
func (d *netdev) Octets(region uint16) []byte {
	if pool.IsTx(region) {
		return d.txm
	}
	return d.rxm
}
