package server

import (
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/netns"
	"usertcp/internal/nic"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// waitedFor is a connection over devices that has been in TIME-WAIT for that long, with
// timestamps.
func waitedFor(t *testing.T, local, remote string, ago tcp.Time) []byte {
	t.Helper()
	b := remnant(t, local, remote, tcp.TimeWaitLength-ago)
	b[73] = 1
	return b
}

// book is what is in TIME-WAIT.
func book(t *testing.T) *timeWaits {
	t.Helper()
	w, err := openTimeWaits(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close(false) })
	return w
}

func (w *timeWaits) put(t *testing.T, b []byte, uid int) (f wire.Flow) {
	t.Helper()
	r, ok := tcp.ParseRemnant(b)
	if n := w.add([]tcp.Remnant{r}, func(wire.Flow) int { return uid }); n != 1 || !ok {
		t.Fatal("not taken")
	}
	return r.Flow
}

// Who may use the port of a connection in TIME-WAIT again, and when: by devices the same
// user, if there are timestamps, after a moment; on the ring anybody, when nothing can be on
// its way.
func TestWhoMayUseAPortInTimeWaitAgain(t *testing.T) {
	const user, other = 1000, 1001
	w := book(t)
	const remote = "10.1.0.9:80"
	old := w.put(t, waitedFor(t, "10.1.0.1:1", remote, 10*tcp.Second), user)
	recent := w.put(t, waitedFor(t, "10.1.0.1:2", remote, reuseAfter/2), user)
	before := w.put(t, waitedFor(t, "10.1.0.1:3", remote, 10*tcp.Second), nobody)
	plain := w.put(t, remnant(t, "10.1.0.1:4", remote, 10*tcp.Second), user)
	over := w.put(t, waitedFor(t, "10.1.0.1:5", remote, tcp.TimeWaitLength), user)
	justNow := w.put(t, waitedFor(t, "10.1.0.1:6", remote, lendAfter/4), nobody)
	none := old
	none.Local.Port = 7
	for _, row := range []struct {
		name              string
		f                 wire.Flow
		uid               int
		byDevice, follows bool
		want              bool
	}{
		{"the same user", old, user, true, true, true},
		{"another user", old, other, true, true, false},
		{"a child that knows nothing of it", old, user, true, false, false},
		{"at once", recent, user, true, true, false},
		{"nobody knows whose it was", before, user, true, true, false},
		{"nobody knows whose it was, nor who asks", before, nobody, true, true, false},
		{"without timestamps", plain, user, true, true, false},
		{"when it is over", over, user, true, true, false},
		{"no connection", none, user, true, true, false},
		{"on the ring", before, other, false, false, true},
		{"on the ring, without timestamps", plain, other, false, false, true},
		{"on the ring, at once", justNow, user, false, true, false},
	} {
		if d := w.waited(row.f, row.uid, row.byDevice, row.follows); (d > 0) != row.want || d > tcp.TimeWaitLength {
			t.Errorf("%s: has waited for %v", row.name, d)
		}
	}
}

// Of the ports in TIME-WAIT to an end one is used again that has been so for a second, any of
// them; if there is none the one that has been so longest. It is nobody else's then, and
// ports that are bound, leased, in use or were tried are left alone.
func TestWhichPortIsUsedAgain(t *testing.T) {
	const first = 40064
	p := hostPorts()
	p.ports = func() (uint16, uint16) { return first, first + 9 }
	remote := ep("10.1.0.9:80")
	at := func(n uint16) wire.Endpoint { return wire.Endpoint{Addr: wire.AddrFrom(addr1), Port: first + n} }
	ages := map[uint16]tcp.Time{0: 9 * tcp.Second, 1: 9 * tcp.Second, 2: 9 * tcp.Second, 3: 9 * tcp.Second, 5: 200, 6: 300, 8: 2 * tcp.Second, 9: 3 * tcp.Second}
	waited := func(f wire.Flow) tcp.Time {
		if f.Remote != remote || f.Local.Addr != wire.AddrFrom(addr1) {
			t.Errorf("asked for %v", f)
		}
		return ages[f.Local.Port-first]
	}
	if _, errno := p.bind(socketID{childB, 1}, at(0), false); errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := p.open(socketID{childB, 2}, at(1), remote); errno != 0 {
		t.Fatal(errno)
	}
	p.takeBlock(childB, deviceBlock(first+2), deviceLease{childB, 1 << ((first + 2) % nic.LeasePorts), -1})
	tried := []uint16{first + 3}
	var got []uint16
	for n := range uint32(4) {
		local, errno := p.openAgain(socketID{childA, n}, wire.Endpoint{}, remote, waited, tried)
		if errno != 0 || local.Addr != wire.AddrFrom(addr1) {
			t.Fatal(local, errno)
		}
		got = append(got, local.Port-first)
		if !p.owns(childA, wire.Flow{Local: local, Remote: remote}) {
			t.Errorf("%v is not the child's", local)
		}
	}
	slices.Sort(got[:2])
	if want := []uint16{8, 9, 6, 5}; !slices.Equal(got, want) {
		t.Errorf("ports %v, want %v", got, want)
	}
	if local, errno := p.openAgain(socketID{childA, 9}, wire.Endpoint{}, remote, waited, tried); errno != unix.EADDRNOTAVAIL {
		t.Errorf("port %v, %v when there is none", local, errno)
	}
	if _, errno := p.bind(socketID{childB, 3}, at(8), false); errno != unix.EADDRINUSE {
		t.Errorf("its port is bound by another one: %v", errno)
	}
}

