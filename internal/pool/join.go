package pool

import (
	"io"

	"usertcp/internal/shm"
)

// Joint is two drivers that serve one pool: the circuits of a ring, and the one
// that leads to the host's network devices. The circuit's number says whose a call
// is. Its methods are those of Driver.
type Joint struct {
	ring, nic Driver
	taken     int // packets of the ring's since the devices had their turn
}

var _ Driver = (*Joint)(nil)

// jointBurst is how many packets of the ring are taken before the devices have
// their turn: to look costs a system call there.
const jointBurst = 16

// Join joins a ring's driver and the one of the host's network devices.
func Join(ring, nic Driver) *Joint {
	if ring.BufferSize() != nic.BufferSize() {
		panic("BUG: drivers with buffers of two sizes")
	}
	return &Joint{ring: ring, nic: nic}
}

func (j *Joint) by(circuit uint16) Driver {
	if circuit == NIC {
		return j.nic
	}
	return j.ring
}

func (j *Joint) of(region uint16) Driver { return j.by(RegionCircuit(region)) }

// Execute implements Driver: each driver executes what is its own, as many operations
// at once as lie one behind the other.
func (j *Joint) Execute(ops []Op) {
	for len(ops) > 0 {
		d, n := j.run(ops)
		if d == nil {
			j.receive(ops[:n])
		} else {
			d.Execute(ops[:n])
		}
		ops = ops[n:]
	}
}

// run returns how many operations at the front of ops are one driver's, and whose;
// nil if they are receptions.
func (j *Joint) run(ops []Op) (d Driver, n int) {
	d = j.owner(&ops[0])
	for n = 1; n < len(ops) && j.owner(&ops[n]) == d; n++ {
	}
	return d, n
}

func (j *Joint) owner(op *Op) Driver {
	switch op.Kind {
	case OpAlloc:
		return j.by(op.Circuit)
	case OpFree:
		return j.of(op.Region)
	case OpSend:
		return j.by(op.Packet.Circuit)
	case OpReceive:
		return nil
	}
	return j.ring // a copy is anybody's
}

// receive takes packets of both, those of the ring first, as long as the devices have
// their turn.
func (j *Joint) receive(ops []Op) {
	n := 0
	if j.taken < jointBurst {
		into := ops[0].Data
		n = received(j.ring, ops[:min(len(ops), jointBurst-j.taken)])
		if j.taken += n; n == len(ops) {
			return
		}
		if n == 0 {
			ops[0].Data = into
		}
	}
	j.taken = 0
	n += received(j.nic, ops[n:])
	received(j.ring, ops[n:])
}

// received executes receptions, and returns how many packets there were.
func received(d Driver, ops []Op) (n int) {
	if len(ops) > 0 {
		d.Execute(ops)
	}
	for n < len(ops) && ops[n].Done {
		n++
	}
	return n
}

// Changed implements Driver.
func (j *Joint) Changed() bool {
	ring, nic := j.ring.Changed(), j.nic.Changed()
	return ring || nic
}

// Mapped implements Driver.
func (j *Joint) Mapped(circuit uint16) bool { return j.by(circuit).Mapped(circuit) }

// Usable implements Driver.
func (j *Joint) Usable(circuit uint16) bool { return j.by(circuit).Usable(circuit) }

// Crowded implements Driver.
func (j *Joint) Crowded(circuit uint16) bool { return j.by(circuit).Crowded(circuit) }

// Use implements Driver.
func (j *Joint) Use(circuit uint16, n int) { j.by(circuit).Use(circuit, n) }

// Room implements Driver.
func (j *Joint) Room(circuit uint16) int { return j.by(circuit).Room(circuit) }

// Backlog implements Driver.
func (j *Joint) Backlog(circuit uint16) int { return j.by(circuit).Backlog(circuit) }

// Offload implements Driver.
func (j *Joint) Offload(circuit uint16) uint32 { return j.by(circuit).Offload(circuit) }

// MayRefuse implements Driver.
func (j *Joint) MayRefuse(circuit uint16) bool { return j.by(circuit).MayRefuse(circuit) }

