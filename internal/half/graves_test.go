package half

import (
	"testing"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// buried makes a connection between a and b, and has a's end go to another pool. What a's
// child says of it the test hears.
func buried(t *testing.T) (a, b *host, told *teller, flow wire.Flow) {
	t.Helper()
	a, b = newHosts(t, SpinOff)
	n := another(t, b)
	told = &teller{host: a}
	a.bottom.out = told
	a.run()
	b.run()
	ca, _ := connect(t, a, b)
	moved(t, a, n, ca)
	told.wait(t, 1)
	return a, b, told, ca.Flow()
}

// age makes time pass for what a remembers of a connection that has gone elsewhere, but
// for when the server is asked.
func (h *host) age(flow wire.Flow, seconds uint32) {
	h.bottom.Change(func() {
		if i := h.bottom.graveOf(&flow); i != none {
			h.bottom.aux[i].born -= seconds
		}
	})
}

// has reports whether a remembers the connection.
func (h *host) has(flow wire.Flow) (has bool) {
	h.bottom.Change(func() { has = h.bottom.graveOf(&flow) != none })
	return has
}

// wantForgotten waits until a has forgotten the connection, and checks that nothing is
// left of it.
func (h *host) wantForgotten(t *testing.T, flow wire.Flow) {
	t.Helper()
	for end := time.Now().Add(patience); h.has(flow); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is never forgotten")
		}
	}
	h.audited(t)
	h.bottom.Change(func() {
		if n := h.bottom.ctl.limits.orphans; n != 0 {
			t.Errorf("%d orphans are counted", n)
		}
	})
}

// wantKept has a few ticks go by, after which the connection is remembered still.
func (h *host) wantKept(t *testing.T, flow wire.Flow, why string) {
	t.Helper()
	for range 3 {
		h.bottom.Look(true)
	}
	if !h.has(flow) {
		t.Fatal("it is forgotten although " + why)
	}
	h.audited(t)
}

var everywhere = func(uint16) bool { return true }

// A connection that has gone is remembered until both have heard of it, and what was sent
// before has had time to come.
func TestAGraveStaysUntilAllHaveHeard(t *testing.T) {
	for _, first := range []string{"the server", "the peer"} {
		t.Run(first, func(t *testing.T) {
			a, _, told, flow := buried(t)
			to := told.last().To
			server := func() { a.bottom.ServerKnows(flow) }
			peer := func() {
				if !a.bottom.PeerKnows(flow, to, everywhere) {
					t.Error("the peer is not believed")
				}
			}
			if first == "the peer" {
				server, peer = peer, server
			}
			a.age(flow, 1000)
			a.wantKept(t, flow, "nobody has heard")
			server()
			a.age(flow, 1000)
			a.wantKept(t, flow, "only "+first+" has heard")
			peer()
			a.wantKept(t, flow, "something may be on its way")
			a.age(flow, graveTime)
			a.wantForgotten(t, flow)
		})
	}
}

// A connection that goes through the servers, or over devices, is remembered until the
// connection server has heard.
func TestGraveWithoutACircuit(t *testing.T) {
	for _, circuit := range []uint16{pool.NoCircuit, pool.NIC} {
		a, _, _, flow := buried(t)
		a.bottom.Change(func() {
			i := a.bottom.graveOf(&flow)
			a.bottom.setCircuit(i, pool.NoCircuit)
			a.bottom.aux[i].circuit = circuit // this test's driver has no devices
		})
		a.age(flow, 1000)
		a.wantKept(t, flow, "the server has not heard")
		a.bottom.ServerKnows(flow)
		a.bottom.Change(func() { a.bottom.aux[a.bottom.graveOf(&flow)].circuit = pool.NoCircuit })
		a.age(flow, graveTime)
		a.wantForgotten(t, flow)
	}
}

