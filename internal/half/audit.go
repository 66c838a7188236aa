package half

import (
	"errors"
	"fmt"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// Auditor checks that a segment in which no step is in progress is in order:
// each chunk and each buffer is in exactly one place, lists and counts fit, and
// every connection that waits for something has a timer. It walks everything: it
// is for simulators and tests.
type Auditor struct {
	h    *Half
	free []bool // chunk is in the free list
	u    users
	fit  func(tx, held func(region uint16, id uint32) uint32) error
}

// idleTimer is how long a connection that waits for nothing may still have a
// timer: an acknowledgement may be delayed by up to 500 ms (RFC 9293 MUST-58).
const idleTimer = 500 * tcp.Millisecond

// NewAuditor returns an auditor of the segment that b uses. fit checks the
// driver's buffers: tx and held say how often chunks refer to one.
func NewAuditor(b *Bottom, fit func(tx, held func(region uint16, id uint32) uint32) error) *Auditor {
	return &Auditor{h: &b.Half, fit: fit, u: users{tx: map[uint64]uint32{}, holds: map[uint64]uint32{}}}
}

// Check returns what is wrong first. The caller sees to it that nobody uses the
// segment meanwhile.
func (a *Auditor) Check(now tcp.Time) error {
	h := a.h
	if h.journal.active != 0 {
		return errors.New("a step was begun and not ended")
	}
	a.clear()
	live, orphans := uint32(0), uint32(0)
	for i := range h.ctl.conns.Fresh {
		if h.aux[i].use == useFree {
			continue
		}
		live++
		if h.isOrphan(i) {
			orphans++
		}
		if err := a.connection(i, now); err != nil {
			return fmt.Errorf("connection %d %v, %v: %w", i, h.conns[i].Flow, h.conns[i].State, err)
		}
	}
	if live != h.ctl.live || h.ctl.conns.Free != h.ctl.conns.Limit-live {
		return fmt.Errorf("%d connections are in use, %d are counted and %d are free", live, h.ctl.live, h.ctl.conns.Free)
	}
	if orphans != h.ctl.limits.orphans {
		return fmt.Errorf("there are %d orphans, and %d are counted", orphans, h.ctl.limits.orphans)
	}
	return errors.Join(a.chunks(), a.annexes(), a.buffers(), a.lists(), a.backlogs())
}

func (a *Auditor) clear() {
	u := &a.u
	u.chunk = cleared(u.chunk, int(a.h.ctl.chunks.Fresh))
	u.annex = cleared(u.annex, int(a.h.ctl.annexes.Fresh))
	u.rx = cleared(u.rx, int(a.h.ctl.rx.Free.Fresh))
	a.free = cleared(a.free, int(a.h.ctl.chunks.Fresh))
	clear(u.tx)
	clear(u.holds)
}

// cleared returns n zero elements, in s if they fit.
func cleared[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, 2*n)
	}
	s = s[:n]
	clear(s)
	return s
}

// connection checks connection i and notes what it refers to.
func (a *Auditor) connection(i uint32, now tcp.Time) error {
	h := a.h
	c := &h.conns[i]
	if err := c.CheckInvariants(&h.mem); err != nil {
		return err
	}
	for k := range c.Freed {
		if c.Freed[k].Count != 0 {
			return errors.New("freed chunks were not taken")
		}
	}
	if err := a.annex(c); err != nil {
		return err
	}
	var queues [32]tcp.Queue
	for _, q := range c.Queues(&h.mem, queues[:0]) {
		if err := a.queue(q); err != nil {
			return err
		}
	}
	if x := &h.aux[i]; x.inLists&(1<<listBlocked) != 0 && h.drv.Backlog(x.circuit) == 0 && !h.drv.Pending() && h.ctl.hold.since.Load() == 0 {
		return errors.New("it waits for room in an empty queue")
	}
	return a.timers(i, now)
}

// annex notes that c has its annex.
func (a *Auditor) annex(c *tcp.Conn) error {
	switch i := c.Annex; {
	case c.Spent != 0:
		return errors.New("a spent annex was not taken")
	case i == 0:
	case int(i) > len(a.u.annex) || a.u.annex[i-1]:
		return fmt.Errorf("annex %d is another connection's, or nobody's", i-1)
	default:
		a.u.annex[i-1] = true
	}
	return nil
}

