package half

import (
	"syscall"
	"time"

	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// abandonWait is how long the bottom half, whose channel has ended, may have the
// lock before it is taken for dead: far longer than a step.
const abandonWait = 200 * time.Millisecond

// Abandon tells the top half that its child is dead, against the rules. Without
// it the peers' segments do not find their way, so that nothing would ever come:
// all calls on the segment's sockets fail with ECONNABORTED instead.
func (t *Top) Abandon() {
	t.seize()
	t.enter()
	defer t.leave()
	if t.closed {
		return
	}
	t.abandoned, t.mayHold = true, false
	t.now = t.clock()
	for i, s := range t.sockets {
		if s == nil {
			continue
		}
		if st := t.conns[i].State; st != tcp.Closed && st != tcp.Listen {
			t.fail(uint32(i), tcp.ErrAborted)
		}
		t.signal(&s.rd)
		t.signal(&s.wr)
	}
	t.settle()
	t.poke()
}

// seize takes the lock from a child that has died with it, and repairs what it
// was at.
func (t *Top) seize() {
	for end := time.Now().Add(abandonWait); t.lock.Holder() == shm.BottomHalf; time.Sleep(time.Millisecond) {
		if time.Now().Before(end) || !t.lock.Seize() {
			continue
		}
		t.abandoned = true
		t.repair(dropReserved)
		t.lock.Unlock()
		return
	}
}

// deserted returns ECONNABORTED if the child is dead: then what a call has
// reserved or looked at before is not to be touched again.
func (t *Top) deserted() error {
	if t.abandoned {
		return syscall.ECONNABORTED
	}
	return nil
}
