package half

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

func runBoth(t testing.TB, spin Spin) (a, b *host) {
	a, b = newHosts(t, spin)
	a.run()
	b.run()
	return a, b
}

// Octets arrive unaltered, whatever the sizes of writes and reads, in both
// directions at once; then nothing is in use any more.
func TestStreamsBothWays(t *testing.T) {
	type set []func(*shm.Segment) error
	for _, tc := range []struct {
		spin Spin
		lock shm.LockKind
		set  set
	}{
		{SpinOff, shm.LockAdaptive, nil},
		{SpinDefault, shm.LockAdaptive, nil},
		{SpinOff, shm.LockSemaphore, nil},
		{SpinOff, shm.LockPeterson, nil},
		{SpinOff, shm.LockEdwards, nil},
		{SpinOff, shm.LockAdaptive, set{SetChildTakes}},
		{SpinDefault, shm.LockSemaphore, set{SetChildTakes}},
		{SpinOff, shm.LockAdaptive, set{SetBufferCache}},
		{SpinOff, shm.LockAdaptive, set{SetCopies}},
		{SpinDefault, shm.LockAdaptive, set{SetChildTakes, SetBufferCache, SetCopies}},
	} {
		t.Logf("spin %v, lock %v, options %d", tc.spin, tc.lock, len(tc.set))
		arrange(t, tc.set...)
		a, b := newHostsWithLock(t, tc.spin, tc.lock)
		a.run()
		b.run()
		ca, cb := connect(t, a, b)
		bothWays(t, a, b, ca, cb)
		check(t, ca.Close())
		check(t, cb.Close())
		wantIdle(t, a)
		wantIdle(t, b)
		if n := a.counters(); a.top.passive && n.BottomDrives < n.PacketsIn/turnPackets {
			t.Errorf("the child takes packets, and found something to do %d times, for %d", n.BottomDrives, n.PacketsIn)
		}
	}
}

// bothWays sends 4 MiB each way and ends both directions.
func bothWays(t *testing.T, a, b *host, ca, cb *Socket) {
	t.Helper()
	const total = 4 << 20
	errs := make(chan error, 4)
	go func() { errs <- writeOctets(ca, octets(1, total)) }()
	go func() { errs <- writeOctets(cb, octets(2, total)) }()
	go func() { errs <- readOctets(ca, octets(2, total)) }()
	go func() { errs <- readOctets(cb, octets(1, total)) }()
	for range 4 {
		select {
		case err := <-errs:
			check(t, err)
		case <-time.After(20 * time.Second):
			var dump bytes.Buffer
			a.top.Dump(&dump)
			b.top.Dump(&dump)
			t.Fatalf("waited 20s\n%s", dump.String())
		}
	}
}

// writeOctets writes data in pieces of many sizes, and ends the direction.
func writeOctets(s *Socket, data []byte) error {
	for n := 1; len(data) > 0; n = n*3%200_003 + 1 {
		k, err := s.Write(data[:min(n, len(data))])
		if data = data[k:]; err != nil {
			return err
		}
	}
	return s.CloseWrite()
}

