package half

import (
	"runtime"
	"sync/atomic"
	"testing"

	"usertcp/internal/tcp"
)

// A goroutine that never waits lets others run when it has had its processor for long,
// and somebody wants one; else it goes on. Of sixteen streams between two CPUs one had
// four times what the others had, for seconds.
func TestWhoSharesAProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	a, _ := newHosts(t, SpinOff)
	for _, tc := range []struct {
		name  string
		had   tcp.Time // for how long it has had its processor
		ago   tcp.Time // its last call
		other func(w *waiter)
		want  bool
	}{
		{"for long, and somebody has been woken", 2 * shareAfter, 0, a.top.wake, true},
		{"for long, and somebody shares", 2 * shareAfter, 0, func(*waiter) { a.top.coming.Add(1) }, true},
		{"not for long", 0, 0, a.top.wake, false},
		{"for long, but it was elsewhere", 3 * shareAfter, 2 * shareAfter, a.top.wake, false},
		{"for long, and nobody wants one", 2 * shareAfter, 0, func(*waiter) {}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 3 { // once in 61 times the scheduler prefers who has just yielded
				var other waiter
				s := &Socket{t: a.top}
				other.init(nil)
				var ran atomic.Bool
				shared := false
				a.top.Change(func() {
					tc.other(&other)
					go ran.Store(true)
					a.top.now = a.top.clock()
					s.wr.since, s.wr.called = a.top.now-tc.had, a.top.now-tc.ago
					began := a.top.now
					s.share(&s.wr)
					shared = s.wr.called != began
				})
				a.top.coming.Store(0)
				if shared != tc.want {
					t.Fatalf("shared: %v", shared)
				}
				if ran.Load() == tc.want {
					return
				}
			}
			t.Errorf("somebody else ran: %v", !tc.want)
		})
	}
}

// Who has been woken is counted until he is back, whoever has served him, and not longer:
// else all would share for ever with somebody who does not come.
func TestWhoComesIsBack(t *testing.T) {
	for _, spin := range []Spin{SpinOff, SpinDefault} {
		a, b := runBoth(t, spin)
		exchanges(t, a, b, wakesMax+20, 30)
		for _, h := range []*host{a, b} {
			wantWithin(t, "all to be back", func() bool { return h.top.coming.Load() == 0 })
		}
	}
}
