package half

import (
	"crypto/rand"
	"sync/atomic"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// Config is what both halves need.
type Config struct {
	Segment   *shm.Segment
	Driver    pool.Driver
	Bell      *shm.Bell       // of the pool: tells peers whom to wake
	Doorbells [2]shm.Doorbell // of the top half and of the bottom half
	Clock     func() tcp.Time // the same for both halves
	Semaphore shm.Semaphore   // of a segment whose lock is one

	// Poll is a descriptor that is ready when the top half's doorbell rings or the
	// driver has something for an armed sleeper; the top half owns it. 0: there is
	// none, the doorbell says all.
	Poll int

	// Doze sleeps in the kernel until what Poll is about has happened, or the given
	// time is over, and reports whether there is something: for short waits. It looks
	// at the state of things, so that it misses nothing. nil: there is no such way.
	Doze func(limit time.Duration) bool

	// Rest is Doze but for packets of the driver's device, which it leaves alone. nil:
	// there is no device.
	Rest func(limit time.Duration) bool
}

// Half is one process's use of a segment. Its methods are called with the
// segment's lock held, between enter and leave, unless they say otherwise.
type Half struct {
	views
	party     shm.Party
	lock      shm.Locker
	seg       *shm.Segment
	drv       pool.Driver
	coming    ahead
	bell      *shm.Bell
	doorbells [2]shm.Doorbell
	clock     func() tcp.Time
	rx        pool.Buffers
	mem       tcp.Memory
	most      uint32 // octets that a connection over devices may have unread now; 0: no limit

	now tcp.Time // of the present turn
	// stamped says that now has just been read, so that the next turn takes it as it is.
	stamped bool
	// glances says that it costs next to nothing to see whether there is anything.
	glances bool
	arr     tcp.Segment // arriving
	out     tcp.Segment // departing
	rings   shm.Rings   // to be rung when the lock has been given back
	round   uint32      // connections that the present round of unblock may still try
	mails   mails
	scripts

	message [icmpMax]byte // an ICMP message that came in pieces

	// deliver tells the program of events; the top half wakes goroutines, the
	// bottom half leaves a note.
	deliver func(i uint32, ev tcp.Event)
	// wanted and placed are the top half's: where a program waits for a payload that can be
	// placed there, and that some was. nil: nowhere.
	wanted func(i uint32) (rest []byte, had int)
	placed func(i uint32, n int)
	next   foresight
	bulk   gathering
	crowd  crowd
	// slow sends a packet to a peer to whom there is no circuit. Only the bottom
	// half can: nil otherwise.
	slow func(ip []byte)
	// mayHold says that data may be held back for a moment on its way to a device.
	mayHold bool
	// passive says that the other half alone takes packets, and looks after timers.
	passive bool
}

// Initialise prepares a fresh segment.
func Initialise(s *shm.Segment, mtu int) error {
	var v views
	if err := v.attach(s); err != nil {
		return err
	}
	c := v.ctl
	if _, err := rand.Read(c.secret[:]); err != nil {
		return err
	}
	c.conns.Reset(MaxConns)
	c.chunks.Reset(maxChunks)
	c.annexes.Reset(maxAnnexes)
	c.mtu = uint32(mtu)
	c.limits.heed(&Unlimited)
	c.packing = pool.None
	rx := pool.NewBuffers(&c.rx, v.rxRefs, v.rxLinks, rxSize, 0)
	rx.Reset(rxBuffers)
	return nil
}

// LockOf returns which lock a segment has, and where both halves have to run if it is
// shm.LockEdwards.
func LockOf(s *shm.Segment) (shm.LockKind, int, error) {
	w, err := shm.One[shm.LockWord](s, secLock)
	if err != nil {
		return 0, 0, err
	}
	return w.Kind(), w.CPU(), nil
}

// SetLock says which lock a fresh segment has, before anybody uses it. cpu is where
// both halves have to run if it is shm.LockEdwards.
func SetLock(s *shm.Segment, kind shm.LockKind, cpu int) error {
	w, err := shm.One[shm.LockWord](s, secLock)
	if err == nil {
		shm.InitialiseLock(w, kind, cpu)
	}
	return err
}

// SetChildTakes makes the bottom half of a fresh segment take all packets, as it did in
// the paper, whose authors would rather have had the application do it (section 7).
func SetChildTakes(s *shm.Segment) error {
	c, err := shm.One[control](s, secControl)
	if err == nil {
		c.childTakes = 1
	}
	return err
}

// SetBufferCache makes the buffers of a fresh segment come from a cache of each half's
// (paper section 4.5.1).
func SetBufferCache(s *shm.Segment) error {
	c, err := shm.One[control](s, secControl)
	if err == nil {
		c.buffered = 1
	}
	return err
}

// SetCopies makes a fresh segment's payloads be copied as often as in what the paper
// calls a normal TCP: from the program into buffers of its own and from there into the
// packets' when they are sent, and the same way back. The default is a single copy on
// each side.
func SetCopies(s *shm.Segment) error {
	c, err := shm.One[control](s, secControl)
	if err == nil {
		c.copiesMore = 1
	}
	return err
}

func (h *Half) init(cfg Config, party shm.Party) error {
	if err := h.attach(cfg.Segment); err != nil {
		return err
	}
	h.party = party
	var err error
	if h.lock, err = shm.NewLock(h.lockWord, party, cfg.Semaphore); err != nil {
		return err
	}
	h.seg, h.drv, h.bell, h.doorbells = cfg.Segment, cfg.Driver, cfg.Bell, cfg.Doorbells
	h.clock = cfg.Clock
	if h.clock == nil {
		h.clock = Clock()
	}
	h.rx = pool.NewBuffers(&h.ctl.rx, h.rxRefs, h.rxLinks, rxSize, 0)
	if h.ctl.buffered != 0 {
		h.rx.UseCache(int(party) - 1)
		if c, ok := h.drv.(pool.Cacher); ok {
			c.UseCaches(int(party) - 1)
		}
	}
	h.initScripts()
	h.mem = tcp.Memory{Chunks: h.chunks, Annexes: h.annexes}
	return nil
}

// begin starts a step on connection i: what the engine changes from here on is
// undone if this process dies before commit.
func (h *Half) begin(i uint32) *tcp.Conn {
	c := &h.conns[i]
	if c.SndQ.Count > maxChunks || c.RcvQ.Count > maxChunks {
		panic("BUG: a queue of more chunks than there are") // and a walk of minutes
	}
	j := h.journal
	j.before = *c
	j.index = i
	atomic.StoreUint32(&j.active, 1)
	h.mem.Unread = 0
	if h.most > 0 && h.aux[i].circuit == pool.NIC {
		h.mem.Unread = h.most
	}
	return c
}

// commit ends the step, and sees to it that the connection will be looked at
// before the turn ends.
func (h *Half) commit(i uint32) {
	h.end(i)
	h.enlist(listTouched, i)
}

// end ends the step: its state is complete. Then the chunks that it gave up are
// free. It reports whether the step has given up nothing, so that the journal has
// the connection still as it was.
func (h *Half) end(i uint32) (intact bool) {
	atomic.StoreUint32(&h.journal.active, 0)
	c := &h.conns[i]
	intact = true
	for q := range c.Freed {
		if c.Freed[q].Count > 0 {
			h.freeChunks(&c.Freed[q])
			intact = false
		}
	}
	if c.Spent != 0 {
		h.ctl.annexes.Release(h.annexLinks, c.Spent-1)
		c.Spent = 0
		intact = false
	}
	if c.WantsAnnex() {
		h.giveAnnex(i)
		intact = false
	}
	return intact
}

// giveAnnex gives connection i an annex, if there is one, in a step of its own.
func (h *Half) giveAnnex(i uint32) {
	x := h.ctl.annexes.Alloc(h.annexLinks)
	if x == none {
		return
	}
	h.begin(i).GiveAnnex(&h.mem, x)
	atomic.StoreUint32(&h.journal.active, 0)
}

// turn does whatever there is to do: packets that have arrived, timers that are
// due, connections for which there is room again. It reports whether there was
// anything.
func (h *Half) turn() bool {
	if h.stamped {
		h.stamped = false
	} else {
		h.now = h.clock()
	}
	h.mem.Tight, h.most = h.tight(), h.mostUnread()
	h.mem.FinWait, h.mem.OrphanTries = h.ctl.limits.orphanTime()
	h.drv.Notice()
	if h.glances && h.nothing() {
		return false
	}
	did := !h.passive && h.takeWhatComes()
	more := h.unblock()
	h.feed()
	h.settle()
	return did || more
}

// nothing reports whether a turn would find nothing to do: most of the turns of a
// program that asks and waits for the answer, since each of its calls begins with one,
// and so does the leader.
func (h *Half) nothing() bool {
	l := &h.ctl.lists
	waiting := l[listTouched].head | l[listBlocked].head | l[listStarved].head | h.next.owes
	return waiting == 0 && h.script.Len() == 0 && h.ctl.hold.since.Load() == 0 && h.round == 0 &&
		h.wheel.deadline() > h.now && !h.drv.Glance()
}

// takeWhatComes takes packets, and handles timers that are due. It reports whether
// there were any.
func (h *Half) takeWhatComes() bool {
	did, over := h.takePlaced()
	if !did || !over {
		h.acknowledge()
	}
	if over {
		return h.runTimers() || did
	}
	arrived := h.receive()
	h.lookAhead(arrived)
	for i := range arrived {
		h.fetchFor(i)
		h.arrive(&arrived[i])
		did = true
	}
	return h.runTimers() || did
}

// feed tells writers that found no buffer when there are some again. Who is told
// in vain asks again, and would be told again, without end.
func (h *Half) feed() {
	q := &h.ctl.lists[listStarved]
	last := q.tail
	for n := 0; q.head != 0 && n < MaxConns; n++ {
		i := h.delist(listStarved)
		if h.hasBuffer(i) {
			h.conns[i].Events |= tcp.EventWritable
			h.enlist(listTouched, i)
		} else {
			h.starve(i)
		}
		if i+1 == last {
			return
		}
	}
}

// hasBuffer reports whether there is a buffer for a writer on i, or none is
// needed any more.
func (h *Half) hasBuffer(i uint32) bool {
	circuit := h.aux[i].circuit
	switch {
	case h.conns[i].SendSpace() == 0:
		return true
	case h.ctl.chunks.Free == 0 || h.allowed(i) == 0:
		return false
	case h.writesOwn(circuit):
		return h.rx.Available() > 0
	}
	for _, b := range h.alloc(circuit, 1) {
		h.free(pool.TxRegion(circuit), b.Buf)
		return true
	}
	return false
}

// starve notes that a writer on i waits for a buffer.
func (h *Half) starve(i uint32) {
	h.enlist(listStarved, i)
	h.drv.Notify(h.aux[i].circuit, false, true)
}

// runTimers handles what is due.
func (h *Half) runTimers() bool {
	did := false
	for range 1000 {
		i := h.wheel.due(h.aux, h.now)
		if i == none {
			return did
		}
		switch {
		case h.conns[i].Deadline() > h.now:
			h.rearm(i)
		case !h.rests(i):
			c := h.begin(i)
			c.Timeout(&h.mem, h.now)
			h.commit(i)
			did = true
		}
	}
	return true
}

func (h *Half) rearm(i uint32) {
	if t := h.conns[i].Deadline(); t != tcp.Never {
		h.wheel.arm(h.aux, i, t)
	}
}

// settle looks at every connection that was touched in this turn: sends what it
// wants to send, sets its timer, tells the program what happened.
func (h *Half) settle() {
	for range maxSettle {
		i := h.delist(listTouched)
		if i == none {
			h.run()
			return
		}
		h.output(i)
		h.rearm(i)
		h.events(i)
		h.reap(i)
	}
	panic("BUG: a turn has no end")
}

// maxSettle bounds settle: what is looked at can touch few others.
const maxSettle = 4 * MaxConns

// unblockMax is how many connections that had found no room a turn tries again: more
// than all circuits of a usual pool have room for at once. To try all of them in each
// turn would take milliseconds where tens of thousands wait.
const unblockMax = 1024

// unblock tries connections again that had found no room, each once in a round of
// turns, and reports whether the round goes on: nobody may sleep before its end, since
// who is tried and waits on has asked the driver to wake us.
func (h *Half) unblock() (more bool) {
	q := &h.ctl.lists[listBlocked]
	if h.round == 0 {
		h.ctl.hold.none() // who holds back still says so again
		h.round = min(h.ctl.live, MaxConns)
	}
	last := q.tail
	for range min(unblockMax, h.round) {
		i := h.delist(listBlocked)
		if i == none {
			h.round = 0
			return false
		}
		h.enlist(listTouched, i)
		h.round--
		if i+1 == last {
			h.round = 0
		}
	}
	return h.round > 0
}

// flush shows the peers what is new and wakes the other half if there is
// something for it. The doorbells in h.rings are to be rung when the lock has
// been given back.
func (h *Half) flush() {
	r := &h.rings
	h.run()
	h.drv.Flush(r)
	shm.Step()
	other := listBottom
	if h.party == shm.BottomHalf {
		other = listTop
	}
	if h.ctl.lists[other].head == 0 || other == listTop && h.ctl.programEnd != 0 {
		return
	}
	if other == listBottom {
		r.Add(h.doorbells[shm.BottomHalf-1])
	} else if h.bell.Sleeper() == shm.TopHalf || h.ctl.leader.Load() != 0 {
		r.Add(h.doorbells[shm.TopHalf-1])
	}
}

// takeRings returns the doorbells that flush has noted, which seldom are any.
func (h *Half) takeRings() (r shm.Rings) {
	if h.rings.Any() {
		r = h.rings
		h.rings = shm.Rings{}
	}
	return r
}

// clockTries is how often Clock compares the two clocks, to find out their
// distance as exactly as it can.
const clockTries = 16

// Clock returns a function that reads CLOCK_MONOTONIC, which all processes of a
// host share. It costs no system call.
func Clock() func() tcp.Time {
	var offset, best int64
	base := time.Now()
	for i := range clockTries {
		before := time.Since(base)
		raw := monotonic()
		after := time.Since(base)
		if d := int64(after - before); i == 0 || d < best {
			best = d
			offset = raw - int64(before) - d/2
		}
	}
	return func() tcp.Time { return tcp.Time(int64(time.Since(base)) + offset) }
}
