package half

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usertcp/internal/tcp"
)

// exchanges lets n connections exchange an octet to and fro, rounds times each, all
// at once.
func exchanges(t *testing.T, a, b *host, n, rounds int) {
	t.Helper()
	var wg sync.WaitGroup
	l := b.listen(testPort)
	for k := range n {
		ca := a.dial(b, testPort)
		cb, err := l.Accept()
		check(t, err)
		check(t, ca.Connected())
		go echo(cb)
		wg.Go(func() {
			p := make([]byte, 1)
			for r := range rounds {
				want := byte(k + r)
				p[0] = want
				if _, err := ca.Write(p); err != nil {
					t.Error(err)
					return
				}
				if m, err := ca.Read(p); m != 1 || err != nil || p[0] != want {
					t.Errorf("connection %d, round %d: %d octets, %d, error %v", k, r, m, p[0], err)
					return
				}
			}
			ca.Close()
		})
	}
	wg.Wait()
}

// With more connections than are woken at once everybody gets his own octets, most of
// them by the hand of whoever has taken the packet.
func TestReadersAreServed(t *testing.T) {
	for _, spin := range []Spin{SpinOff, SpinDefault} {
		a, b := runBoth(t, spin)
		const n, rounds = wakesMax + 20, 30
		exchanges(t, a, b, n, rounds)
		a.top.Change(func() {
			if a.top.served == 0 {
				t.Error("nobody was served")
			}
			t.Logf("%d of %d reads were served", a.top.served, n*rounds)
			if a.top.wakes.n != 0 || a.top.heir != nil {
				t.Errorf("%d are still to be woken, heir %v", a.top.wakes.n, a.top.heir)
			}
		})
	}
}

// A leader who spins lets those run first whom it has woken: with one processor nobody
// else would.
func TestALeaderLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	a, _ := newHosts(t, SpinDefault)
	for range 3 { // once in 61 times the scheduler prefers who has just yielded
		var w, other waiter
		other.init(nil)
		var ran, spun atomic.Bool
		go func() {
			<-other.wake
			ran.Store(true)
		}()
		rescue := time.AfterFunc(500*time.Millisecond, func() {
			spun.Store(true)
			a.top.poke()
		})
		a.top.Change(func() {
			a.top.spinBusy = time.Hour
			a.top.wake(&other)
			a.top.lead(&w, ran.Load)
		})
		rescue.Stop()
		if !spun.Load() {
			return
		}
	}
	t.Error("the leader spins, and whom it has woken does not run")
}

// Long payloads are copied by the reader, and he who has asked for more than there is
// waits for it.
func TestWhoIsNotServed(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	_, other := connect(t, a, b)
	go other.Read(make([]byte, 1)) // somebody else leads
	time.Sleep(10 * time.Millisecond)
	for _, n := range []int{small, small + 1, 3 * small} {
		want := octets(uint64(n), n)
		got := make(chan error, 1)
		p := make([]byte, n)
		go func() { got <- readFull(cb, p) }()
		time.Sleep(5 * time.Millisecond)
		_, err := ca.Write(want)
		check(t, err)
		check(t, <-got)
		if string(p) != string(want) {
			t.Errorf("%d octets: others than those written", n)
		}
	}
	check(t, cb.Options(func(o *tcp.ConnOptions) { o.RcvLowat = 4 }))
	got := make(chan int, 1)
	go func() {
		n, _ := cb.Read(make([]byte, 10))
		got <- n
	}()
	for _, s := range []string{"ab", "cd"} {
		time.Sleep(20 * time.Millisecond)
		_, err := ca.Write([]byte(s))
		check(t, err)
	}
	if n := <-got; n != 4 {
		t.Errorf("%d octets, of a reader who wants 4", n)
	}
}

// A reader whose deadline has passed, or whose socket is closed, is not served.
func TestADeadlineComesBeforeAnOrder(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	_, cb := connect(t, a, b)
	b.top.Change(func() {
		w := &cb.rd
		w.order.into = make([]byte, 1)
		b.top.followers.add(w)
		for _, f := range []*bool{&w.passed, &cb.closing, &cb.deaf} {
			*f = true
			if b.top.serve(cb) {
				t.Error("served")
			}
			*f = false
		}
		if b.top.serve(cb) {
			t.Error("served with nothing")
		}
		b.top.followers.remove(w)
		w.order.into = nil
	})
}

// The lead is nobody's for as long as its heir sleeps; if he is served, or finds what
// he has waited for when he wakes up, another one has it.
func TestAnHeirWhoDoesNotWantTheLeadPassesItOn(t *testing.T) {
	a, _ := newHosts(t, SpinOff)
	w := make([]*waiter, 3)
	for k := range w {
		w[k] = &waiter{}
		w[k].init(&Socket{t: a.top})
	}
	a.top.Change(func() {
		top := a.top
		for _, w := range w {
			top.followers.add(w)
		}
		top.handOver()
		if top.heir != w[2] || top.wakes.n != 1 {
			t.Fatal("the last who came does not inherit")
		}
		top.renounce(w[0])
		if top.heir != w[2] {
			t.Error("somebody else renounces for the heir")
		}
		top.followers.remove(w[2])
		top.renounce(w[2])
		if top.heir != w[1] || top.wakes.n != 2 {
			t.Error("the lead is lost")
		}
		top.leading = true
		top.followers.remove(w[1])
		top.renounce(w[1])
		if top.heir != nil {
			t.Error("an heir beside a leader")
		}
		top.leading = false
		top.followers.remove(w[0])
		top.handOver()
		if top.heir != nil {
			t.Error("an heir though nobody waits")
		}
	})
	for k, n := range []int{0, 1, 1} {
		if len(w[k].wake) != n {
			t.Errorf("waiter %d has been woken %d times", k, len(w[k].wake))
		}
	}
}