// Nobody can say for another peer that it knows, nor of another pool or connection; it
// is counted.
func TestNobodyConfirmsForAnother(t *testing.T) {
	a, _, told, flow := buried(t)
	to := told.last().To
	turned := wire.Flow{Local: flow.Remote, Remote: flow.Local}
	for what, ok := range map[string]bool{
		"another circuit":    a.bottom.PeerKnows(flow, to, func(c uint16) bool { return c != 0 }),
		"another pool":       a.bottom.PeerKnows(flow, to+1, everywhere),
		"another connection": a.bottom.PeerKnows(turned, to, everywhere),
	} {
		if ok {
			t.Errorf("%s is believed", what)
		}
	}
	if n := a.top.Counters().MovedUnasked; n != 3 {
		t.Errorf("%d are counted", n)
	}
	a.bottom.ServerKnows(flow)
	a.age(flow, 1000)
	a.wantKept(t, flow, "the peer has not heard")
	if !a.bottom.PeerKnows(flow, to, func(c uint16) bool { return c == 0 }) {
		t.Error("the peer is not believed")
	}
	if a.bottom.Change(func() {}); a.bottom.PeerKnows(turned, to, everywhere) {
		t.Error("who is not asked is believed")
	}
}

// The peer's pool is no more: nobody waits for its word.
func TestThePeerOfAGraveIsGone(t *testing.T) {
	a, _, _, flow := buried(t)
	a.bottom.ServerKnows(flow)
	a.bottom.Change(func() { a.bottom.PeerGone(func(c uint16) bool { return c == 1 }) })
	a.age(flow, 1000)
	a.wantKept(t, flow, "the peer that has gone is another")
	a.bottom.Change(func() { a.bottom.PeerGone(func(c uint16) bool { return c == 0 }) })
	a.age(flow, graveTime)
	a.wantForgotten(t, flow)
}

// Late, and now and then, it is asked where the connection is: it has gone on, or nobody
// has it, for so long that it is over.
func TestWhereAGravesConnectionIs(t *testing.T) {
	a, _, told, flow := buried(t)
	soon := func() {
		a.bottom.Change(func() { a.bottom.grave(a.bottom.graveOf(&flow)).ask = 0 })
	}
	a.age(flow, 1000)
	soon()
	d := told.waitLate(t) // another one may come first, for what was on its way when the connection went
	if d.Flow != flow {
		t.Errorf("told of %+v", d)
	}
	next := d.To + 1
	if d, tell := a.bottom.Found(flow, next); !tell || d.Late || d.To != next || d.Circuit != 0 {
		t.Errorf("it is said of it: %+v, %v", d, tell)
	}
	if a.bottom.PeerKnows(flow, next-1, everywhere) || !a.bottom.PeerKnows(flow, next, everywhere) {
		t.Error("the peer need not know where it is now")
	}
	if _, tell := a.bottom.Found(flow, next); tell {
		t.Error("the peer would be told what it knows")
	}
	a.bottom.Missing(flow)
	a.bottom.Missing(flow)
	a.bottom.Change(func() {
		i := a.bottom.graveOf(&flow)
		if a.bottom.aux[i].heard&heardOver != 0 {
			t.Error("it is over at once")
		}
		a.bottom.grave(i).missed -= missTime
	})
	a.bottom.Missing(flow)
	a.age(flow, graveTime)
	a.wantForgotten(t, flow)
	if d, tell := a.bottom.Found(flow, next); tell {
		t.Errorf("something is left: %+v", d)
	}
	a.bottom.Missing(flow)
	a.bottom.Over(flow)
}

// Who has the connection is seen again before it counts as over.
func TestAGravesConnectionIsFoundAgain(t *testing.T) {
	a, _, told, flow := buried(t)
	a.bottom.Missing(flow)
	a.bottom.Found(flow, told.last().To)
	a.bottom.Change(func() {
		if g := a.bottom.grave(a.bottom.graveOf(&flow)); g.missed != 0 {
			t.Error("it is missed still")
		}
	})
}

