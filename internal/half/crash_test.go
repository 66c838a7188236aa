//go:build linux && amd64

package half

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// crashEnv says how many of a hundred moments of each step are tried; without it a
// few are.
const crashEnv = "USERTCP_CRASH"

// TestCrashAtEveryWrite runs each kind of step in a process of its own, instruction
// by instruction, and looks after each at the memory that it shares. Whenever that
// has changed, a copy of it is what the other half would find if the process died
// there: it repairs the copy, everything must be in order, and the connections come
// to their end with every octet that had been accepted.
func TestCrashAtEveryWrite(t *testing.T) {
	if testing.Short() {
		t.Skip("one instruction after the other: takes its time")
	}
	percent := [2]int{10, 5}
	if s := os.Getenv(crashEnv); s != "" {
		n, err := strconv.Atoi(s)
		check(t, err)
		percent = [2]int{n, n}
	}
	seed := uint64(time.Now().UnixNano())
	for _, way := range []struct {
		name    string
		devices bool
		percent int
	}{{"ring", false, percent[0]}, {"devices", true, percent[1]}} {
		t.Run(way.name, func(t *testing.T) {
			after := newCrashWorld(t, way.devices) // the copies are put here
			for i := range crashCases {
				if c := &crashCases[i]; c.isOn(way.devices) {
					t.Run(c.name, func(t *testing.T) {
						crash(t, c, after, way.percent, rand.New(rand.NewPCG(seed, uint64(i))))
						if t.Failed() {
							t.Logf("seed %d", seed)
						}
					})
				}
			}
		})
	}
}

func crash(t *testing.T, c *crashCase, after *crashWorld, percent int, r *rand.Rand) {
	w := newCrashWorld(t, after.devices)
	base := prepareBase(w)
	at := c.prepare(w, base)
	var peer []*memory
	for _, m := range w.b.mem {
		peer = append(peer, m.saved())
	}
	way := w.flight()
	tried, held := 0, 0
	began := time.Now()
	seen := w.cuts(t, c, at, func(n int) {
		way.look()
		if t.Failed() || r.IntN(100) >= percent {
			return
		}
		tried++
		after.now = w.now
		for k := range peer {
			after.a.mem[k].become(w.a.mem[k])
			after.b.mem[k].become(peer[k])
		}
		way.become(after)
		after.a.halves()
		after.b.halves()
		if after.a.top.lock.Holder() != shm.Nobody {
			held++
		}
		if err := after.survive(c, base); err != nil {
			t.Errorf("death at moment %d: %v", n, err)
		}
	})
	t.Logf("%d instructions, %d moments, %d deaths, %d of them with the lock, %v", seen.instructions, seen.moments, tried, held, time.Since(began).Round(time.Millisecond))
	if seen.moments < 2 {
		t.Error("the step changed nothing")
	}
	for _, call := range seen.calls {
		t.Error("a system call with the lock held,", call)
	}
}

// TestTraceKnowsWhoseCallsTheyAre: a system call of the program's with the lock held is
// seen, and what the runtime calls when it has taken the CPU from it is none.
func TestTraceKnowsWhoseCallsTheyAre(t *testing.T) {
	for i, want := range []bool{true, false, false, false} {
		c := &tracedCases[i]
		t.Run(c.name, func(t *testing.T) {
			w := newCrashWorld(t, false)
			seen := w.cuts(t, c, nil, func(int) {})
			if got := len(seen.calls) > 0; got != want {
				t.Errorf("of %d instructions there are calls with the lock held: %q; want some: %v", seen.instructions, seen.calls, want)
			}
		})
	}
}

// survive does what is done after a death at host a, and comes to the end of all
// connections.
func (w *crashWorld) survive(c *crashCase, base *crashBase) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v (%s)", p, origin())
		}
	}()
	w.a.drv.Changed()
	w.b.drv.Changed()
	if c.who == child {
		w.a.replaceChild()
	} else {
		w.a.bottom.ProgramEnded(func() bool { return true })
	}
	if err := w.a.audit.Check(w.now); err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	if err := w.converse(c, base); err != nil {
		return err
	}
	return w.end()
}

// replaceChild does what a program does whose child has died, and starts another.
func (h *crashHost) replaceChild() {
	if h.top.lock.Seize() {
		h.top.repair(keepReserved)
		h.top.settle()
		h.top.flush()
		h.top.takeRings()
		h.top.lock.Unlock()
	}
	h.top.Step()
	h.bottom.TakeOver(nil, func() bool { return false })
	h.bottom.Look(true)
}

// converse has both programs, as far as they live, say and hear all there is.
func (w *crashWorld) converse(c *crashCase, base *crashBase) error {
	y := &reader{h: w.b, i: base.y, conn: base.x, got: base.gotY}
	u := &reader{h: w.a, i: base.u, conn: base.v, got: base.gotU}
	alive := c.who == child
	listening := alive && w.a.top.aux[base.u].use == useProgram && w.a.top.conns[base.u].State != tcp.Closed
	written := base.written
	if alive {
		written += w.a.top.Write(base.x, stream(base.x, written, 5000))
		w.a.top.Shutdown(base.x)
	}
	for range 400 {
		w.settle()
		if err := y.read(); err != nil {
			return err
		}
		if listening {
			if err := u.read(); err != nil {
				return err
			}
		}
		if y.end && (!listening || u.got == base.sent) {
			break
		}
		w.now += 50 * tcp.Millisecond
	}
	switch k := w.b.top.Conn(base.y); {
	case !y.end || k.Error != tcp.ErrNone:
		return fmt.Errorf("the stream of %d octets ended after %d: %v, %v", written, y.got, k.State, k.Error)
	case y.got < written || alive && y.got > written:
		return fmt.Errorf("%d octets arrived of %d", y.got, written)
	case listening && u.got != base.sent:
		return fmt.Errorf("%d octets arrived of %d that the peer sent", u.got, base.sent)
	}
	return nil
}

// end has all that lives close everything, lets the time pass, and looks whether
// anything is left.
func (w *crashWorld) end() error {
	for _, h := range []*crashHost{w.a, w.b} {
		for i := range h.top.ctl.conns.Fresh {
			if h.top.aux[i].use == useProgram {
				h.top.Close(i)
			}
			h.bottom.Over(h.top.conns[i].Flow) // if it has gone elsewhere
		}
	}
	for range 120 {
		w.settle()
		w.now += 3 * tcp.Second
		w.a.bottom.Look(true)
		w.b.bottom.Look(true)
	}
	w.settle()
	var errs []error
	for i, h := range []*crashHost{w.a, w.b} {
		if err := errors.Join(h.audit.Check(w.now), h.audit.Nothing()); err != nil {
			errs = append(errs, fmt.Errorf("host %d at the end: %w", i, err))
		}
		if tx, held := h.drv.InUse(); tx != 0 || held != 0 {
			errs = append(errs, fmt.Errorf("host %d at the end: %d buffers in use, %d pieces held", i, tx, held))
		}
		if h.nic != nil {
			if n := h.nic.Counters(); n.Short+n.NotIP+n.BadGSO+n.BadHeader+n.RxErrors+n.TxErrors > 0 {
				errs = append(errs, fmt.Errorf("host %d counts %+v", i, *n))
			}
		}
		if n := h.ring.Counters(); n.BadRelease+n.BadSlot+n.BadIndex+n.BadPiece > 0 {
			errs = append(errs, fmt.Errorf("host %d counts %+v", i, *n))
		}
	}
	return errors.Join(errs...)
}
