package half

import (
	"sync"
	"sync/atomic"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Tick is how often the bottom half looks whether the application comes; RestTick, if
// that had next to nothing to do at the last quietTicks ticks, and LongTick, if it did
// nothing at all at idleTicks more.
const (
	Tick     = 10 * time.Millisecond
	RestTick = 5 * Tick
	LongTick = 10 * RestTick

	quietTicks  = 64
	idleTicks   = 64
	quietDrives = 8 // of the top half between two ticks, at most, on the average
)

// lockBound is how long the bottom half waits for a lock that the application
// has: no process waits without a bound for an application.
const lockBound = 5 * time.Millisecond

// Outside is what the bottom half needs of the world. Its functions are called
// without the lock.
type Outside interface {
	// Send sends an IP packet through the connection server.
	Send(ip []byte)
	// Gone tells the connection server that a socket is no more; what is what it
	// knows of it. It calls done when the server knows: only then may the socket's
	// index name another one. It does not wait for that itself.
	Gone(socket uint32, what Registered, flow wire.Flow, done func())
}

// Registered is what the connection server knows of a socket.
type Registered uint8

// What the server can know.
const (
	RegisteredBind Registered = 1 << iota // a local address
	RegisteredFlow                        // a connection
)

type departed struct {
	socket uint32
	what   Registered
	flow   wire.Flow
	gen    uint32
}

// Bottom is the bottom half: it does what has to go on when the application does
// not come, because it is stopped, starved, in a long pause or dead, and what
// only the child can do.
type Bottom struct {
	Half

	mu     sync.Mutex
	out    Outside
	bound  time.Duration     // how long enter waits for the lock
	frames [][]byte          // to be sent when the lock has been given back
	gone   []departed        // to be told the server
	moves  []Departure       // to be told the peers
	graves map[uint32]*grave // connections that have gone elsewhere

	drives  uint32 // of the top half at the last tick
	pending bool   // something lay there at the last tick
	absent  bool   // the application did not come for it: we drive
	quiet   int    // ticks at which there was next to nothing to do
	rests   bool   // there were so many of them that ticks are fewer
	ended   bool   // the application is no more
	dead    func() bool
	swept   bool // what it left in the segment has been looked for

	allowance Allowance // the connection server's last word
	load      Load      // at the last tick

	warden  Warden // nil: panics are nobody's
	ruined  bool
	section atomic.Uint64
}

// NewBottom returns the bottom half of a segment.
func NewBottom(cfg Config, out Outside) (*Bottom, error) {
	b := &Bottom{out: out, bound: lockBound, allowance: Unlimited}
	b.warden, _ = out.(Warden)
	if err := b.init(cfg, shm.BottomHalf); err != nil {
		return nil, err
	}
	b.slow = func(ip []byte) {
		if len(b.frames) < maxFrames {
			b.frames = append(b.frames, ip)
		}
	}
	return b, nil
}

// insist takes the lock however long it takes, up to d.
func (b *Bottom) insist(d time.Duration) bool {
	for end := time.Now().Add(d); ; {
		if b.enter() {
			return true
		}
		if time.Now().After(end) || b.isRuined() {
			return false
		}
	}
}

func (b *Bottom) isRuined() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ruined
}

// work does what the top half has left, or the engine, for the bottom half.
func (b *Bottom) work() {
	for {
		i := b.delist(listBottom)
		if i == none {
			return
		}
		if b.aux[i].use == useMoved {
			b.bid(i)
			continue
		}
		if b.aux[i].use != useDone {
			b.enlist(listTouched, i)
			continue
		}
		b.output(i) // a last RST
		b.purge(i)
		a := &b.aux[i]
		w := Registered(a.registered)
		if w == 0 {
			b.freeConn(i)
			continue
		}
		a.registered = 0
		b.gone = append(b.gone, departed{i, w, b.conns[i].Flow, a.gen})
	}
}

// forgotten gives the slot of a socket back that the connection server has
// forgotten, unless a repair has done so.
func (b *Bottom) forgotten(d departed) {
	for !b.Change(func() {
		if a := &b.aux[d.socket]; a.use == useDone && a.gen == d.gen {
			b.freeConn(d.socket)
		}
	}) && !b.isRuined() {
	}
}