// readOctets reads in pieces of many sizes to the end, and compares.
func readOctets(s *Socket, want []byte) error {
	buf := make([]byte, 100_000)
	for n, at := 1, 0; ; n = n*5%100_000 + 1 {
		k, err := s.Read(buf[:n])
		if at+k > len(want) || !bytes.Equal(buf[:k], want[at:at+k]) {
			return errors.New("other octets than those written")
		}
		if at += k; err == io.EOF && at == len(want) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A call allocates nothing, once a connection is at work.
func TestReadAndWriteAllocateNothing(t *testing.T) {
	for _, size := range []int{1, 64, 2048, 16 << 10, 64 << 10} {
		a, b := runBoth(t, SpinOff)
		ca, cb := connect(t, a, b)
		out, in := octets(1, size), make([]byte, size)
		turn := func() {
			if _, err := ca.Write(out); err != nil {
				t.Fatal(err)
			}
			if err := readFull(cb, in); err != nil {
				t.Fatal(err)
			}
		}
		for range 200 {
			turn()
		}
		if n := testing.AllocsPerRun(500, turn); n != 0 {
			t.Errorf("%d octets: %v allocations for a Write and a Read", size, n)
		}
		if !bytes.Equal(in, out) {
			t.Errorf("%d octets: others than those written", size)
		}
	}
}

// A reader that parks and is woken allocates nothing either.
func TestWakingAllocatesNothing(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	go echo(cb)
	p := make([]byte, 1)
	turn := func() {
		ca.Write(p)
		if err := readFull(ca, p); err != nil {
			t.Error(err)
		}
	}
	for range 200 {
		turn()
	}
	if n := testing.AllocsPerRun(500, turn); n != 0 {
		t.Errorf("%v allocations for a round trip", n)
	}
	ca.Close()
}

// echo sends back what it reads, until the end.
func echo(s *Socket) {
	p := make([]byte, 64<<10)
	for {
		n, err := s.Read(p)
		if err != nil {
			s.Close()
			return
		}
		s.Write(p[:n])
	}
}

// asIfStopped does f while nothing of h's program can enter its segment, as if it had been
// stopped between two calls. (To stop its timers is not enough: a watchdog or an alarm whose
// time has come already would do the child's work.)
func asIfStopped(h *host, f func()) {
	h.top.mu.Lock()
	defer h.top.mu.Unlock()
	f()
}

// The application does not come: the child takes what arrives, acknowledges it,
// and the application finds it when it comes again.
func TestBottomHalfStandsIn(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	want := octets(3, 100_000)
	asIfStopped(b, func() {
		_, err := ca.Write(want)
		check(t, err)
		wantWithin(t, "everything to be acknowledged", func() bool {
			acknowledged := false
			a.top.Change(func() {
				a.top.step()
				acknowledged = a.top.conns[ca.i].SndQ.Count == 0
			})
			return acknowledged
		})
	})
	if n := b.top.Usage().Counters.BottomDrives; n == 0 {
		t.Error("the bottom half has done nothing")
	}
	wantRead(t, cb, want)
	ca.Close()
	cb.Close()
	wantIdle(t, a)
	wantIdle(t, b)
}

// Beside a program that calls all the time the watchdog looks less and less often, and no
// alarm is set: each is a thread that wakes. Once the program does not call the watchdog
// leads, and the alarm is set.
func TestWatchdogOfABusyProgram(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	go io.Copy(io.Discard, cb)
	top := a.top
	wantWithin(t, "the watchdog to look seldom", func() bool {
		for range 50_000 { // some call may wait, and lead, or the watchdog may lead: then it begins anew
			ca.Write(make([]byte, 10))
			if time.Duration(top.patience.Load()) == watchMost {
				return true
			}
		}
		return false
	})
	wantWithin(t, "it to lead, and an alarm", func() (leads bool) {
		top.Change(func() { leads = top.leading && top.alarmAt != tcp.Never })
		return leads
	})
}

// A watchdog that leads, since the program had no CPU for a moment, leaves the segment to
// it when it calls again and again: it led for ever beside a program that did not wait.
func TestWatchdogThatLeadsGivesWay(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	go io.Copy(io.Discard, cb)
	top := a.top
	state := func() (leads, watches bool) {
		top.Change(func() { leads, watches = top.leading, top.watching })
		return leads, watches
	}
	wantWithin(t, "the watchdog to lead", func() bool {
		leads, _ := state()
		return leads
	})
	wantWithin(t, "it to give way", func() bool {
		for range 2 * callsAgain { // of which none waits: the peer takes far more
			ca.Write(make([]byte, 10))
		}
		leads, watches := state()
		return !leads && watches
	})
}

// An alarm that comes when the top half is being closed does not come again and
// again, though what is due stays due.
func TestAlarmAfterClose(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, _ := connect(t, a, b)
	_, err := ca.Write(octets(1, 10))
	check(t, err)
	a.dead = true // closed here already
	check(t, a.top.Close())
	if a.top.wheel.deadline() == tcp.Never {
		t.Fatal("no timer runs: the test tests nothing")
	}
	a.top.alarmed()
	if a.top.alarmAt != tcp.Never {
		t.Errorf("the alarm is set to %d again", a.top.alarmAt)
	}
}

// The program ends without a word: what it wrote arrives, and then the end.
func TestProgramEnds(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	want := octets(4, 300_000)
	_, err := ca.Write(want)
	check(t, err)
	a.top.watch.Stop()
	a.top.alarm.Stop()
	a.bottom.ProgramEnded(func() bool { return true })
	wantRead(t, cb, want)
	if n, err := cb.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the last octet: %d, %v; want EOF", n, err)
	}
}

// A socket may be closed when the program has given up the whole segment: the child has
// closed it then, and its slot was freed twice.
func TestCloseAfterTheStackWasClosed(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	check(t, a.top.Close())
	a.dead = true
	a.bottom.ProgramEnded(func() bool { return true })
	wantEOF(t, cb)
	check(t, cb.Close())
	wantWithin(t, "all of a's connections to end, but for TIME-WAIT", func() bool {
		i := ca.Index()
		ended := false
		a.bottom.Change(func() { ended = a.bottom.aux[i].use == useFree || a.bottom.conns[i].State == tcp.TimeWait })
		return ended
	})
	a.bottom.Change(func() {
		if i := ca.Index(); a.bottom.aux[i].use != useFree {
			a.bottom.fail(i, tcp.ErrNone)
		}
	})
	wantWithin(t, "the slot to be free", func() bool {
		free := false
		a.bottom.Change(func() { free = a.bottom.aux[ca.Index()].use == useFree })
		return free
	})
	check(t, ca.Close())
}

// … and if it held the lock when it died, the child repairs and goes on.
func TestProgramEndsWithTheLock(t *testing.T) {
	for _, lock := range []shm.LockKind{shm.LockAdaptive, shm.LockSemaphore, shm.LockPeterson, shm.LockEdwards} {
		t.Run(lock.String(), func(t *testing.T) { endWithTheLock(t, lock) })
	}
}

func endWithTheLock(t *testing.T, lock shm.LockKind) {
	a, b := newHostsWithLock(t, SpinOff, lock)
	a.run()
	b.run()
	ca, cb := connect(t, a, b)
	want := octets(5, 200_000)
	_, err := ca.Write(want)
	check(t, err)
	a.top.watch.Stop()
	a.top.alarm.Stop()
	a.top.enter() // for ever
	a.dead = true
	c := a.top.begin(ca.i)
	c.SndQ.Count, c.SndQ.Bytes, c.RcvHead = 0, 0, c.RcvHead+77 // half of a step
	a.bottom.ProgramEnded(func() bool { return true })
	wantRead(t, cb, want)
	if n, err := cb.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the last octet: %d, %v; want EOF", n, err)
	}
	if n := a.bottom.ctl.Counters.Repairs; n != 1 {
		t.Errorf("%d repairs, want 1", n)
	}
	cb.Close()
	wantIdle(t, b)
}

