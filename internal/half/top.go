package half

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// Top is the top half: the engine as the application's goroutines use it.
//
// Of the goroutines that wait one is the leader: it takes packets from the pool
// for all of them, and when there are none it parks on the pool's doorbell, so
// that a packet wakes the thread that wants it and nothing else. The others, the
// followers, wait for the leader to tell them. When the leader has what it
// waited for it hands over to a follower; if there is none the segment is
// unattended for a moment, since most programs come back at once. If this one
// does not, a watchdog leads until it does.
type Top struct {
	Half

	mu        sync.Mutex // goroutines of this process queue here, and the winner takes the lock
	leading   bool
	leader    *waiter // nil if the watchdog leads
	heir      *waiter // who was woken to lead, and does not yet
	followers waiters // circular list of those who wait
	wakes     wakes
	served    uint64       // reads that were done for who waited
	woken     bool         // somebody was, and the leader has not let him run yet
	coming    atomic.Int32 // goroutines that have been woken, or let others run, and are not back
	sockets   []*Socket
	closed    bool
	abandoned bool // the child is dead

	doorbell  syscall.RawConn
	file      *os.File
	awake     func(uintptr) bool // awaken, made once
	parked    bool               // the leader's: it has looked a last time
	poked     atomic.Bool        // somebody in this process wants the leader to look
	spin      Spin
	spinBusy  time.Duration // how long the next wait spins
	calls     atomic.Uint32 // of the program
	watched   atomic.Uint32 // calls when the watchdog last looked
	patience  atomic.Int64  // ns until it looks again
	watch     *time.Timer
	watching  bool        // watch is set, or about to be
	watchSoon bool        // watch is to be set
	alarm     *time.Timer // for the timers of the engine
	alarmAt   tcp.Time
	fetch     func() error // maps circuits that came up; nil if there are none to map
	fetchLock sync.Mutex
	alone     bool                     // there is no bottom half
	costly    bool                     // to look for packets is a system call
	stepped   tcp.Time                 // when somebody looked last
	skipped   bool                     // the present call has not looked
	stepping  bool                     // the leader is at it, and looks again before it waits
	doze      func(time.Duration) bool // Config.Doze
	rest      func(time.Duration) bool // Config.Rest
	brisk     bool                     // the last wait was short
	oneCPU    bool                     // this process has one CPU
	counted   tcp.Time                 // when that was found out, or earlier
	cede      func()                   // schedYield
	ceded     bool                     // and nothing has been found since
}