func (a *Auditor) queue(q tcp.Queue) error {
	at := q.Head
	for range q.Count {
		if at >= uint32(len(a.u.chunk)) || a.u.chunk[at] {
			return fmt.Errorf("chunk %d is in two queues, or in none of ours", at)
		}
		a.u.chunk[at] = true
		x := &a.h.chunks[at]
		switch {
		case x.Region == pool.OwnRegion:
			a.u.rx[x.Buf]++
		case pool.IsTx(x.Region):
			a.u.tx[userKey(x.Region, x.Buf)]++
		default:
			a.u.holds[userKey(x.Region, x.Buf)]++
		}
		at = x.Next
	}
	return nil
}

// timers checks that connection i has a timer if it waits for something, that
// the wheel knows of it, and that it has none to no end.
func (a *Auditor) timers(i uint32, now tcp.Time) error {
	h := a.h
	c, x := &h.conns[i], &h.aux[i]
	at := c.Deadline()
	switch {
	case at == tcp.Never && a.waits(i):
		return errors.New("it waits for something, and no timer is set")
	case at != tcp.Never && (x.timerSlot == none || x.timerAt > at && !a.rests(i, now)):
		return fmt.Errorf("its timer at %d is not in the wheel", at)
	case at != tcp.Never && at > now+idleTimer && a.idle(i):
		return fmt.Errorf("it waits for nothing, and a timer is set %d ms ahead", (at-now)/tcp.Millisecond)
	}
	return nil
}

// rests reports whether connection i is in the wheel later than its deadline, as is right
// for one that leaves a keep-alive probe out.
func (a *Auditor) rests(i uint32, now tcp.Time) bool {
	h, x := a.h, &a.h.aux[i]
	if x.timerAt <= now { // it is due
		return true
	}
	if int(x.circuit) >= len(h.onCircuit) {
		return false
	}
	until, _ := h.conns[i].MayRest(now, h.onCircuit[x.circuit].signs.heard)
	return x.timerAt <= until
}

// waits reports whether connection i waits for the peer or the time.
func (a *Auditor) waits(i uint32) bool {
	c, x := &a.h.conns[i], &a.h.aux[i]
	const elsewhere = 1<<listBlocked | 1<<listBottom // it will be tried again
	if x.inLists&elsewhere != 0 {
		return false // that something is in flight, and not watched, it says itself
	}
	switch c.State {
	case tcp.Closed, tcp.Listen:
		return false
	case tcp.SynSent, tcp.SynReceived, tcp.TimeWait, tcp.FinWait1, tcp.Closing, tcp.LastAck:
		return true
	case tcp.FinWait2:
		return x.use == useOrphan
	}
	return c.HasOutput() || c.SndQ.Count > 0
}

// idle reports whether there is nothing that connection i could need a timer for.
func (a *Auditor) idle(i uint32) bool {
	c, x := &a.h.conns[i], &a.h.aux[i]
	switch c.State {
	case tcp.Closed, tcp.Listen:
		return true
	case tcp.Established, tcp.CloseWait:
	case tcp.FinWait2:
		if x.use == useOrphan {
			return false
		}
	default:
		return false
	}
	return c.SndQ.Count == 0 && !c.HasOutput() && c.Opt.KeepAlive == 0
}

// chunks checks that each chunk is either in a queue or in the free list.
func (a *Auditor) chunks() error {
	f := &a.h.ctl.chunks
	free := f.Limit - f.Fresh
	for at := f.Head; at != none; at = a.h.chunks[at].Next {
		if at >= f.Fresh || a.free[at] {
			return fmt.Errorf("chunk %d is twice in the free list", at)
		}
		a.free[at] = true
		free++
	}
	if free != f.Free {
		return fmt.Errorf("%d chunks are free, %d are counted", free, f.Free)
	}
	for i, used := range a.u.chunk {
		if used == a.free[i] {
			return fmt.Errorf("chunk %d: in a queue %v, free %v", i, used, a.free[i])
		}
	}
	return nil
}

// annexes checks that each annex is either some connection's or in the free list.
func (a *Auditor) annexes() error {
	f := &a.h.ctl.annexes
	n := f.Limit - f.Fresh
	for at := f.Head; at != none; at = a.h.annexLinks[at] {
		if at >= f.Fresh || a.u.annex[at] {
			return fmt.Errorf("annex %d is in use and free, or twice free", at)
		}
		a.u.annex[at] = true
		n++
	}
	if n != f.Free {
		return fmt.Errorf("%d annexes are free, %d are counted", n, f.Free)
	}
	for i, known := range a.u.annex {
		if !known {
			return fmt.Errorf("annex %d is lost", i)
		}
	}
	return nil
}

