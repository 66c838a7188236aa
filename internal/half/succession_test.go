package half

import (
	"errors"
	"syscall"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Where a port has been leased to another pool since, a SYN from there ends what is left
// of the connection that the former one had, whatever its numbers and timestamps say.
func TestWhoHasThePortNow(t *testing.T) {
	a, b := strictHosts(t, true)
	a.halt()
	b.halt()
	h := &b.bottom.Half
	k := packet{flow: wire.Flow{Local: wire.Endpoint{Addr: b.addr, Port: testPort}, Remote: wire.Endpoint{Addr: a.addr, Port: 40961}}}
	b.bottom.Change(func() {
		i := h.open()
		h.conns[i].Flow = k.flow
		h.setCircuit(i, 0) // of the former pool, which is a's; 1 is of the next one
		for _, v := range []struct {
			name   string
			state  tcp.State
			leased bool
			direct bool
			by     uint16
			flags  wire.Flags
			want   bool
		}{
			{"TIME-WAIT", tcp.TimeWait, true, true, 1, wire.SYN, true},
			{"LAST-ACK", tcp.LastAck, true, true, 1, wire.SYN, true},
			{"CLOSING", tcp.Closing, true, true, 1, wire.SYN, true},
			{"ESTABLISHED, with a peer that is there", tcp.Established, true, true, 1, wire.SYN, false},
			{"CLOSE-WAIT, with a peer that is there", tcp.CloseWait, true, true, 1, wire.SYN, false},
			{"no SYN", tcp.TimeWait, true, true, 1, wire.ACK, false},
			{"SYN-ACK", tcp.TimeWait, true, true, 1, wire.SYN | wire.ACK, false},
			{"a port of nobody's", tcp.TimeWait, false, true, 1, wire.SYN, false},
			{"the same circuit", tcp.TimeWait, true, true, 0, wire.SYN, false},
			{"TIME-WAIT, through the servers", tcp.TimeWait, false, false, 1, wire.SYN, true},
			{"LAST-ACK, through the servers", tcp.LastAck, false, false, 1, wire.SYN, true},
			{"ESTABLISHED, through the servers", tcp.Established, false, false, 1, wire.SYN, false},
			{"no SYN, through the servers", tcp.TimeWait, false, false, 1, wire.ACK, false},
			{"the same pool, through the servers", tcp.TimeWait, false, false, 0, wire.SYN, false},
			{"a pool without circuit", tcp.TimeWait, false, false, pool.NoCircuit, wire.SYN, false},
		} {
			h.onCircuit[1] = circuitPorts{}
			if v.leased {
				h.onCircuit[1] = circuitPorts{n: 1, addrs: [2]wire.Addr{a.addr}, first: [MaxLeases]uint16{40960}}
			}
			h.conns[i].State = v.state
			h.arr.Flags = v.flags
			if got := h.succeeded(i, &k, v.by, v.direct); got != v.want {
				t.Errorf("%s: %v", v.name, got)
			}
		}
		h.onCircuit[1].n, h.onCircuit[1].addrs[0], h.onCircuit[1].first[0] = 1, a.addr, 40960
		b.drv.Close(a.vci)
		h.conns[i].State, h.arr.Flags = tcp.Established, wire.SYN
		if !h.succeeded(i, &k, 1, true) {
			t.Error("a connection whose peer has gone stands in the way")
		}
		h.conns[i].State = tcp.Closed
		h.freeConn(i)
	})
}

// A program and its child are gone without a word, and their port is another program's:
// who waits for the former hears ECONNRESET, and the latter's connection comes about.
func TestAPortComesBackBeforeThePeerKnows(t *testing.T) {
	a, b := strictHosts(t, true)
	a.halt()
	b.halt()
	l := b.listen(testPort)
	remote := wire.Endpoint{Addr: b.addr, Port: testPort}
	open := func() (ca, cb *Socket) {
		ca = a.open(t)
		if !ca.Dial(wire.Addr{}, remote) {
			t.Fatal("no way")
		}
		cb, err := l.Accept()
		check(t, err)
		check(t, ca.Connected())
		return ca, cb
	}
	ca, cb := open()
	flow := ca.Flow()
	b.top.Change(func() { b.top.setCircuit(cb.i, 1) }) // as if it had been another pool's
	a.bottom.Change(func() {                           // which knows nothing of it
		a.bottom.fail(a.bottom.lookup(&flow), tcp.ErrReset)
		a.bottom.settle()
		a.bottom.ports.onRing.at = 0
	})
	check(t, ca.Close())
	read := make(chan error)
	go func() {
		_, err := cb.Read(make([]byte, 1))
		read <- err
	}()
	again, accepted := open()
	if f := again.Flow(); f != flow {
		t.Fatalf("%v has not the four numbers of %v", f, flow)
	}
	if err := <-read; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the former connection: %v", err)
	}
	check(t, cb.Close())
	_, err := again.Write([]byte("x"))
	check(t, err)
	wantRead(t, accepted, []byte("x"))
}