func benchStream(b *testing.B, size int) {
	h, k := newHosts(b, SpinDefault)
	h.run()
	k.run()
	ch, ck := connect(b, h, k)
	out := octets(1, size)
	done := make(chan error, 1)
	go func() {
		in := make([]byte, max(size, 64<<10))
		for left := int64(b.N) * int64(size); left > 0; {
			n, err := ck.Read(in)
			if left -= int64(n); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := ch.Write(out); err != nil {
			b.Fatal(err)
		}
	}
	check(b, <-done)
}

func BenchmarkStream64K(b *testing.B) { benchStream(b, 64<<10) }
func BenchmarkStream64B(b *testing.B) { benchStream(b, 64) }

func BenchmarkRR(b *testing.B) {
	for _, c := range []struct {
		name string
		spin Spin
	}{{"blocking", SpinOff}, {"spinning", SpinDefault}} {
		b.Run(c.name, func(b *testing.B) {
			h, k := newHosts(b, c.spin)
			h.run()
			k.run()
			ch, ck := connect(b, h, k)
			go echo(ck)
			p := make([]byte, 1)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				ch.Write(p)
				check(b, readFull(ch, p))
			}
		})
	}
}

// What a write queues leaves in the same step: the journal has the connection as it was
// before both. Over a device, which may refuse the segment, and of a connection with an
// annex, or if more is said of what was written, the segment has a step of its own.
func TestWhatIsWrittenLeavesInItsStep(t *testing.T) {
	for _, c := range []struct {
		name    string
		devices bool
		annex   uint32
		write   func(h *Direct, i uint32)
		one     bool
	}{
		{"over a ring", false, 0, func(h *Direct, i uint32) { h.Write(i, make([]byte, 50)) }, true},
		{"over devices", true, 0, func(h *Direct, i uint32) { h.Write(i, make([]byte, 50)) }, false},
		{"with an annex", false, 1, func(h *Direct, i uint32) { h.Write(i, make([]byte, 50)) }, false},
		{"urgent", false, 0, func(h *Direct, i uint32) { h.WriteUrgent(i, make([]byte, 50)) }, false},
	} {
		w := newCrashWorld(t, c.devices)
		i, _ := w.a.pair(w.b, 1001)
		h := w.a.top
		h.conns[i].Annex = c.annex
		c.write(h, i)
		if k := &h.conns[i]; k.Stats.DataSegsOut != 1 || k.SndQ.Bytes != 50 {
			t.Errorf("%s: %d segments of %d octets", c.name, k.Stats.DataSegsOut, k.SndQ.Bytes)
		}
		if one := h.journal.before.SndQ.Count == 0; one != c.one {
			t.Errorf("%s: one step: %v", c.name, one)
		}
	}
}

// Behind packets that the peer has not looked at a segment may have to wait for more, which
// is found out where it would have a step of its own, and not twice.
func TestWhatIsWrittenBehindManyPackets(t *testing.T) {
	w := newCrashWorld(t, false)
	h := w.a.top
	var conns []uint32
	for n := range uint16(corkBacklog + 2) {
		i, _ := w.a.pair(w.b, 1001+n)
		conns = append(conns, i)
	}
	w.settle()
	for n, i := range conns {
		h.Write(i, make([]byte, 50))
		if h.conns[i].Stats.DataSegsOut != 1 {
			t.Errorf("%d packets wait, and what is written does not leave", n)
		}
		if one := h.journal.before.SndQ.Count == 0; one != (n < corkBacklog) {
			t.Errorf("%d packets wait: one step: %v", n, one)
		}
	}
}
