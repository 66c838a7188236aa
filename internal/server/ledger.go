package server

import (
	"maps"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"usertcp/internal/message"
)

// The ledger knows what all pools of the host have in use of what is limited, and
// tells each what it may have. Children report by steps, and at most once for each of
// their ticks, so that the sums are as old as that: as Linux's are, which gathers the
// number of orphans ten times a second, and memory by CPU.
//
//	child A                    server                      child B
//	  ── Usage{buffers} ─────────►│ sum above 2/3 of -mem      │
//	  ◄─ Limits{pressure} ────────│── Limits{pressure} ───────►│
//	                              │                            │
//	  ends                        │ sum below 1/2 of -mem      │
//	                              │── Limits{plenty} ─────────►│
type ledger struct {
	limits Limits
	kick   chan struct{} // something has changed

	mu       sync.Mutex
	accounts map[*child]*account
	level    level
	devices  struct{ mtu, growths uint32 } // see message.PoolLimits
	users    map[int]level                 // of the memory that is one user's
}

// account is what a child has and may have.
type account struct {
	uid    int
	usage  message.PoolUsage
	told   message.PoolLimits
	isTold bool
}

// level is that of half, which a server does not import.
type level uint32

const (
	plenty level = iota
	pressure
	full
)

// next returns the level when used octets of most are in use. Its thresholds are those
// of Linux's tcp_mem, which stand at 3 to 4 to 6: above the second there is pressure,
// which lasts until the first, and above the third nobody gets more.
func (l level) next(used, most uint64) level {
	switch {
	case used >= most:
		return full
	case used > most/3*2, l != plenty && used > most/2:
		return pressure
	}
	return plenty
}

// grantPeriod is the time between two rounds in which children are told.
const grantPeriod = 10 * time.Millisecond

func newLedger(l Limits) *ledger {
	made := &ledger{limits: l, kick: make(chan struct{}, 1), accounts: make(map[*child]*account), users: make(map[int]level)}
	made.devices.growths = rand.Uint32() // another one than that of the server before, which may have missed something
	return made
}

// open returns what a child may have, who is told so.
func (l *ledger) open(c *child, uid int) message.PoolLimits {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(c, uid)
	a.told, a.isTold = l.mayHave(c, a, l.sums()), true
	return a.told
}

// account returns a child's account. l.mu is held.
func (l *ledger) account(c *child, uid int) *account {
	a := l.accounts[c]
	if a == nil {
		a = &account{uid: uid}
		l.accounts[c] = a
	}
	return a
}

// close ends it: what the child had is the others'.
func (l *ledger) close(c *child) {
	l.mu.Lock()
	delete(l.accounts, c)
	l.mu.Unlock()
	l.poke()
}

// enter takes what a child reports.
func (l *ledger) enter(c *child, uid int, u message.PoolUsage) {
	l.mu.Lock()
	l.account(c, uid).usage = u
	l.mu.Unlock()
	l.poke()
}

// grew notes that devices or routes carry larger packets than before, up to mtu octets.
func (l *ledger) grew(mtu int) {
	l.mu.Lock()
	l.devices.mtu = uint32(mtu)
	l.devices.growths++
	l.mu.Unlock()
	l.poke()
}

// missed notes that a child could not be told.
func (l *ledger) missed(c *child) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[c]; a != nil {
		a.isTold = false
	}
}

func (l *ledger) poke() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// sums are what all have, and each user.
type sums struct {
	all     message.PoolUsage
	users   map[int]message.PoolUsage
	largest map[int]*child // by memory
}

func plus(a, b message.PoolUsage) message.PoolUsage {
	return message.PoolUsage{
		Buffers: a.Buffers + b.Buffers, Memory: a.Memory + b.Memory,
		Sockets: a.Sockets + b.Sockets, Orphans: a.Orphans + b.Orphans, Reset: a.Reset + b.Reset,
	}
}

