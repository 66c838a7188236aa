package goodput

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// path is a way with one bottleneck, as in the engine's table.
type path struct {
	rate   uint64        // octets a second of the bottleneck
	delay  time.Duration // of propagation, there and back
	buffer uint64        // octets that wait before the bottleneck, at most
	loss   float64       // of the packets towards b
	late   float64       // share of the packets towards b that others overtake
	seed   uint64
}

// lateBy is how much later than its turn a packet comes that others overtake.
const lateBy = 5 * time.Millisecond

// shaper moves packets between two devices as a path would. It is one thread,
// which goes before all others of the machine (SCHED_FIFO), so that the path stays
// what it is while something else is going on.
type shaper struct {
	path
	r    *rand.Rand
	a, b int // descriptors of the devices
	*lanes
	free    time.Duration // when the bottleneck will have sent all that waits
	stopped atomic.Bool
	done    chan struct{}
	fair    bool // the thread has its priority

	sent, dropped, lost, overtaken uint64
	behind                         uint64        // packets that left more than mostSlack too late
	queued                         time.Duration // sum of the time that packets waited
	slack                          time.Duration // most that a packet left too late
}

// lanes are what a shaper has to remember of packets. They are used again, so that
// measuring needs no garbage collection.
type lanes struct {
	there lane // towards b
	late2 lane // towards b, those that come late
	back  lane
}

var spare = make(chan *lanes, 16)

func newLanes() *lanes {
	select {
	case l := <-spare:
		l.there.tail, l.late2.tail, l.back.tail = l.there.head, l.late2.head, l.back.head
		return l
	default:
		l := new(lanes)
		for _, x := range []*lane{&l.there, &l.late2, &l.back} {
			for i := range x.slots {
				x.slots[i].n = 1 // the memory is there from now on
			}
		}
		return l
	}
}

// lane is what is on its way in one direction, in order.
type lane struct {
	slots      [8192]slot
	head, tail uint64
}

type slot struct {
	due time.Duration
	n   int
	b   [1600]byte
}

// full reports whether there is no room for another packet: then the shaper is
// too small for the path.
func (l *lane) full() bool { return l.tail-l.head == uint64(len(l.slots)) }

// room is where the next packet goes.
func (l *lane) room() *slot { return &l.slots[l.tail%uint64(len(l.slots))] }

func (l *lane) first() *slot {
	if l.head == l.tail {
		return nil
	}
	return &l.slots[l.head%uint64(len(l.slots))]
}

// clock returns the time of CLOCK_MONOTONIC.
func clock() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

func newShaper(p path, a, b int) *shaper {
	return &shaper{path: p, r: rand.New(rand.NewPCG(p.seed, 9438)), lanes: newLanes(), a: a, b: b, done: make(chan struct{})}
}

// start lets the shaper run until stop.
func (s *shaper) start() { go s.run() }

func (s *shaper) stop() {
	s.stopped.Store(true)
	<-s.done
	spare <- s.lanes
}

func (s *shaper) run() {
	defer close(s.done)
	runtime.LockOSThread() // and never given back: the thread ends with its priority
	s.fair = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}, 0) == nil
	fds := []unix.PollFd{{Fd: int32(s.a), Events: unix.POLLIN}, {Fd: int32(s.b), Events: unix.POLLIN}}
	for !s.stopped.Load() {
		now := clock()
		s.take(s.a, now, s.forward)
		s.take(s.b, now, s.reverse)
		for _, l := range []*lane{&s.there, &s.late2} {
			s.deliver(l, s.b)
		}
		s.deliver(&s.back, s.a)
		s.wait(fds)
	}
}

// wait waits for a packet, or until one is due, 5 ms at most.
func (s *shaper) wait(fds []unix.PollFd) {
	left := 5 * time.Millisecond
	now := clock()
	for _, l := range []*lane{&s.there, &s.late2, &s.back} {
		if p := l.first(); p != nil {
			left = min(left, p.due-now)
		}
	}
	if left <= 0 {
		return
	}
	ts := unix.NsecToTimespec(int64(left))
	unix.Ppoll(fds, &ts, nil)
}

// take takes packets from a device, a few at a time.
func (s *shaper) take(fd int, now time.Duration, put func(l *slot, now time.Duration)) {
	l := &s.back
	if fd == s.a {
		l = &s.there
	}
	for range 16 {
		p := l.room()
		if l.full() {
			s.dropped++
			return
		}
		n, err := unix.Read(fd, p.b[:])
		if err != nil || n <= 0 {
			return
		}
		p.n = n
		put(p, now)
	}
}

// forward sends a packet through the bottleneck.
func (s *shaper) forward(p *slot, now time.Duration) {
	s.sent++
	size := uint64(p.n)
	s.free = max(s.free, now)
	wait := s.free - now
	if uint64(wait)*s.rate/uint64(time.Second)+size > s.buffer {
		s.dropped++
		return
	}
	if s.r.Float64() < s.loss {
		s.lost++
		return
	}
	s.queued += wait
	s.free += time.Duration(size * uint64(time.Second) / s.rate)
	p.due = s.free + s.delay/2
	if s.late > 0 && s.r.Float64() < s.late && !s.late2.full() {
		s.overtaken++
		q := s.late2.room()
		*q = *p
		q.due += lateBy
		s.late2.tail++
		return
	}
	s.there.tail++
}

// reverse sends an acknowledgement back.
func (s *shaper) reverse(p *slot, now time.Duration) {
	p.due = now + s.delay/2
	s.back.tail++
}

// deliver gives a device what is due.
func (s *shaper) deliver(l *lane, fd int) {
	for p := l.first(); p != nil; p = l.first() {
		now := clock()
		if p.due > now {
			return
		}
		s.slack = max(s.slack, now-p.due)
		if now-p.due > mostSlack {
			s.behind++
		}
		unix.Write(fd, p.b[:p.n])
		l.head++
	}
}

// tun makes a device for whole IP packets in the present namespace.
func tun(t testing.TB, name string) int {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no TUN devices here: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	return fd
}