// Look is called when the child begins, at each tick, and when the child's doorbell
// rings. It reports whether it has given the lock back before the end: the caller looks
// again when others have had time to take it.
func (b *Bottom) Look(tick bool) (again bool) {
	if !b.enter() {
		return false
	}
	defer b.leave()
	drives := b.ctl.drives.Load()
	came := drives != b.drives
	pending := b.drv.Pending() || b.wheel.deadline() <= b.now
	switch {
	case b.ended || b.ctl.childTakes != 0: // what lies there is nobody else's
	case came:
		if b.absent {
			b.absent = false
			b.drv.Awake()
		}
	case tick && pending && b.pending && !b.absent:
		b.absent = true
		b.rings.Add(b.doorbells[0]) // in case it can come again
	}
	if tick {
		b.noteQuiet(drives-b.drives, pending)
		b.drives, b.pending = drives, pending
		b.flushIdle()
		b.heed()
		b.bury()
		b.decay()
	}
	if b.ended || b.absent || b.ctl.childTakes != 0 {
		again = b.stand()
	}
	b.releaseDue()
	if tick {
		b.weigh()
	}
	return again
}

// noteQuiet counts the ticks at which the top half had next to nothing to do, which leads
// nobody to expect that something lies there that it does not come for. A tick at which it
// had more takes away as many as it could have done that in: a program that has much to do
// for a moment, now and then, as one with thousands of idle connections, is quiet all the
// same.
func (b *Bottom) noteQuiet(drives uint32, pending bool) {
	switch {
	case pending && b.pending || b.absent || b.ended || b.ctl.childTakes != 0:
		b.quiet = 0
	case pending: // it may be about to take that
	case drives > quietDrives:
		b.quiet = max(0, min(b.quiet, quietTicks)-int((drives-1)/quietDrives))
	case b.quiet < quietTicks || drives == 0 && b.quiet < quietTicks+idleTicks:
		b.quiet++
	case drives > 0:
		b.quiet = quietTicks
	}
	switch {
	case b.quiet >= quietTicks:
		b.rests = true
	case b.quiet < quietTicks/2:
		b.rests = false
	}
}

// NextTick returns when Look wants to be called next for a tick.
func (b *Bottom) NextTick() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pending || !b.rests:
		return Tick
	case b.quiet == quietTicks+idleTicks:
		return LongTick
	}
	return RestTick
}

// flushIdle empties buffer caches that neither half has used since the last tick: what
// lies there is nobody else's (paper section 4.5.1).
func (b *Bottom) flushIdle() {
	if b.ctl.buffered == 0 {
		return
	}
	b.rx.FlushIdle()
	if c, ok := b.drv.(pool.Cacher); ok {
		c.FlushIdle()
	}
}

// maxTurns bounds what the bottom half does at once; the rest has time until the
// next tick.
const maxTurns = 1024

// standMax bounds it, too: beside tens of thousands of connections a turn may take as
// long as a thousand usually do, and somebody else may want the lock.
const standMax = 20 * time.Millisecond

// standBrief bounds it where the child takes all packets, while the program wants to
// write and read.
const standBrief = 2 * time.Millisecond

// maxFrames is how many packets may wait for the lock to be given back, to be sent
// through the connection server; more are lost, as packets may be.
const maxFrames = 1024

// stand does the top half's work, and reports whether there may be more. If so nobody
// is woken for what lies there: neither device nor peers know that we sleep.
func (b *Bottom) stand() (more bool) {
	b.drv.Changed()
	limit := standMax
	if !b.ended && b.ctl.childTakes != 0 {
		limit = standBrief
	}
	end := b.clock() + tcp.Time(limit)
	for range 64 {
		for n := 0; n < maxTurns && b.turn(); n++ {
			b.ctl.Counters.BottomDrives++
			if b.now > end {
				return true
			}
		}
		b.bell.Sleep(shm.BottomHalf)
		b.flush()
		if !b.drv.Arm() {
			return false
		}
	}
	return true
}

// Live returns the number of connections and listeners that there are.
func (b *Bottom) Live() int {
	if !b.enter() {
		return 1
	}
	defer b.leave()
	return int(b.ctl.live)
}

// Connect begins the active open of socket i, which the program has made.
// circuit is the way to the peer if there is one already.
func (b *Bottom) Connect(i uint32, flow wire.Flow, circuit uint16) bool {
	return b.ConnectAfter(i, flow, circuit, nil)
}

// ConnectAfter is Connect for a connection that follows one in TIME-WAIT between the same
// ends, of which was is left (RFC 6191), if that is not nil.
func (b *Bottom) ConnectAfter(i uint32, flow wire.Flow, circuit uint16, was *tcp.Remnant) bool {
	var before *tcp.Conn
	if was != nil {
		before = new(tcp.Conn)
	}
	if !b.insist(time.Second) {
		return false
	}
	defer b.leave()
	if was != nil && (was.Flow != flow || !was.Restore(before, b.now)) {
		return false
	}
	if i >= MaxConns || b.aux[i].use != useProgram || b.conns[i].State != tcp.Closed || b.aux[i].hashed != 0 || b.lookup(&flow) != none {
		return false
	}
	b.connect(i, flow, circuit, before)
	return true
}