// sums adds up, and finds the levels. l.mu is held.
func (l *ledger) sums() sums {
	s := sums{users: make(map[int]message.PoolUsage), largest: make(map[int]*child)}
	for c, a := range l.accounts {
		s.all = plus(s.all, a.usage)
		s.users[a.uid] = plus(s.users[a.uid], a.usage)
		if was := s.largest[a.uid]; was == nil || l.accounts[was].usage.Memory < a.usage.Memory {
			s.largest[a.uid] = c
		}
	}
	l.level = l.level.next(s.all.Buffers, l.limits.Memory)
	for uid, u := range s.users {
		if uid == 0 {
			continue
		}
		l.users[uid] = l.users[uid].next(u.Buffers, l.limits.UserMemory)
		if u.Memory >= l.limits.UserMemory {
			l.users[uid] = full // what was given out once stays with a program
		}
	}
	maps.DeleteFunc(l.users, func(uid int, _ level) bool { _, there := s.users[uid]; return !there })
	return s
}

// mayHave returns what a child may have: of what is counted, as much as it has and what
// nobody has. Root's programs have no limits but the host's. A user whose programs take
// one eighth more memory than he may have has one that does not heed the level: that
// which has most ends. l.mu is held.
func (l *ledger) mayHave(c *child, a *account, s sums) message.PoolLimits {
	p := message.PoolLimits{
		Level: uint32(max(l.level, l.users[a.uid])), Orphans: share(l.limits.Orphans, s.all.Orphans, a.usage.Orphans),
		Sockets: math.MaxUint32, FinWait: l.limits.FinTimeout, OrphanTries: uint32(l.limits.OrphanRetries),
		Step: l.limits.step(), DeviceMTU: l.devices.mtu, Growths: l.devices.growths,
	}
	if a.uid == 0 {
		return p
	}
	u := s.users[a.uid]
	p.Sockets = share(l.limits.UserSockets, u.Sockets, a.usage.Sockets)
	if u.Memory > l.limits.UserMemory/8*9 && s.largest[a.uid] == c {
		p.Memory = max(1, a.usage.Memory-min(a.usage.Memory, u.Memory-l.limits.UserMemory))
	}
	return p
}

// share returns how much one may have who has own, when all have sum of limit.
func share(limit int, sum, own uint32) uint32 {
	room := max(0, int64(limit)-int64(sum))
	return uint32(min(int64(own)+room, math.MaxUint32))
}

// news reports whether what a child may have differs from what it was told by more
// than it is worth a message.
func (a *account) news(now *message.PoolLimits) bool {
	t := &a.told
	if !a.isTold || t.Level != now.Level || t.Memory != now.Memory || t.Growths != now.Growths {
		return true
	}
	return far(now.Orphans, t.Orphans, a.usage.Orphans, now.Step.Orphans) || far(now.Sockets, t.Sockets, a.usage.Sockets, now.Step.Sockets)
}

// far reports whether a child that has own is to be told of now after told: of each
// step, and of whatever brings it near its limit.
func far(now, told, own, step uint32) bool {
	d := max(now, told) - min(now, told)
	return d >= step || d > 0 && uint64(now) <= uint64(own)+uint64(step)
}

// due returns what children are to be told now.
func (l *ledger) due() map[*child]message.PoolLimits {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sums()
	due := make(map[*child]message.PoolLimits)
	for c, a := range l.accounts {
		if p := l.mayHave(c, a, s); a.news(&p) {
			due[c] = p
			a.told, a.isTold = p, true
		}
	}
	return due
}

// grant tells children what they may have whenever that changes, until the server stops.
func (s *Server) grant() {
	for {
		select {
		case <-s.ledger.kick:
		case <-s.stopping:
			return
		}
		for c, p := range s.ledger.due() {
			if control := c.control.Load(); control == nil || control.Channel().SendMessage(limitsMessage(p)) != nil {
				s.ledger.missed(c) // it is being started, or does not read: in the next round
			}
		}
		select {
		case <-time.After(grantPeriod):
		case <-s.stopping:
			return
		}
	}
}

func limitsMessage(p message.PoolLimits) *message.Message {
	return &message.Message{Type: message.Limits, PDU: p.Append(nil)}
}

// tellLimits tells a process that is a child what it may have, first of all.
func (c *child) tellLimits(control *message.Channel) {
	_ = control.SendMessage(limitsMessage(c.s.ledger.open(c, c.owner().uid))) // if that fails it has ended
}

// report takes a child's Usage.
func (c *child) report(m *message.Message) {
	u, err := message.ParsePoolUsage(m.PDU)
	if err != nil {
		c.s.counters.badChild.Add(1)
		c.s.log.Error("garbage from a child", "vci", c.vci, "err", err)
		return
	}
	c.s.ledger.enter(c, c.owner().uid, u)
}