// NewTop returns the top half of a segment. The doorbell of the top half is its
// own from then on. fetch is called, without the lock, when the driver has
// changed.
func NewTop(cfg Config, spin Spin, fetch func() error) (*Top, error) {
	t := &Top{spin: spin, fetch: fetch, alarmAt: tcp.Never, spinBusy: spinMax}
	if err := t.init(cfg, shm.TopHalf); err != nil {
		return nil, err
	}
	t.deliver = t.deliverEvent
	if t.passive = t.ctl.childTakes != 0; !t.passive && t.ctl.unplaced|t.ctl.copiesMore == 0 {
		t.wanted, t.placed = t.wantedBy, t.placedFor
	}
	t.mayHold = true
	t.awake = t.awaken
	t.mails.poster, _ = cfg.Driver.(pool.Poster)
	if t.costly = cfg.Poll != 0; t.costly && cfg.Rest == nil {
		panic("BUG: a device, and no rest from it")
	}
	t.glances = !t.costly
	t.doze, t.rest, t.brisk = cfg.Doze, cfg.Rest, true
	t.cede = schedYield
	t.followers.init()
	fd, err := cfg.Poll, error(nil)
	if fd == 0 {
		fd, err = unix.FcntlInt(uintptr(t.doorbells[0].Fd()), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	t.file = os.NewFile(uintptr(fd), "doorbell")
	if t.doorbell, err = t.file.SyscallConn(); err != nil {
		return nil, err
	}
	t.watch = time.AfterFunc(time.Hour, t.watchdog)
	t.watch.Stop()
	t.alarm = time.AfterFunc(time.Hour, t.alarmed)
	t.alarm.Stop()
	return t, nil
}

// enter takes the segment's lock for a goroutine of this process.
func (t *Top) enter() {
	t.mu.Lock()
	t.lock.Lock(-1)
	t.stamped = false
}

// leave gives it back, and wakes those for whom there is something.
func (t *Top) leave() {
	if t.alone {
		t.bury()
	}
	t.flush()
	r, mail := t.takeRings(), t.mails.take()
	due := t.wheel.deadline()
	t.lock.Unlock()
	t.setTimers(due) // the runtime may need a system call for that: not with the lock
	t.unlock(&r)
	t.mails.send(mail)
}

// unlock lets other goroutines of this process have the segment, and wakes who is to
// be woken.
func (t *Top) unlock(r *shm.Rings) {
	if t.wakes.n == 0 {
		t.mu.Unlock()
		r.Ring()
		return
	}
	w := t.wakes.take()
	t.woken = true
	t.mu.Unlock()
	r.Ring()
	w.notify()
}

// drive does what there is to do, unless somebody else is at it. It may give the lock
// back meanwhile.
func (t *Top) drive() { t.driveAfter(lookFresh) }

// driveAfter is drive, of which calls so soon after a look spare theirs where it is costly.
func (t *Top) driveAfter(fresh time.Duration) {
	t.calls.Add(1)
	if !t.leading {
		t.fetchCircuits() // a program that only polls never leads
	}
	if t.leading {
		t.now = t.clock()
		return
	}
	if t.skipped = t.lookedWithin(fresh); !t.skipped {
		t.step()
		t.stamped = true // for the leader that this call may become
	}
	t.unattended()
}

// step is one turn of the top half.
func (t *Top) step() bool {
	t.ctl.drives.Add(1)
	did := t.turn()
	t.stepped = t.now
	for {
		i := t.delist(listTop)
		if i == none {
			break
		}
		did = true
		if t.aux[i].use == useProgram {
			t.tell(i)
		}
	}
	if did {
		t.ctl.Counters.TopDrives++
		t.ceded = false
	}
	return did
}

// deliverEvent wakes the goroutines that wait for what has happened.
func (t *Top) deliverEvent(i uint32, ev tcp.Event) {
	if int(i) >= len(t.sockets) || t.sockets[i] == nil {
		return
	}
	s := t.sockets[i]
	const both = tcp.EventError | tcp.EventClosed | tcp.EventEstablished | tcp.EventTimeWait
	if ev&(tcp.EventReadable|both) != 0 && !t.serve(s) {
		t.signal(&s.rd)
	}
	if ev&(tcp.EventWritable|both) != 0 {
		t.signal(&s.wr)
	}
	if ev&(tcp.EventUrgent|tcp.EventReadable|both) != 0 {
		t.signal(&s.ur)
	}
}

// signal wakes who waits at w, if anybody does.
func (t *Top) signal(w *waiter) {
	switch {
	case t.leader == w && t.leading:
		if !t.stepping { // else it is the leader itself who has found it
			t.poke()
		}
	case w.waiting:
		t.wake(w)
	}
}

// poke makes the leader look, even if it is parked.
func (t *Top) poke() {
	shm.Step()
	if !t.poked.Swap(true) {
		t.doorbells[0].Ring()
	}
}

// wait waits until ready says so, the deadline of w has passed or the socket is
// closed. It is called with the lock, which it gives back while it waits, and
// returns with it, but when it returns errServed.
func (t *Top) wait(w *waiter, ready func() bool) error {
	err := t.await(w, ready)
	if err != errServed {
		t.renounce(w)
	}
	return err
}

// await is wait, with the lead still w's if w was to have it.
func (t *Top) await(w *waiter, ready func() bool) error {
	for {
		switch {
		case w.socket.closing: // its slot may be another connection's by now
			return os.ErrClosed
		case w.expired(): // also if there is something, as in package net
			return os.ErrDeadlineExceeded
		case ready():
			return nil
		case w.nonblock && t.skipped:
			t.skipped = false
			t.step()
			continue
		case w.nonblock:
			return syscall.EAGAIN
		}
		if t.leading {
			if t.follow(w) {
				return errServed
			}
		} else {
			t.lead(w, func() bool { return w.socket.closing || w.expired() || ready() })
		}
	}
}

// follow waits for the leader to wake w. It reports whether w has been served, and
// then comes back without the lock.
func (t *Top) follow(w *waiter) bool {
	t.followers.add(w)
	if t.leader == nil {
		t.poke() // the watchdog gives the lead to whoever waits
	}
	t.leave()
	<-w.wake
	if w.order.done.Swap(false) {
		t.back(w)
		return true
	}
	t.enter()
	w.since = t.clock()
	if w.order.done.Swap(false) { // a wake-up of before, and since then served
		t.back(w)
		t.leave()
		return true
	}
	t.followers.remove(w)
	t.back(w)
	return false
}

// lead drives for all until done.
func (t *Top) lead(w *waiter, done func() bool) {
	t.leading, t.leader, t.heir = true, w, nil
	t.ctl.leader.Store(1)
	for {
		t.poked.Store(false)
		if !t.passive {
			t.bell.Awake()
		}
		t.fetchCircuits()
		more := !t.looksLater() && t.steps(done)
		if done() {
			break
		}
		if t.wakes.n > 0 || t.woken {
			t.yield()
			if w != nil {
				w.since = t.now
			}
		} else if !more {
			t.pause()
		}
	}
	t.leading, t.leader = false, nil
	t.ctl.leader.Store(0)
	t.handOver()
}

// looksLater reports whether a leader whose call has not looked, since it would have been
// in vain a moment ago, goes without a look to where it gives the CPU away: if there is no
// other CPU the peer can't have answered meanwhile.
func (t *Top) looksLater() bool {
	skipped := t.skipped
	t.skipped = false
	return skipped && t.oneCPU && !t.ceded && t.spin != SpinOff && t.wakes.n == 0 && !t.woken && t.now-t.stepped < tcp.Time(lookFresh)
}

// steps takes what there is, and reports whether there may be more.
func (t *Top) steps(done func() bool) bool {
	t.stepping = true
	defer func() { t.stepping = false }()
	for range stepsMax {
		if !t.step() {
			return false
		}
		if done() || t.wakes.n >= wakesEnough {
			break
		}
	}
	return true
}

// stepsMax is how many steps the leader takes before those run whom it has woken.
const stepsMax = 4

// handOver gives the lead to a follower, who takes it when he wakes up; if there is
// none the segment is unattended.
func (t *Top) handOver() {
	if t.heir = t.followers.last(); t.heir != nil {
		t.wake(t.heir)
	} else {
		t.unattended()
	}
}

// renounce gives the lead on if w was to have it and does not want it any more.
func (t *Top) renounce(w *waiter) {
	if t.heir != w {
		return
	}
	if t.heir = nil; !t.leading {
		t.handOver()
	}
}

// unattended starts the watchdog: nobody waits, and nobody takes packets.
func (t *Top) unattended() {
	if t.passive {
		return
	}
	t.bell.Awake()
	if !t.watching && !t.closed && t.ctl.live > 0 {
		t.watching = true
		t.watched.Store(t.calls.Load())
		t.patience.Store(int64(watchPeriod))
		t.watchSoon = true
	}
}

// watchdog looks after a segment that the program has left unattended for a
// whole period: it leads until somebody waits again, or calls again and again. Beside a
// program that calls all the time it looks less and less often, and does not take the
// segment from it: each look is a thread that wakes, on a CPU that somebody else may have had.
func (t *Top) watchdog() {
	if calls := t.calls.Load(); calls != t.watched.Load() {
		t.watched.Store(calls)
		d := min(2*time.Duration(t.patience.Load()), watchMost)
		t.patience.Store(int64(d))
		t.watch.Reset(d)
		return
	}
	t.enter()
	defer t.leave()
	switch {
	case t.closed || t.leading || t.ctl.live == 0:
		t.watching = false
	default:
		t.watching = false
		t.lead(nil, t.isAttended(t.calls.Load()))
	}
}

// isAttended returns what tells the watchdog, who leads since the program had made so many
// calls, that it is not needed.
func (t *Top) isAttended(calls uint32) func() bool {
	return func() bool {
		return t.closed || t.ctl.live == 0 || t.followers.first() != nil || t.calls.Load()-calls >= callsAgain
	}
}

// callsAgain is after how many calls a program attends to its segment again: it may have
// been without a CPU for a moment.
const callsAgain = 64

// setTimers sees to it that the watchdog comes, and that the engine's timers, of which
// the first is due at the given time, are looked at in time even if nobody drives. An alarm that comes too early does no harm, so that it is set
// again only when it has to come sooner. When the program has closed the stack
// timers are the bottom half's business.
func (t *Top) setTimers(at tcp.Time) {
	if t.watchSoon {
		t.watchSoon = false
		t.watch.Reset(watchPeriod)
	}
	if t.watching && !t.leading {
		return // the watchdog comes first, or the program
	}
	if at < t.alarmAt && !t.closed && !t.passive {
		t.alarmAt = at
		t.alarm.Reset(time.Duration(at - t.clock()))
	}
}

func (t *Top) alarmed() {
	t.enter()
	t.alarmAt = tcp.Never
	if !t.closed {
		t.step()
	}
	t.leave()
}

// fetchCircuits maps circuits that came up since the last time. It gives the
// lock back meanwhile.
func (t *Top) fetchCircuits() {
	if t.fetch != nil && t.drv.Changed() {
		t.doFetch()
	}
}

// ensure sees to it that the circuits of connection i are mapped here, as far as they
// can be. It may give the lock back meanwhile.
func (t *Top) ensure(i uint32) {
	for n := 0; n < ensureTries && t.fetch != nil && !t.here(i); n++ {
		t.doFetch()
	}
}

// ensureTries is how often circuits are fetched for one call: the connection may have got
// another one meanwhile.
const ensureTries = 2

func (t *Top) doFetch() {
	t.leave()
	t.fetchLock.Lock()
	err := t.fetch()
	t.fetchLock.Unlock()
	t.enter()
	if err != nil {
		t.ctl.Counters.NoRoute++
	}
}

// Close ends the use of the segment: goroutines that wait are told that their
// sockets are closed. The mappings stay, since they may be in use.
func (t *Top) Close() error {
	t.enter()
	t.closed = true
	for _, s := range t.sockets {
		if s != nil {
			s.closing = true
			for _, w := range []*waiter{&s.rd, &s.wr, &s.ur} {
				w.setDeadline(t, time.Time{}) // its timer would come back to the segment
				t.signal(w)
			}
		}
	}
	t.poke()
	t.leave()
	t.watch.Stop()
	t.alarm.Stop()
	return t.file.Close()
}

// ErrNoSockets is why a socket can't be made.
var ErrNoSockets = fmt.Errorf("too many sockets: %w", syscall.EMFILE)

// Change runs f with the lock: for the driver's changes of circuits.
func (t *Top) Change(f func()) {
	t.enter()
	f()
	t.leave()
}
