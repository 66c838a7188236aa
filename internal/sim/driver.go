package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// rxSlots is how many received packets of one peer a pool can hold, and rxQueue
// how many wait to be received.
const (
	rxSlots = 64
	rxQueue = 256
)

// driver is pool.Driver over the simulated network. It has one circuit to each
// other host, numbered like the host. Packets travel as octets with checksums,
// and leave one by one: until then their buffers are pinned, as a device pins
// what it sends from.
type driver struct {
	r        *rand.Rand
	circuits []circuit
	rx       []arrival
	depart   func(to int, b []byte) // sees every packet that is sent, at once
	schedule func(to int)           // the circuit's queue is not empty any more
	taken    func(b []byte)         // sees every packet that is received
	death    int                    // calls until the caller dies, 0: he does not
	tamper   func(p *pool.Packet)   // changes what is received, for tests of the checkers

	refuse float64 // of packets that are sent

	counters struct{ rxFull, slotsFull, alter, refused int }
}

// arrival is a packet that has arrived from a host.
type arrival struct {
	from int
	b    []byte
}

// circuit is the way to one peer.
type circuit struct {
	octets []byte
	list   pool.List
	bufs   pool.Buffers
	refs   []uint32
	queue  []departing
	slots  int // that the queue has

	wantSent, sent         bool // Notify: all that was sent has left
	wantReleased, released bool // … a buffer has come back

	held  []byte // rxSlots times size, made when first used
	size  uint32 // octets of a slot: no packet is larger
	holds [rxSlots]uint32
	busy  int // slots in use
}

// departing is a packet in a circuit's queue.
type departing struct {
	b    []byte
	bufs []uint32
	live [][]byte // the pinned memory that the payload lies in
	head int      // octets of b that are not in live
}

var _ pool.Driver = (*driver)(nil)

// died is what a program panics with that dies in the middle of a call.
type died struct{}

func newDriver(r *rand.Rand, p *Plan, hosts int) *driver {
	d := &driver{r: r, circuits: make([]circuit, hosts), refuse: p.Refuse}
	for i := range d.circuits {
		c := &d.circuits[i]
		c.octets = make([]byte, p.Buffer*p.Buffers)
		c.refs = make([]uint32, p.Buffers)
		c.bufs = pool.NewBuffers(&c.list, c.refs, make([]uint32, p.Buffers), p.Buffer, 0)
		c.bufs.Reset(p.Buffers)
		c.slots, c.size = p.Slots, uint32(p.MTU)
	}
	return d
}

// mayDie counts a call down to the death of its caller.
func (d *driver) mayDie() {
	if d.death > 0 {
		if d.death--; d.death == 0 {
			panic(died{})
		}
	}
}

// arrive puts a packet into the receive queue, and reports false if that is full.
func (d *driver) arrive(from int, b []byte) bool {
	if len(d.rx) == rxQueue {
		d.counters.rxFull++
		return false
	}
	d.rx = append(d.rx, arrival{from, b})
	return true
}

// Receive implements pool.Operations.
func (d *driver) Receive(p *pool.Packet) bool {
	d.mayDie()
	for len(d.rx) > 0 {
		a := d.rx[0]
		d.rx = d.rx[1:]
		d.taken(a.b)
		if d.unpack(p, a) {
			if d.tamper != nil {
				d.tamper(p)
			}
			return true
		}
		d.counters.slotsFull++
	}
	return false
}

// unpack makes a packet of octets: a short payload inline, others in a slot.
func (d *driver) unpack(p *pool.Packet, a arrival) bool {
	n := headers(a.b)
	p.Circuit, p.Region, p.Partial, p.PathMTU = uint16(a.from), pool.RxRegion(uint16(a.from)), false, 0
	p.Header, p.Payload, p.ID = uint16(n), uint32(len(a.b)-n), pool.None
	p.Inline, p.NPieces = 0, 0
	if len(a.b) <= pool.MaxData-wire.AAL5Len {
		p.Inline = uint16(p.Payload)
		copy(p.Data[:], a.b)
		return true
	}
	copy(p.Data[:], a.b[:n])
	c := &d.circuits[a.from]
	id := c.slot()
	if id == pool.None {
		return false
	}
	off := id * c.size
	copy(c.held[off:], a.b[n:])
	p.ID = id
	d.split(p, off)
	c.holds[id] = uint32(p.NPieces)
	return true
}

// split divides a payload at off into one to three pieces.
func (d *driver) split(p *pool.Packet, off uint32) {
	left := p.Payload
	for range d.r.IntN(3) {
		if n := uint32(d.r.IntN(int(left))); n > 0 && n < left {
			p.Pieces[p.NPieces] = pool.Piece{Off: off, Len: n}
			p.NPieces++
			off, left = off+n, left-n
		}
	}
	p.Pieces[p.NPieces] = pool.Piece{Off: off, Len: left}
	p.NPieces++
}

