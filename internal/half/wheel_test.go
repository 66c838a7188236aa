package half

import (
	"testing"

	"pgregory.net/rapid"

	"usertcp/internal/tcp"
)

const tick = tcp.Time(1) << tickShift

// wheelModel is the wheel beside the time at which each timer is due.
type wheelModel struct {
	w   wheel
	as  []aux
	at  map[uint32]tcp.Time
	now tcp.Time
}

func newWheelModel(n int, now tcp.Time) *wheelModel {
	m := &wheelModel{as: make([]aux, n), at: map[uint32]tcp.Time{}, now: now}
	for i := range m.as {
		m.as[i].timerSlot = none
	}
	m.w.elapsed = uint64(now) >> tickShift
	return m
}

// distance draws how far away a timer is: of the order of every level alike, and
// beyond the last.
func distance(t *rapid.T) tcp.Time {
	level := rapid.IntRange(0, wheelLevels).Draw(t, "level")
	return tcp.Time(rapid.Int64Range(0, int64(tick)<<(wheelBits*level)).Draw(t, "in"))
}

func (m *wheelModel) arm(t *rapid.T) {
	i := uint32(rapid.IntRange(0, len(m.as)-1).Draw(t, "timer"))
	at := m.now + distance(t)
	m.w.arm(m.as, i, at)
	if old, ok := m.at[i]; !ok || at < old {
		m.at[i] = at
	}
}

func (m *wheelModel) remove(t *rapid.T) {
	i := uint32(rapid.IntRange(0, len(m.as)-1).Draw(t, "timer"))
	m.w.remove(m.as, i)
	delete(m.at, i)
}

// pass lets time pass: at most a turn of the top level at once.
func (m *wheelModel) pass(t *rapid.T) {
	m.now += distance(t)
	m.take(t)
}

// toDeadline lets time pass until the wheel asks to be looked at.
func (m *wheelModel) toDeadline(t *rapid.T) {
	if at := m.w.deadline(); at != tcp.Never {
		m.now = max(m.now, at)
		m.take(t)
	}
}

// take takes out what is due: what was not due yet, or is not in the wheel, is
// wrong, and so is what stays though it has been due for more than a tick.
func (m *wheelModel) take(t *rapid.T) {
	for {
		i := m.w.due(m.as, m.now)
		if i == none {
			break
		}
		at, ok := m.at[i]
		if !ok || at > m.now {
			t.Fatalf("timer %d comes at %d, due at %d (in the wheel: %v)", i, m.now, at, ok)
		}
		delete(m.at, i)
	}
	for i, at := range m.at {
		if at+tick < m.now {
			t.Fatalf("timer %d, due at %d, has not come at %d: %d ticks late", i, at, m.now, (m.now-at)/tick)
		}
	}
}

// check holds that who sleeps until the deadline sleeps too long for nobody.
func (m *wheelModel) check(t *rapid.T) {
	d := m.w.deadline()
	for i, at := range m.at {
		if max(at, m.now)+2*tick < d {
			t.Fatalf("timer %d is due at %d, the wheel's deadline is %d (now %d)", i, at, d, m.now)
		}
	}
	if len(m.at) == 0 && d != tcp.Never {
		t.Fatalf("an empty wheel has the deadline %d", d)
	}
	linked := 0
	for s, h := range m.w.heads {
		for at := h; at != 0; at = m.as[at-1].timerNext {
			if m.as[at-1].timerSlot != uint32(s) {
				t.Fatalf("timer %d is in slot %d, says %d", at-1, s, m.as[at-1].timerSlot)
			}
			linked++
		}
		if occupied := m.w.occupied[s/wheelWidth]>>(s%wheelWidth)&1 != 0; occupied != (h != 0) {
			t.Fatalf("slot %d: occupied %v, head %d", s, occupied, h)
		}
	}
	if linked != len(m.at) {
		t.Fatalf("%d timers in the wheel, want %d", linked, len(m.at))
	}
}

func TestWheelAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.SampledFrom([]tcp.Time{
			0, 1, tick - 1, 1 << 40,
			wheelSpan*tick - 5*tick,      // the top level goes round
			7*wheelSpan*tick + 3*tick/2,  // … has gone round
			wheelSpan*tick - wheelSpan/2, // in the middle of a tick
		}).Draw(t, "start")
		m := newWheelModel(rapid.IntRange(1, 20).Draw(t, "timers"), start)
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "arm": m.arm, "arm more": m.arm, "remove": m.remove, "pass": m.pass, "deadline": m.toDeadline,
		})
		for n := 0; len(m.at) > 0; n++ {
			if n > 1000 {
				t.Fatalf("%d timers never come", len(m.at))
			}
			m.toDeadline(t)
		}
	})
}

// Who only ever looks when the wheel's deadline has come takes every timer, of
// each level, no more than a tick late, and looks a few times for each.
func TestWheelEachLevel(t *testing.T) {
	for level := range wheelLevels + 1 {
		for _, start := range []tcp.Time{0, 12345678, wheelSpan*tick - tick} {
			m := newWheelModel(1, start)
			at := start + tick<<(wheelBits*level) + 3
			m.w.arm(m.as, 0, at)
			looks := 0
			for ; m.w.due(m.as, m.now) == none; looks++ {
				if looks > 10*wheelLevels {
					t.Fatalf("level %d from %d: not due at %d, want %d", level, start, m.now, at)
				}
				m.now = max(m.now, m.w.deadline())
			}
			if m.now < at || m.now > at+tick {
				t.Errorf("level %d from %d: due at %d, came at %d", level, start, at, m.now)
			}
		}
	}
}

// A wheel that nobody has looked at for very long (a host that has been up for
// months when the segment is made) catches up.
func TestWheelCatchesUp(t *testing.T) {
	m := newWheelModel(1, 0)
	m.now = 400 * 24 * 3600 * 1_000_000_000
	m.w.arm(m.as, 0, m.now+1000*tick)
	if i := m.w.due(m.as, m.now); i != none {
		t.Errorf("due before its time")
	}
	m.now += 1001 * tick
	if i := m.w.due(m.as, m.now); i != 0 {
		t.Errorf("not due")
	}
}

// Arming what is armed can only bring it forward.
func TestArmLaterLeavesIt(t *testing.T) {
	m := newWheelModel(1, 0)
	m.w.arm(m.as, 0, 10*tick)
	m.w.arm(m.as, 0, 100*tick)
	if d := m.w.deadline(); d > 11*tick {
		t.Errorf("deadline %d", d)
	}
	m.w.arm(m.as, 0, 2*tick)
	if i := m.w.due(m.as, 3*tick); i != 0 {
		t.Error("not brought forward")
	}
}

// Timers that share a slot of a higher level: when its time comes all of them
// move down. Once only the first did, and the others came when no level below had
// anything left, or a whole turn later.
func TestTimersThatShareASlot(t *testing.T) {
	m := newWheelModel(3, 0)
	for i, at := range []tcp.Time{70, 80, 100} {
		m.w.arm(m.as, uint32(i), at*tick)
	}
	for i, at := range []tcp.Time{70, 80, 100} {
		if got := m.w.due(m.as, at*tick-1); got != none {
			t.Errorf("timer %d is due before tick %d", got, at)
		}
		if got := m.w.due(m.as, at*tick); got != uint32(i) {
			t.Errorf("at tick %d timer %d is due, want %d", at, int32(got), i)
		}
	}
}