// Graves that wait count as orphans, and when there are as many as there may be the old
// ones go.
func TestGravesAreBounded(t *testing.T) {
	a, _, _, flow := buried(t)
	a.bottom.Look(true)
	if n := a.bottom.Load().Orphans; n != 1 {
		t.Errorf("%d orphans are counted", n)
	}
	few := Unlimited
	few.Orphans = 1
	a.bottom.Allow(few)
	a.wantKept(t, flow, "it is young")
	a.age(flow, graveTime)
	a.wantForgotten(t, flow)
}

// A child does not stay for the graves of its dead program alone.
func TestGravesOfADeadProgram(t *testing.T) {
	a, _, _, flow := buried(t)
	a.bottom.ProgramEnded(func() bool { return true })
	a.age(flow, graveTime)
	a.wantKept(t, flow, "the peer may send still")
	a.age(flow, graveOfDead)
	a.wantForgotten(t, flow)
}

// The child's successor finds its graves, and says again what its predecessor has said.
func TestGravesOutliveTheChild(t *testing.T) {
	a, _, told, flow := buried(t)
	a.bottom.ServerKnows(flow)
	a.halt()
	a.stop = make(chan struct{})
	a.bottom.Change(func() { a.bottom.graves = nil })
	a.bottom.TakeOver(nil, func() bool { return false })
	told.wait(t, 2)
	a.run()
	a.age(flow, 1000)
	a.wantKept(t, flow, "the peer has not heard")
	a.bottom.PeerKnows(flow, told.last().To, everywhere)
	a.age(flow, graveTime)
	a.wantForgotten(t, flow)
}

// A listener that has gone is forgotten soon: its port is another's already.
func TestGraveOfAListener(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	n := another(t, b)
	l := a.listen(testPort)
	a.run()
	to, err := n.top.Open()
	check(t, err)
	to.ListenFor(l, a.vci)
	flow := l.Flow()
	check(t, Move(a.top, n.top, a.vci, n.vci, []Moving{{l, to}}))
	a.wantKept(t, flow, "something may be on its way")
	a.age(flow, graveTime)
	a.wantForgotten(t, flow)
}

// A port that is leased is remembered with its connection until that is over.
func TestGraveOfALeasedPort(t *testing.T) {
	a, _, told, flow := buried(t)
	if _, err := a.bottom.Lease(flow.Local.Port &^ (LeasePorts - 1)); err != nil {
		t.Fatal(err)
	}
	a.bottom.Change(func() { // as if it had been before
		a.bottom.graves = nil
		a.bottom.grave(a.bottom.graveOf(&flow))
	})
	a.bottom.ServerKnows(flow)
	a.bottom.PeerKnows(flow, told.last().To, everywhere)
	a.age(flow, 1000)
	a.wantKept(t, flow, "its port is leased")
	a.bottom.Over(flow)
	a.age(flow, graveTime)
	a.wantForgotten(t, flow)
}

// A peer says that it sends nothing more when its connection goes by another way, and that
// stays so: what comes late by the former circuit does not take it back.
func TestWhoLeavesDoesNotComeBack(t *testing.T) {
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	ca, cb := connect(t, a, b)
	flow := cb.Flow()
	if b.bottom.Leaves(flow, 0) {
		t.Error("it goes by this circuit")
	}
	if !b.bottom.Leaves(flow, 1) || !b.bottom.Leaves(ca.Flow(), 0) {
		t.Error("it goes by another circuit, or is not there")
	}
	b.bottom.Change(func() { b.bottom.setCircuit(cb.i, pool.NoCircuit) })
	if !b.bottom.Leaves(flow, 0) {
		t.Error("it goes through the servers")
	}
	check2(t)(ca.Write([]byte("late")))
	got := make([]byte, 4)
	check(t, readFull(cb, got))
	b.bottom.Change(func() {
		if c := b.bottom.aux[cb.i].circuit; c != pool.NoCircuit {
			t.Errorf("it goes by circuit %d", c)
		}
		b.bottom.setCircuit(cb.i, 0)
	})
}