// slot takes a free slot for a received packet, or None.
func (c *circuit) slot() uint32 {
	if c.held == nil {
		c.held = make([]byte, rxSlots*c.size)
	}
	for i, n := range c.holds {
		if n == 0 {
			c.busy++
			return uint32(i)
		}
	}
	return pool.None
}

// headers returns how many octets at the front of b are headers, as far as a
// device can tell.
func headers(b []byte) int {
	const most = 60 + wire.MaxTCPLen
	var ip wire.IP
	if wire.ParseIP(b, &ip) != nil || ip.Proto != wire.ProtoTCP || ip.HeaderLen > 60 || ip.HeaderLen+wire.TCPLen > len(b) {
		return min(len(b), most)
	}
	return min(len(b), ip.HeaderLen+int(b[ip.HeaderLen+12]>>4)*4, most)
}

// Release implements pool.Operations.
func (d *driver) Release(circuit uint16, id uint32, n int) {
	d.mayDie()
	c := &d.circuits[circuit]
	if c.holds[id] < uint32(n) {
		panic("BUG: a received packet was released twice")
	}
	if c.holds[id] -= uint32(n); c.holds[id] == 0 {
		c.busy--
	}
}

// Changed implements pool.Driver.
func (d *driver) Changed() bool { return false }

// Mapped implements pool.Driver.
func (d *driver) Mapped(circuit uint16) bool { return int(circuit) < len(d.circuits) }

// Usable implements pool.Driver.
func (d *driver) Usable(circuit uint16) bool { return int(circuit) < len(d.circuits) }

// Crowded implements pool.Driver.
func (d *driver) Crowded(circuit uint16) bool { return d.circuits[circuit].busy > rxSlots/2 }

// Use implements pool.Driver.
func (d *driver) Use(uint16, int) { d.mayDie() }

// Room implements pool.Driver.
func (d *driver) Room(circuit uint16) int {
	d.mayDie()
	c := &d.circuits[circuit]
	return c.slots - len(c.queue)
}

// Backlog implements pool.Driver.
func (d *driver) Backlog(circuit uint16) int { return len(d.circuits[circuit].queue) }

// Send implements pool.Operations. A packet that is refused, and that nobody will try
// again, is as good as lost on the way.
func (d *driver) Send(p *pool.Packet) bool {
	d.mayDie()
	c := &d.circuits[p.Circuit]
	if len(c.queue) == c.slots {
		panic("BUG: packet sent without room")
	}
	q := departing{head: int(p.Header + p.Inline)}
	q.b = make([]byte, 0, int(p.Header)+int(p.Payload))
	q.b = append(q.b, p.Data[:q.head]...)
	for _, x := range p.Pieces[:p.NPieces] {
		piece := d.Octets(p.Region)[x.Off : x.Off+x.Len]
		q.b = append(q.b, piece...)
		q.live = append(q.live, piece)
	}
	flags := finish(q.b)
	refused := chance(d.r, d.refuse)
	if refused {
		d.counters.refused++
	}
	if refused && flags&wire.SYN == 0 && (p.Payload > 0 || flags&wire.FIN != 0) {
		return false
	}
	d.depart(int(p.Circuit), q.b)
	if refused {
		return false
	}
	for _, buf := range p.Bufs[:p.NPieces] {
		q.bufs = append(q.bufs, buf)
		c.bufs.Ref(buf)
	}
	c.queue = append(c.queue, q)
	if len(c.queue) == 1 {
		d.schedule(int(p.Circuit))
	}
	return true
}

// finish computes the checksum of a packet, and returns its flags.
func finish(b []byte) wire.Flags {
	var ip wire.IP
	if err := wire.ParseIP(b, &ip); err != nil || ip.TotalLen != len(b) {
		panic(fmt.Sprintf("BUG: a packet of %d octets was sent whose header says %d: %v", len(b), ip.TotalLen, err))
	}
	t := b[ip.HeaderLen:]
	n := int(t[12]>>4) * 4
	sum := wire.TCPChecksum(&ip.Src, &ip.Dst, t[:n], [][]byte{t[n:]})
	t[16], t[17] = byte(sum>>8), byte(sum)
	return wire.Flags(t[13])
}

// left takes the first packet out of a circuit's queue: it is on its way, and
// its buffers are not needed any more.
func (d *driver) left(to int) []byte {
	c := &d.circuits[to]
	q := c.queue[0]
	c.queue = c.queue[1:]
	at := q.head
	for _, x := range q.live {
		if !bytes.Equal(x, q.b[at:at+len(x)]) {
			d.counters.alter++
		}
		at += len(x)
	}
	for _, i := range q.bufs {
		c.bufs.Unref(i)
	}
	c.released = c.released || c.wantReleased && len(q.bufs) > 0
	c.sent = c.sent || c.wantSent && len(c.queue) == 0
	return q.b
}

// Flush implements pool.Driver.
func (d *driver) Flush(*shm.Rings) {}

// Arm implements pool.Driver.
func (d *driver) Arm() bool { return d.Pending() }

// Awake implements pool.Driver.
func (d *driver) Awake() {}

// Glance implements pool.Driver.
func (d *driver) Glance() bool { return d.Pending() }

