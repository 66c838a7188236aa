package half

import (
	"testing"
	"time"

	"usertcp/internal/tcp"
)

// A call that writes much looks seldom while all of it leaves; one that writes little, or
// has to wait for the peer, as soon as any other; and what has to wait is looked for.
func TestWritersLookSeldom(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, _ := connect(t, a, b)
	top := a.top
	top.Change(func() {
		if d := top.lookFor(ca.i, holdSmall); d != lookSeldom {
			t.Errorf("a long write looks %v after the last look", d)
		}
		if d := top.lookFor(ca.i, holdSmall-1); d != lookFresh {
			t.Errorf("a short one looks %v after the last look", d)
		}
		fetch := top.fetch
		top.fetch, top.costly = nil, true
		defer func() { top.fetch, top.costly = fetch, false }()
		for _, c := range []struct {
			ago, fresh time.Duration
			looks      bool
		}{{time.Minute, time.Hour, false}, {2 * time.Hour, time.Hour, true}} {
			drives := top.ctl.drives.Load()
			top.stepped = top.clock() - tcp.Time(c.ago)
			top.driveAfter(c.fresh)
			if looked := top.ctl.drives.Load() > drives; looked != c.looks || top.skipped == looked {
				t.Errorf("a call that looks after %v, %v after the last one: looked %v, spared %v", c.fresh, c.ago, looked, top.skipped)
			}
		}
	})
	// Nobody reads, so that the window closes.
	ca.wr.nonblock = true
	wantWithin(t, "a window without end", func() bool {
		_, err := ca.Write(make([]byte, 64<<10))
		return err != nil
	})
	top.Change(func() {
		if !top.conns[ca.i].Stuck() {
			t.Error("nothing has to wait though the window is closed")
		}
		if d := top.lookFor(ca.i, holdSmall); d != lookFresh {
			t.Errorf("a long write that has to wait looks %v after the last look", d)
		}
		for _, c := range []struct {
			n       int
			skipped bool
			looks   bool
		}{{holdSmall, true, true}, {holdSmall, false, false}, {holdSmall - 1, true, false}} {
			drives := top.ctl.drives.Load()
			top.skipped = c.skipped
			top.unstick(ca.i, c.n)
			if looked := top.ctl.drives.Load() > drives; looked != c.looks {
				t.Errorf("%d octets written, look spared %v: looked %v", c.n, c.skipped, looked)
			}
		}
		top.skipped = false
	})
}
