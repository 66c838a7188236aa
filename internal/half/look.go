package half

import (
	"time"

	"usertcp/internal/tcp"
)

// Who looks for packets, and when: each call does (Top.drive), but over devices a look is a
// system call or two, so that a call does without it soon after another one.

// lookedWithin reports whether the last look was so short a time ago that a call does
// without one, which would cost a system call: whoever finds nothing for itself then leads,
// and looks. It is now then.
func (t *Top) lookedWithin(fresh time.Duration) bool {
	if !t.costly {
		return false
	}
	t.now = t.clock()
	return t.now-t.stepped < tcp.Time(fresh)
}

// lookFor returns how soon after the last look a call that writes n octets to connection i
// looks again, where that is a system call. While all that is written leaves there is no
// hurry: an acknowledgement gives buffers back, and widens a window that is wide enough.
// For short writes there is, since what is held back waits for acknowledgements.
func (t *Top) lookFor(i uint32, n int) time.Duration {
	if n < holdSmall || t.conns[i].Stuck() {
		return lookFresh
	}
	return lookSeldom
}

// unstick looks, if the call has not, for what lets leave that has to wait of the n octets
// which it has written to connection i. Short ones may wait to be held back.
func (t *Top) unstick(i uint32, n int) {
	if n >= holdSmall && t.skipped && !t.leading && t.conns[i].Stuck() {
		t.skipped = false
		t.step()
	}
}