// Pending implements pool.Driver.
func (d *driver) Pending() bool {
	if len(d.rx) > 0 {
		return true
	}
	for i := range d.circuits {
		if d.circuits[i].sent || d.circuits[i].released {
			return true
		}
	}
	return false
}

// Notify implements pool.Driver.
func (d *driver) Notify(circuit uint16, sent, released bool) {
	d.mayDie()
	if int(circuit) >= len(d.circuits) {
		return
	}
	c := &d.circuits[circuit]
	c.wantSent = c.wantSent || sent
	c.wantReleased = c.wantReleased || released
	// A queue that is empty, or too short to wait for, is looked at again at once.
	c.sent = c.sent || sent && len(c.queue) == 0
}

// Notice implements pool.Driver.
func (d *driver) Notice() {
	for i := range d.circuits {
		c := &d.circuits[i]
		c.wantSent = c.wantSent && !c.sent
		c.wantReleased = c.wantReleased && !c.released
		c.sent, c.released = false, false
	}
}

// Alloc implements pool.Operations.
func (d *driver) Alloc(circuit uint16) (buf, off uint32) {
	d.mayDie()
	return d.circuits[circuit].bufs.Alloc()
}

// Ref implements pool.Driver.
func (d *driver) Ref(region uint16, buf uint32) {
	d.mayDie()
	d.circuits[pool.RegionCircuit(region)].bufs.Ref(buf)
}

// Unref implements pool.Operations.
func (d *driver) Unref(region uint16, buf uint32) {
	d.mayDie()
	c := &d.circuits[pool.RegionCircuit(region)]
	if c.bufs.Unref(buf) {
		c.released = c.released || c.wantReleased
	}
}

// Offload implements pool.Driver: the network takes every packet as it is.
func (d *driver) Offload(uint16) uint32 { return 0 }

// Execute implements pool.Driver.
func (d *driver) Execute(ops []pool.Op) { pool.Perform(d, ops) }

// Crossings implements pool.Driver: there are none.
func (d *driver) Crossings() uint64 { return 0 }

// MayRefuse implements pool.Driver.
func (d *driver) MayRefuse(uint16) bool { return true }

// BufferSize implements pool.Driver.
func (d *driver) BufferSize() int { return d.circuits[0].bufs.Size() }

// Octets implements pool.Driver.
func (d *driver) Octets(region uint16) []byte {
	c := &d.circuits[pool.RegionCircuit(region)]
	if pool.IsTx(region) {
		return c.octets
	}
	return c.held
}

// Rebuild implements pool.Driver.
func (d *driver) Rebuild(tx, held func(region uint16, id uint32) uint32) {
	for i := range d.circuits {
		c := &d.circuits[i]
		pins := c.pins()
		c.bufs.Rebuild(func(b uint32) uint32 { return pins[b] + tx(pool.TxRegion(uint16(i)), b) })
		c.busy = 0
		for id := range c.holds {
			if c.holds[id] = held(pool.RxRegion(uint16(i)), uint32(id)); c.holds[id] > 0 {
				c.busy++
			}
		}
	}
}

// pins counts how often each buffer is pinned by packets in the queue.
func (c *circuit) pins() []uint32 {
	pins := make([]uint32, len(c.refs))
	for _, q := range c.queue {
		for _, b := range q.bufs {
			pins[b]++
		}
	}
	return pins
}

// fits checks that the driver's buffers are referred to as often as chunks do.
func (d *driver) fits(tx, held func(region uint16, id uint32) uint32) error {
	for i := range d.circuits {
		c := &d.circuits[i]
		pins := c.pins()
		used := 0
		for b, n := range c.refs {
			if want := pins[b] + tx(pool.TxRegion(uint16(i)), uint32(b)); n != want {
				return fmt.Errorf("buffer %d to host %d has %d references, %d are counted", b, i, want, n)
			} else if want > 0 {
				used++
			}
		}
		if used != c.bufs.Used() {
			return fmt.Errorf("%d buffers to host %d are in use, %d are counted", used, i, c.bufs.Used())
		}
		for id, n := range c.holds {
			if want := held(pool.RxRegion(uint16(i)), uint32(id)); n != want {
				return fmt.Errorf("packet %d of host %d is held by %d chunks, %d are counted", id, i, want, n)
			}
		}
	}
	if d.counters.alter > 0 {
		return fmt.Errorf("a buffer was written to while a packet was sent from it")
	}
	return nil
}

// departure draws how long a packet stays in a queue before it leaves.
func (d *driver) departure() tcp.Time { return tcp.Time(d.r.IntN(20)) * tcp.Microsecond }

// nothing returns what is still in use, or nil.
func (d *driver) nothing() error {
	for i := range d.circuits {
		c := &d.circuits[i]
		if c.bufs.Used() > 0 || c.busy > 0 || len(c.queue) > 0 {
			return fmt.Errorf("circuit %d: %d buffers, %d received and %d queued packets are in use", i, c.bufs.Used(), c.busy, len(c.queue))
		}
	}
	return nil
}