// buffers checks the reference counts of all buffers.
func (a *Auditor) buffers() error {
	h := a.h
	if p := h.ctl.packing; p != pool.None {
		a.u.rx[p]++
	}
	used := 0
	for i, n := range a.u.rx {
		if n != h.rxRefs[i] {
			return fmt.Errorf("rx buffer %d has %d references, %d are counted", i, n, h.rxRefs[i])
		}
		if n > 0 {
			used++
		}
	}
	if used != h.rx.Used() {
		return fmt.Errorf("%d rx buffers are in use, %d are counted", used, h.rx.Used())
	}
	return a.fit(
		func(region uint16, id uint32) uint32 { return a.u.tx[userKey(region, id)] },
		func(region uint16, id uint32) uint32 { return a.u.holds[userKey(region, id)] },
	)
}

// lists checks that the lists hold who says that he is in them.
func (a *Auditor) lists() error {
	h := a.h
	for l := range numLists {
		want, got := 0, 0
		for i := range h.ctl.conns.Fresh {
			if h.aux[i].inLists&(1<<l) != 0 {
				want++
			}
		}
		for at := h.ctl.lists[l].head; at != 0 && got <= want; at = h.aux[at-1].listNext[l] {
			got++
		}
		if got != want {
			return fmt.Errorf("list %d has %d connections, %d say that they are in it", l, got, want)
		}
	}
	if h.ctl.lists[listTouched].head != 0 {
		return errors.New("connections were touched and not looked at")
	}
	return nil
}

// backlogs checks what listeners count.
func (a *Auditor) backlogs() error {
	h := a.h
	for l := range h.ctl.conns.Fresh {
		la := &h.aux[l]
		if la.use != useProgram || h.conns[l].State != tcp.Listen {
			continue
		}
		var embryos, waiting uint32
		for i := range h.ctl.conns.Fresh {
			if x := &h.aux[i]; x.use == useEmbryo && x.parent == l {
				embryos += uint32(1 - x.accepted)
				waiting += uint32(x.accepted)
			}
		}
		if embryos != la.embryos || waiting != la.acceptCount {
			return fmt.Errorf("listener %d has %d embryos and %d waiting, counts %d and %d", l, embryos, waiting, la.embryos, la.acceptCount)
		}
	}
	return nil
}

// Nothing returns what is still in use of a segment in which there should be
// nothing any more, or nil.
func (a *Auditor) Nothing() error {
	h := a.h
	for i := range h.ctl.conns.Fresh {
		if h.aux[i].use != useFree {
			return fmt.Errorf("connection %d is still there, %v, use %d: %v", i, h.conns[i].State, h.aux[i].use, h.conns[i].Flow)
		}
	}
	if used := h.ctl.chunks.Limit - h.ctl.chunks.Free; used != 0 {
		return fmt.Errorf("%d chunks are in use", used)
	}
	if used := h.ctl.annexes.Limit - h.ctl.annexes.Free; used != 0 {
		return fmt.Errorf("%d annexes are in use", used)
	}
	if h.rx.Used() > 1 { // one may be kept for packing
		return fmt.Errorf("%d rx buffers are in use", h.rx.Used())
	}
	if at := h.wheel.deadline(); at != tcp.Never {
		return fmt.Errorf("a timer is set at %d", at)
	}
	for l := range numLists {
		if h.ctl.lists[l].head != 0 {
			return fmt.Errorf("list %d is not empty", l)
		}
	}
	return nil
}

// What a simulator or tester may look at, between steps.

// Conn returns connection i.
func (h *Half) Conn(i uint32) *tcp.Conn { return &h.conns[i] }

// Counters returns what the halves counted.
func (h *Half) Counters() Counters { return h.ctl.Counters }

// Deadline returns when a turn has to come next for the sake of a timer.
func (h *Half) Deadline() tcp.Time { return h.wheel.deadline() }

// BottomWork reports whether the top half has left something for the bottom half.
func (h *Half) BottomWork() bool { return h.ctl.lists[listBottom].head != 0 }

// TopWork reports whether the bottom half has left something for the top half.
func (h *Half) TopWork() bool { return h.ctl.lists[listTop].head != 0 }
