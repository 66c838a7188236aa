package child

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
)

// limits is what this child has to do with the host's limits (half/limits.go): it
// passes the connection server's word on, and tells it what its pool has in use.
type limits struct {
	mu    sync.Mutex
	have  message.PoolLimits // the server's last word
	heard chan struct{}      // closed when there has been one
	told  message.PoolUsage  // the server
	at    time.Time          // … and when
	now   message.PoolUsage  // memory, as it was when last looked at
	next  time.Time          // when memory is looked at again
	over  time.Time          // since when there is more memory than allowed

	circuits uint64 // octets of the circuits' memory
	growths  uint32 // of the devices' MTU, that connections know of
}

const (
	limitsTimeout  = 200 * time.Millisecond // for the server's first word
	reportPeriod   = time.Second            // in which the server gets to know of less than a step
	memoryPeriod   = 100 * time.Millisecond // in which memory is looked at
	memoryPatience = 2 * time.Second        // with who has more memory than allowed
)

// heedLimits takes the server's word. It may come before there is a segment.
func (c *child) heedLimits(m *message.Message) {
	have, err := message.ParsePoolLimits(m.PDU)
	if err != nil {
		return // it is a server's mistake; what it said before holds
	}
	l := &c.limits
	l.mu.Lock()
	l.have = have
	select {
	case <-l.heard:
	default:
		close(l.heard)
	}
	l.mu.Unlock()
	select {
	case <-c.began:
		c.allow()
	default:
	}
}

// awaitLimits is called when there is a segment, before the application has it. The
// server's word was on its way before this process was started.
func (c *child) awaitLimits() {
	select {
	case <-c.limits.heard:
		c.allow()
	case <-time.After(limitsTimeout): // it comes, or what the segment says holds
	}
}

// allow passes the server's word on.
func (c *child) allow() {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock() // the last word is to come last
	have := &c.limits.have
	c.bottom.Allow(half.Allowance{
		Level: half.Level(have.Level), Orphans: have.Orphans, Sockets: have.Sockets,
		FinWait: have.FinWait, OrphanTries: have.OrphanTries,
	})
	if c.nic != nil && have.DeviceMTU != 0 && c.limits.growths != have.Growths {
		c.limits.growths = have.Growths
		c.bottom.DevicesGrew(min(have.DeviceMTU, pool.MaxPDU))
	}
}

// forget makes the next report go out: there is another server.
func (l *limits) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told, l.at = message.PoolUsage{}, time.Time{}
}

// report tells the server what the pool has in use if that has changed by a step, or
// by less for a while, or if it is the last that is to be said for now.
func (c *child) report(last bool) {
	load := c.bottom.Load()
	now := time.Now()
	l := &c.limits
	l.mu.Lock()
	if last || now.After(l.next) {
		l.next = now.Add(memoryPeriod)
		l.now.Memory = c.memory()
	}
	u := &l.now
	u.Buffers, u.Sockets, u.Orphans, u.Reset = load.Buffers, load.Sockets, load.Orphans, load.Reset
	due := u.Changed(&l.told, &l.have.Step) || *u != l.told && (last || now.Sub(l.at) > reportPeriod)
	if due {
		l.told, l.at = *u, now
	}
	m := message.Message{Type: message.Usage, PDU: u.Append(nil)}
	over := l.beyond(now)
	l.mu.Unlock()
	if due {
		c.tell(m)
	}
	if over {
		outside{c}.Ruined(fmt.Errorf("%d octets of memory are more than its user may have", u.Memory))
	}
}

// beyond reports whether the pool has had more memory than allowed for too long. l.mu
// is held.
func (l *limits) beyond(now time.Time) bool {
	switch {
	case l.have.Memory == 0 || l.now.Memory <= l.have.Memory:
		l.over = time.Time{}
	case l.over.IsZero():
		l.over = now
	default:
		return now.Sub(l.over) > memoryPatience
	}
	return false
}

// memory returns how many octets the kernel has given to the segment and to the
// circuits' memory that is ours. No program can make them seem fewer.
func (c *child) memory() uint64 {
	l := &c.limits
	octets := allocated(c.seg.Fd())
	if c.circuits.TryLock() { // else circuits change: what was before will do
		l.circuits = 0
		for _, fd := range c.driver.OwnMemory(nil) {
			l.circuits += allocated(fd)
		}
		c.circuits.Unlock()
	}
	return octets + l.circuits
}

// allocated returns how many octets a file has of memory.
func allocated(fd int) uint64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return uint64(st.Blocks) * 512
}
