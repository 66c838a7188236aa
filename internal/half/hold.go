package half

import (
	"sync/atomic"
	"time"

	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// A packet to a device costs a system call, whatever its length. A program that
// writes small messages as fast as it can, with Nagle's algorithm off, would pay it
// for each. So a connection that is written to in short order holds back what is not a
// whole train yet, for a moment, while others of its packets are in flight: what
// Linux calls autocorking (net.ipv4.tcp_autocorking), which waits for the device to
// be done with the packet before. The first messages of a burst leave at once, and so
// does what answers a request, since nothing is in flight then.
//
// The next write after that moment takes along what was held back, and so does
// whoever takes the acknowledgement. If there is neither, the bottom half does it:
// told once that something is held back it looks every watchHolds, until nothing has
// been for a while.
const (
	holdMax    = 20 * tcp.Microsecond  // a connection's data is held back, since its last packet
	holdSoon   = 50 * tcp.Microsecond  // from a packet to the next write, in short order
	holdAfter  = 8                     // writes in short order
	holdSmall  = 16 << 10              // octets of a write: longer ones are worth a packet
	watchHolds = 50 * time.Microsecond // between two looks of the bottom half
	watchEnd   = 40                    // looks that find nothing held back end its watch
)

// hold is what the halves tell each other about it, written without the lock.
type hold struct {
	since   atomic.Int64  // a tcp.Time: when a connection first held something back since all were tried again; 0: none does
	watched atomic.Uint32 // 1: the bottom half looks
}

// note notes that a connection holds something back, and reports whether the bottom
// half has to be told.
func (d *hold) note(now tcp.Time) (tell bool) {
	if d.since.Load() != 0 {
		return false
	}
	shm.Step()
	d.since.Store(int64(now))
	shm.Step()
	return d.watched.Swap(1) == 0
}

// none notes that nobody holds anything back.
func (d *hold) none() {
	if d.since.Load() != 0 {
		d.since.Store(0)
	}
}

// due reports whether something has been held back for long enough. A time to come
// is one that nobody has noted.
func (d *hold) due(now tcp.Time) bool {
	at := tcp.Time(d.since.Load())
	return at != 0 && (now-at >= holdMax || at > now)
}

// unwatched ends the bottom half's watch, and reports whether it did: not if
// something is held back again.
func (d *hold) unwatched() bool {
	shm.Step()
	d.watched.Store(0)
	shm.Step()
	return d.since.Load() == 0 || d.watched.Swap(1) != 0
}

// pace is when a connection's last packet with data left for a device, in µs, and how
// often small data has been written since, and before, in short order.
type pace uint32

const (
	paceTime  = 1<<24 - 1 // in the lower bits; it begins anew every 16 s, and then one write may seem to have come soon
	paceWrite = 1 << 24   // counted in the upper bits
	paceMost  = 255
)

// since returns how long ago that was.
func (p pace) since(now tcp.Time) tcp.Time {
	return tcp.Time((uint32(now/tcp.Microsecond)-uint32(p))&paceTime) * tcp.Microsecond
}

// writes returns how many writes these are.
func (p pace) writes() int { return int(p / paceWrite) }

// sent returns what it is when a packet leaves.
func (p pace) sent(now tcp.Time) pace {
	return p&^paceTime | pace(now/tcp.Microsecond)&paceTime
}

// wrote returns what it is when so many octets are written.
func (p pace) wrote(octets int, now tcp.Time) pace {
	switch {
	case octets >= holdSmall || p.since(now) >= holdSoon:
		return p & paceTime
	case p.writes() < paceMost:
		return p + paceWrite
	}
	return p
}

// holdsBack reports whether what connection i has to send waits for more.
func (h *Half) holdsBack(i uint32) bool {
	a := &h.aux[i]
	if !h.mayHold || a.pace.writes() < holdAfter || a.pace.since(h.now) >= holdMax || !h.drv.MayRefuse(a.circuit) {
		return false
	}
	if !h.conns[i].CorkableBelow(h.offload(a.circuit, true)) {
		return false
	}
	h.ctl.Counters.Held++
	if h.ctl.hold.note(h.now) {
		h.rings.Add(h.doorbells[shm.BottomHalf-1])
	}
	return true
}

// departed notes that the segment in h.out has left on connection i.
func (h *Half) departed(i uint32) {
	if a := &h.aux[i]; h.out.Len > 0 && h.drv.MayRefuse(a.circuit) {
		a.pace = a.pace.sent(h.now)
	}
}

// Watched reports whether the bottom half is to watch for what the program holds
// back. It needs no lock.
func (b *Bottom) Watched() bool { return b.ctl.hold.watched.Load() != 0 }

// Watch looks every now and then whether the program holds back data for a device
// and does not come for it, and sends it then, until nothing has been held back for
// a while. sleep sleeps that long.
func (b *Bottom) Watch(sleep func(time.Duration)) {
	d := &b.ctl.hold
	for idle := 0; idle < watchEnd || !d.unwatched(); idle++ {
		sleep(watchHolds)
		if d.since.Load() == 0 {
			continue
		}
		if idle = -1; d.due(b.clock()) && !b.release() {
			return
		}
	}
}

// release sends what the program has held back for long enough. It reports false if
// the segment is ruined.
func (b *Bottom) release() bool {
	if !b.enter() {
		return !b.isRuined()
	}
	defer b.leave()
	b.releaseDue()
	return true
}

// releaseDue is release with the lock.
func (b *Bottom) releaseDue() {
	if b.ctl.hold.due(b.now) {
		b.unblock() // the bottom half holds nothing back
	}
}