// UseCaches implements Cacher.
func (j *Joint) UseCaches(half int) {
	j.cachers(func(c Cacher) { c.UseCaches(half) })
}

// FlushIdle implements Cacher.
func (j *Joint) FlushIdle() { j.cachers(Cacher.FlushIdle) }

// CacheStats implements Cacher.
func (j *Joint) CacheStats() (sum CacheStats) {
	j.cachers(func(c Cacher) { sum = sum.Plus(c.CacheStats()) })
	return sum
}

func (j *Joint) cachers(f func(Cacher)) {
	for _, d := range [2]Driver{j.ring, j.nic} {
		if c, ok := d.(Cacher); ok {
			f(c)
		}
	}
}

// Flush implements Driver.
func (j *Joint) Flush(r *shm.Rings) {
	j.ring.Flush(r)
	j.nic.Flush(r)
}

// Crossings implements Driver.
func (j *Joint) Crossings() uint64 { return j.ring.Crossings() + j.nic.Crossings() }

// Pending implements Driver.
func (j *Joint) Pending() bool { return j.ring.Pending() || j.nic.Pending() }

// Glance implements Driver.
func (j *Joint) Glance() bool { return j.ring.Glance() || j.nic.Glance() }

// Arm implements Driver.
func (j *Joint) Arm() bool {
	nic := j.nic.Arm()
	return j.ring.Arm() || nic
}

// Awake implements Driver.
func (j *Joint) Awake() {
	j.ring.Awake()
	j.nic.Awake()
}

// Notify implements Driver.
func (j *Joint) Notify(circuit uint16, sent, released bool) {
	j.by(circuit).Notify(circuit, sent, released)
}

// Notice implements Driver.
func (j *Joint) Notice() {
	j.ring.Notice()
	j.nic.Notice()
}

// Ref implements Driver.
func (j *Joint) Ref(region uint16, buf uint32) { j.of(region).Ref(region, buf) }

// Rebuild implements Driver.
func (j *Joint) Rebuild(tx, held func(region uint16, id uint32) uint32) {
	j.ring.Rebuild(tx, held)
	j.nic.Rebuild(tx, held)
}

// Recount says how many connections use each circuit, to the drivers that count them.
func (j *Joint) Recount(users func(circuit uint16) uint32) {
	for _, d := range [2]Driver{j.ring, j.nic} {
		if r, ok := d.(interface {
			Recount(users func(circuit uint16) uint32)
		}); ok {
			r.Recount(users)
		}
	}
}

// BufferSize implements Driver.
func (j *Joint) BufferSize() int { return j.ring.BufferSize() }

// Octets implements Driver.
func (j *Joint) Octets(region uint16) []byte { return j.of(region).Octets(region) }

// InUse returns how many buffers for sending are in use, and how many pieces of
// received packets are held, as far as the drivers say.
func (j *Joint) InUse() (tx, held int) {
	for _, d := range [2]Driver{j.ring, j.nic} {
		if u, ok := d.(interface{ InUse() (tx, held int) }); ok {
			t, h := u.InUse()
			tx, held = tx+t, held+h
		}
	}
	return tx, held
}

// Memory returns how many octets of both drivers' buffers hold something, as far as
// they say.
func (j *Joint) Memory() (octets uint64) {
	for _, d := range [2]Driver{j.ring, j.nic} {
		if m, ok := d.(interface{ Memory() uint64 }); ok {
			octets += m.Memory()
		}
	}
	return octets
}

// Spare reports whether circuit has at most as many buffers in use as connections, as
// far as its driver says: of a device all are free that are acknowledged.
func (j *Joint) Spare(circuit uint16) bool {
	s, ok := j.by(circuit).(interface{ Spare(circuit uint16) bool })
	return !ok || s.Spare(circuit)
}

// Dump writes the state of all drivers that can tell it.
func (j *Joint) Dump(w io.Writer) {
	for _, d := range [2]Driver{j.ring, j.nic} {
		if u, ok := d.(interface{ Dump(w io.Writer) }); ok {
			u.Dump(w)
		}
	}
}