// A block that the peer does not know of yet is no reason to lease more of them.
func TestShortOfPortsThatThePeerKnows(t *testing.T) {
	a, _ := strictHosts(t, true)
	h := &a.bottom.Half
	l := &h.ports.onRing
	try := func(known uint64, want uint16, short uint32) {
		t.Helper()
		if port, _ := h.freePort(&h.ports.routes[0], l, LeasePorts, known); port != want || l.short != short {
			t.Errorf("port %d, %d times none; want %d, %d", port, l.short, want, short)
		}
		if want != 0 {
			occupy(h, &h.ports.routes[0], want)
		}
	}
	a.bottom.Change(func() {
		for n := range uint16(LeasePorts) {
			try(1, 40960+n, 0)
		}
		try(1, 0, 1)
		_, err := l.add(41216, ^uint64(0))
		check(t, err)
		try(1, 0, 1)
		try(3, 41216, 1)
	})
}

// When a program has ended its connections in TIME-WAIT can be left to somebody else
// after a while, and the blocks go back in which nothing is left, whatever else there is.
func TestWhatAnEndedProgramLeavesVacant(t *testing.T) {
	a, b := strictHosts(t, true)
	a.halt()
	b.halt()
	h := &a.bottom.Half
	for _, first := range []uint16{41216, 41472} {
		_, err := a.bottom.Lease(first)
		check(t, err)
	}
	mine, _ := a.bottom.Leases()
	b.bottom.PeerLeases(0, [2]wire.Addr{a.addr}, mine)
	l := b.listen(testPort)
	defer l.Close()
	var waits, lives wire.Flow
	for n := range 2 {
		h.ports.onRing.at = uint32(n) * LeasePorts
		a.bottom.LeasesKnown(0, 3)
		ca := a.open(t)
		if !ca.Dial(wire.Addr{}, wire.Endpoint{Addr: b.addr, Port: testPort}) {
			t.Fatal("no way")
		}
		cb, err := l.Accept()
		check(t, err)
		check(t, ca.Connected())
		if n == 1 {
			lives = ca.Flow()
			break
		}
		waits = ca.Flow()
		check(t, ca.CloseWrite())
		wantEOF(t, cb)
		check(t, cb.Close())
		wantEOF(t, ca)
	}
	if rs := a.bottom.LingeringRemnants(); len(rs) != 0 {
		t.Errorf("a program that lives has left %v", rs)
	}
	a.bottom.ForgetVacantLeases()
	if first, _ := a.bottom.Leases(); len(first) != 3 {
		t.Errorf("a program that lives has %v", first)
	}
	a.bottom.Change(func() {
		a.bottom.ended = true
		h.aux[h.lookup(&waits)].use, h.aux[h.lookup(&lives)].use = useOrphan, useOrphan
	})
	if all, some := a.bottom.Remnants(), a.bottom.LingeringRemnants(); len(all)+len(some) != 0 {
		t.Errorf("%v and %v at once", all, some)
	}
	wantWithin(t, "TIME-WAIT to have lasted", func() bool { return len(a.bottom.LingeringRemnants()) == 1 })
	if rs := a.bottom.LingeringRemnants(); rs[0].Flow != waits {
		t.Errorf("%v, want %v", rs[0].Flow, waits)
	}
	for n, want := range [][]uint16{{40960, 41216}, {41216}} {
		a.bottom.ForgetVacantLeases()
		if first, _ := a.bottom.Leases(); len(first) != len(want) || first[0] != want[0] {
			t.Errorf("blocks %v, want %v", first, want)
		}
		if n == 0 {
			a.bottom.Retire(waits)
			wantWithin(t, "its slot to be free", func() bool { return a.bottom.lookup(&waits) == none })
		}
	}
}