// deviceServer is a server for lo in a namespace of its own, whose only ephemeral port is
// one.
func deviceServer(t *testing.T, port uint16) *Server {
	t.Helper()
	if err := nic.Check(); err != nil {
		t.Skip(err)
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	var s *Server
	dir := t.TempDir()
	_ = ns.Do(func() error {
		s = startWith(t, func(c *Config) {
			c.NIC = &nic.Config{Devices: []string{"lo"}, Pins: filepath.Join(dir, "pins")}
		}, dir, addr1)
		return nil
	})
	s.ports.mu.Lock()
	defer s.ports.mu.Unlock()
	s.ports.ports = func() (uint16, uint16) { return port, port }
	return s
}

// forward has a child ask for a connection to an end, or give it back. A Time_Wait that comes
// before the answer is returned.
func (a *app) forward(op message.Op, local wire.Endpoint, remote string, n uint32) (came, r message.Message) {
	a.t.Helper()
	a.lastID++
	a.send(message.Message{Type: message.Forward, Op: op, ID: a.lastID, Socket: 3, Local: local, Remote: ep(remote), N: n})
	r = next(a.t, a.replies, "an answer")
	if r.Type == message.TimeWait {
		came, r = r, next(a.t, a.replies, "the answer behind it")
	}
	message.CloseFiles(r.Files)
	if r.Type != message.GeneralReply || r.ID != a.lastID {
		a.t.Fatalf("%+v", r)
	}
	return came, r
}

// What is left of a connection in TIME-WAIT comes before the answer, once, to who can use it;
// it is in the book again if the new connection has not begun, and only then.
func TestAConnectionFollowsOneInTimeWait(t *testing.T) {
	const local, remote = "127.0.0.1:50001", "127.0.0.1:80"
	s := deviceServer(t, ep(local).Port)
	a := spawn(t, s)
	left := waitedFor(t, local, remote, 10*tcp.Second)
	if errno := a.leave(left); errno != 0 {
		t.Fatal(errno)
	}
	at, flow := ep(local), wire.Flow{Local: ep(local), Remote: ep(remote)}
	wantNone := func(what string, n uint32, want unix.Errno) {
		t.Helper()
		if came, r := a.forward(message.OpOpen, wire.Endpoint{}, remote, n); unix.Errno(r.Errno) != want || came.Type != 0 {
			t.Errorf("%s: %v, before it %v", what, unix.Errno(r.Errno), came.Type)
		}
	}
	wantAlong := func() {
		t.Helper()
		came, r := a.forward(message.OpOpen, wire.Endpoint{}, remote, message.ForwardFollows)
		g, ok := message.ForwardGrantOf(r.N)
		if r.Errno != 0 || r.Local != at || !ok || !g.Follows || g.MTU != 65535 {
			t.Fatalf("%v, %v, %+v", unix.Errno(r.Errno), r.Local.Netip(), g)
		}
		if w, ok := tcp.ParseRemnant(came.PDU); !ok || w.Flow != flow || w.End < clock()+40*tcp.Second {
			t.Errorf("along came %+v", w)
		}
		if s.timeWaits.has(flow) || !s.ports.owns(a.vci, flow) {
			t.Error("it is in the book, too, or not the child's")
		}
		wantNone("once more", message.ForwardFollows, unix.EADDRNOTAVAIL)
	}
	wantNone("a child that can't follow", 0, unix.EADDRNOTAVAIL)
	wantNone("what means nothing", 2, unix.EINVAL)
	wantAlong()
	a.forward(message.OpClose, at, remote, message.ForwardUnused)
	if !s.timeWaits.has(flow) || s.ports.owns(a.vci, flow) {
		t.Error("TIME-WAIT does not go on behind a connection that has not begun")
	}
	wantAlong() // it is known whose it is
	a.forward(message.OpClose, at, remote, 0)
	if s.timeWaits.has(flow) {
		t.Error("TIME-WAIT goes on behind a connection that has taken its place")
	}
	if errno := a.leave(left); errno != 0 {
		t.Fatal(errno)
	}
	wantAlong()
	a.kill(s)
	if s.timeWaits.has(flow) || s.ports.owns(a.vci, flow) {
		t.Error("something is left of a child that has ended for good")
	}
}

// What has come along is not the next server's, and what has come back is.
func TestWhatFollowsIsNotInTheNextBook(t *testing.T) {
	dir := t.TempDir()
	w, err := openTimeWaits(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := waitedFor(t, "10.1.0.1:1", "10.1.0.9:80", tcp.Second)
	f := w.put(t, b, 1000)
	for _, want := range []bool{false, true} {
		if r := w.takeFlow(f); r == nil || r.Flow != f || r.End < clock() {
			t.Fatalf("taken: %+v", r)
		}
		if w.takeFlow(f) != nil {
			t.Error("taken twice")
		}
		if want {
			w.put(t, b, 1000)
		}
		w.close(true)
		if w, err = openTimeWaits(dir); err != nil || w.has(f) != want {
			t.Errorf("in the next server's book: %v, %v", w.has(f), err)
		}
		if !want {
			w.put(t, b, 1000)
		}
	}
	w.close(false)
}