// SetMTU says how long a packet on the devices' way to socket i's peer may be, or to
// the peers of listener i: before it connects or listens.
func (b *Bottom) SetMTU(i uint32, octets uint32) {
	b.Change(func() {
		if i < MaxConns && b.aux[i].use == useProgram {
			b.aux[i].mtu = octets
		}
	})
}

// Departed reports whether the program has closed socket i and nothing is left of it but
// what the connection server knows; then the server is being told.
func (b *Bottom) Departed(i uint32) (departed bool) {
	b.Change(func() { departed = i < MaxConns && b.aux[i].use == useDone })
	return departed
}

// Register notes that the connection server knows more of socket i, which the
// program must have. It reports false if it has not.
func (b *Bottom) Register(i uint32, what Registered) bool {
	ok := false
	b.Change(func() {
		if ok = i < MaxConns && b.aux[i].use == useProgram; ok {
			b.aux[i].registered |= uint8(what)
		}
	})
	return ok
}

// RegisterFlow notes that the connection server knows of a connection. It reports
// false if there is no such connection.
func (b *Bottom) RegisterFlow(flow wire.Flow) bool {
	found := false
	b.Change(func() {
		if i := b.lookup(&flow); i != none {
			b.aux[i].registered |= uint8(RegisteredFlow)
			found = true
		}
	})
	return found
}

// CameIn returns the connections over the host's devices that came in at a local end,
// of which the connection server does not know.
func (b *Bottom) CameIn(local wire.Endpoint) (flows []wire.Flow) {
	b.Change(func() {
		for i := range b.ctl.conns.Fresh {
			a, f := &b.aux[i], &b.conns[i].Flow
			if a.hashed == 0 || a.circuit != pool.NIC || a.registered != 0 || f.Remote.Port == 0 {
				continue
			}
			if f.Local.Port == local.Port && local.Addr.Covers(&f.Local.Addr) {
				flows = append(flows, *f)
			}
		}
	})
	return flows
}

// Arrive takes an IP packet that came through the connection server. circuit is
// the one to the pool that it came from, or pool.NoCircuit.
func (b *Bottom) Arrive(ip []byte, circuit uint16) {
	if b.insist(time.Second) {
		defer b.leave()
		b.arriveSlow(ip, circuit)
	}
}

// Fail ends the connection with the given flow: its peer can't be reached.
func (b *Bottom) Fail(flow wire.Flow, e tcp.Error) {
	if !b.insist(time.Second) {
		return
	}
	defer b.leave()
	if i := b.lookup(&flow); i != none && b.conns[i].State == tcp.SynSent {
		b.fail(i, e)
	}
}

// Change runs f with the lock: for the driver's changes of circuits.
func (b *Bottom) Change(f func()) bool {
	if !b.insist(time.Second) {
		return false
	}
	defer b.leave()
	f()
	return true
}

// ProgramEnded closes all that the application had open: it has exited, or been
// killed. dead reports whether its process is no more; if it died with the lock,
// the step in progress is undone, and it reports true.
func (b *Bottom) ProgramEnded(dead func() bool) (held bool) {
	b.mu.Lock()
	if b.ruined {
		b.mu.Unlock()
		return false
	}
	for !b.lock.Lock(lockBound) {
		// Nobody else of this process is in here: a lock in our own name is a lie, or
		// that of a child before us.
		if dead() && (b.lock.Seize() || b.lock.Holder() == shm.BottomHalf) {
			b.ctl.Counters.Repairs++
			held = true
			break
		}
	}
	b.entered()
	defer b.leave()
	b.dead = dead
	b.bury()
	b.ended = true
	b.heed()
	b.ctl.programEnd = 1
	for n := 0; n < 64 && b.turn(); n++ {
		// What lies in the pool has arrived, and counts as unread.
	}
	for i := range b.ctl.conns.Fresh {
		if b.aux[i].use == useProgram {
			b.closeSocket(i)
		}
	}
	b.stand()
	return held
}

// bury looks for what a dead application has left in the segment without having
// the lock: chunks and buffers that it had reserved. One that has only ended its
// channel may still have them in use.
func (b *Bottom) bury() {
	if b.dead != nil && !b.swept && b.dead() {
		b.swept = true
		b.sweep(dropReserved)
	}
}

// SetRxLimit changes how many of the pool's own buffers may be in use. It is
// called by Change.
func (b *Bottom) SetRxLimit(n int) { b.rx.SetLimit(n) }
