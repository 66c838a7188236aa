package server

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

const moveLocal, movePeer = "10.1.0.1:80", "10.1.0.9:5000"

// What a child claims of another's is its own from then on, found again when it is
// claimed twice, and not to be had by a third.
func TestClaimedPorts(t *testing.T) {
	p := hostPorts()
	was, is := socketID{childA, 1}, socketID{childB, 7}
	if _, errno := p.bind(was, ep(moveLocal), true); errno != 0 || p.listen(was) != 0 {
		t.Fatal("it can't listen")
	}
	for n := range 2 {
		if g, errno := p.claimBind(was, is); errno != 0 || g.came != cameBound|cameReuse || g.local != ep(moveLocal) {
			t.Fatalf("claim %d: %+v, %v", n, g, errno)
		}
	}
	if id, ok := p.listener(wire.Flow{Local: ep(moveLocal)}); !ok || id != is {
		t.Errorf("SYNs go to %+v", id)
	}
	if errno := p.unbind(was); errno != unix.EINVAL {
		t.Errorf("the old one gives it back: %v", errno)
	}
	flow := wire.Flow{Local: ep(moveLocal), Remote: ep(movePeer)}
	in, there := socketID{childA, 2}, socketID{childB, 8}
	for n := range 2 { // it came in by the listener: nothing is known of it
		g, errno := p.claimFlow(in, there, flow, childA)
		if errno != 0 || g.came != cameIn || g.local != flow.Local {
			t.Fatalf("claim %d: %+v, %v", n, g, errno)
		}
	}
	if vci, ok := p.owner(flow); !ok || vci != childB {
		t.Errorf("its packets go to %v", vci)
	}
	if _, errno := p.claimFlow(in, socketID{3, 1}, flow, childA); errno != unix.EADDRNOTAVAIL {
		t.Errorf("a third claims it: %v", errno)
	}
	if errno := p.close(childA, flow); errno != unix.EINVAL {
		t.Errorf("the old one closes it: %v", errno)
	}
	if err := p.check(); err != nil {
		t.Error(err)
	}
	if p.close(childB, flow) != 0 || p.unbind(is) != 0 {
		t.Error("the new one can't give them back")
	}
	// Of one that was opened on a port of its own, that comes along.
	if _, errno := p.bind(in, ep(moveLocal), false); errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := p.open(in, ep(moveLocal), ep(movePeer)); errno != 0 {
		t.Fatal(errno)
	}
	if g, errno := p.claimFlow(in, there, flow, childA); errno != 0 || g.came != cameBound || p.close(childB, flow) != 0 || p.unbind(there) != 0 {
		t.Errorf("%+v, %v", g, errno)
	}
	if len(p.flows)+len(p.bindings) != 0 {
		t.Error("something is left")
	}
}

// The lender of a port hears when a connection from it has ended that is another's, also if
// the last child to have it has claimed it before the one between.
func TestLenderHearsOfTheEnd(t *testing.T) {
	const last = 3
	for _, from := range []wire.VCI{childA, childB} {
		p := hostPorts()
		first, errno := p.lease(childA)
		if errno != 0 {
			t.Fatal(errno)
		}
		var told []wire.VCI
		p.over = func(v wire.VCI, _ wire.Flow) { told = append(told, v) }
		flow := wire.Flow{Local: wire.Endpoint{Addr: ep(moveLocal).Addr, Port: first + 3}, Remote: ep(movePeer)}
		if _, errno := p.claimFlow(socketID{from, 1}, socketID{last, 1}, flow, from); errno != 0 {
			t.Fatal(errno)
		}
		if vci, _ := p.owner(flow); vci != last {
			t.Errorf("its packets go to %v", vci)
		}
		if p.close(last, flow) != 0 || len(told) != 1 || told[0] != childA {
			t.Errorf("from child %v: told are %v", from, told)
		}
		if vci, _ := p.owner(flow); vci != childA {
			t.Errorf("its packets go to %v afterwards", vci)
		}
	}
}

// A connection of which nobody has told the server a child claims, or says to have let in,
// only where its user has the port, or nobody. What a child says of one is what its
// application has written: any program could have another user's connections otherwise.
func TestClaimsAtOthersPorts(t *testing.T) {
	const theirs, mine = 2, 3 // children: theirs is another user's than childA and mine
	var port uint16           // of the connection
	listens := func(child wire.VCI, at string) func(*portSpace) {
		return func(p *portSpace) {
			if _, errno := p.bind(socketID{child, 9}, ep(at), true); errno != 0 || p.listen(socketID{child, 9}) != 0 {
				t.Fatal("it can't listen")
			}
		}
	}
	binds := func(child wire.VCI) func(*portSpace) {
		return func(p *portSpace) {
			if _, errno := p.bind(socketID{child, 8}, ep(moveLocal), true); errno != 0 {
				t.Fatal(errno)
			}
		}
	}
	lease := func(child wire.VCI) func(*portSpace) {
		return func(p *portSpace) {
			first, errno := p.lease(child)
			if errno != 0 {
				t.Fatal(errno)
			}
			port = first + 1
		}
	}
	for _, c := range []struct {
		what   string
		before []func(*portSpace)
		may    bool
	}{
		{"nobody's port", nil, true},
		{"its own listener", []func(*portSpace){listens(childA, moveLocal)}, true},
		{"a listener of its user's", []func(*portSpace){listens(mine, "0.0.0.0:80")}, true},
		{"another user's listener", []func(*portSpace){listens(theirs, moveLocal)}, false},
		{"another user's listener at all addresses", []func(*portSpace){listens(theirs, "[::]:80")}, false},
		{"another user's listener at another address", []func(*portSpace){listens(theirs, "10.1.0.2:80")}, true},
		{"another user's listener where it has bound too", []func(*portSpace){binds(childA), listens(theirs, moveLocal)}, false},
		{"a port that another user has bound", []func(*portSpace){binds(theirs)}, false},
		{"a port that both have bound", []func(*portSpace){binds(theirs), binds(mine)}, true},
		{"its own lease", []func(*portSpace){lease(childA)}, true},
		{"a lease of its user's", []func(*portSpace){lease(mine)}, true},
		{"another user's lease", []func(*portSpace){lease(theirs)}, false},
	} {
		p := hostPorts()
		p.addrs = append(p.addrs, ep("10.1.0.2:80").Addr)
		p.enrol(childA, 1000)
		p.enrol(mine, 1000)
		p.enrol(theirs, 1001)
		port = ep(moveLocal).Port
		for _, do := range c.before {
			do(p)
		}
		t.Run(c.what, func(t *testing.T) {
			claimUnheardOf(t, p, mine, wire.Flow{Local: wire.Endpoint{Addr: ep(moveLocal).Addr, Port: port}, Remote: ep(movePeer)}, c.may)
		})
	}
}

// claimUnheardOf has childA claim a connection of which the server has not heard, and say that
// it has let it in: it may, or not, unless the server before knew of it.
func claimUnheardOf(t *testing.T, p *portSpace, from wire.VCI, flow wire.Flow, may bool) {
	in := socketID{childA, message.NoSocket}
	_, claimed := p.claimFlow(socketID{from, 5}, socketID{childA, 6}, flow, from)
	p.close(childA, flow)
	letIn := p.accepted(in, flow.Local, flow.Remote, false)
	p.close(childA, flow)
	known := p.accepted(in, flow.Local, flow.Remote, true)
	if may && claimed|letIn != 0 || !may && (claimed != unix.EADDRNOTAVAIL || letIn != unix.EADDRINUSE) || known != 0 {
		t.Errorf("claimed: %v, let in: %v, known to the server before: %v", claimed, letIn, known)
	}
	if err := p.check(); err != nil {
		t.Error(err)
	}
}

// The server knows whose a child is that it starts, or takes over.
func TestClaimsAtOthersPortsByMessage(t *testing.T) {
	const other = 65534
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil { // the other user comes by it
			t.Fatal(err)
		}
	}
	s := start(t, dir, addr1)
	a, b := spawn(t, s), spawn(t, s)
	var victim *app
	as(t, other, func() { victim = spawn(t, s) })
	flow := wire.Flow{Local: victim.listen(4, "10.1.0.1:0"), Remote: ep("10.1.0.1:5000")}
	claim := func(by, from *app) unix.Errno {
		_, errno := by.call(message.Message{Type: message.Move, Op: message.OpOpen, Socket: 3, VCI: from.vci, N: 9, Local: flow.Local, Remote: flow.Remote})
		return errno
	}
	if errno := claim(b, a); errno != unix.EADDRNOTAVAIL {
		t.Errorf("what came in by another user's listener is claimed: %v", errno)
	}
	taken := newChild(s, wire.NewVCI(7, 300), application{})
	t.Cleanup(taken.dropAll)
	keep := message.Message{Type: message.Keep, N: message.KeepUser, VCI: taken.vci}
	as(t, other, func() {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		keep.Files = fds[:]
	})
	taken.adoptItem(&keep)
	s.ports.mu.Lock()
	defer s.ports.mu.Unlock()
	if !s.ports.sameUser(taken.vci, victim.vci) || s.ports.sameUser(taken.vci, a.vci) {
		t.Errorf("a child that is taken over is user %d's, want %d's", s.ports.use(taken.vci).uid, other)
	}
}

// as does something as another user.
func as(t *testing.T, uid int, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for programs of two users")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	become := func(uid int) { // of this thread alone
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			panic(errno)
		}
	}
	become(uid)
	defer become(0)
	do()
}

// Random claims among others leave the tables consistent.
func TestRandomClaims(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	p := hostPorts()
	for range 5000 {
		id := func() socketID { return socketID{wire.VCI(1 + r.IntN(3)), uint32(r.IntN(4))} }
		was, is := id(), id()
		flow := wire.Flow{Local: ep(moveLocal), Remote: wire.Endpoint{Addr: ep(movePeer).Addr, Port: uint16(1 + r.IntN(4))}}
		switch r.IntN(8) {
		case 0:
			p.bind(was, ep(moveLocal), true)
		case 1:
			p.listen(was)
		case 2:
			p.unbind(was)
		case 3:
			p.open(was, flow.Local, flow.Remote)
		case 4:
			p.close(was.child, flow)
		case 5:
			p.claimBind(was, is)
		case 6:
			p.claimFlow(was, is, flow, was.child)
		case 7:
			if r.IntN(20) == 0 {
				p.release(was.child)
			}
		}
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
	}
}

// A child claims what another one of the same user has, and nobody else's.
func TestClaims(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, b := spawn(t, s), spawn(t, s)
	local := a.listen(4, "10.1.0.1:0")
	_, errno := b.call(message.Message{Type: message.Move, Op: message.OpListen, VCI: a.vci, N: 4, Socket: 9, Local: local})
	if errno != 0 {
		t.Fatalf("claim: %v", errno)
	}
	for _, c := range []struct {
		what string
		m    message.Message
		want unix.Errno
	}{
		{"a child that is not there", message.Message{VCI: a.vci + 9, N: 4}, unix.ENOENT},
		{"its own", message.Message{VCI: b.vci, N: 9}, unix.ENOENT},
		{"a socket that is not there", message.Message{VCI: a.vci, N: 4}, unix.EINVAL},
	} {
		c.m.Type, c.m.Op, c.m.Socket = message.Move, message.OpListen, 10
		if _, errno := b.call(c.m); errno != c.want {
			t.Errorf("%s: %v, want %v", c.what, errno, c.want)
		}
	}
	s.child(a.vci).mu.Lock()
	s.child(a.vci).app.uid++
	s.child(a.vci).mu.Unlock()
	if _, errno := b.call(message.Message{Type: message.Move, Op: message.OpListen, VCI: a.vci, N: 4, Socket: 11}); errno != unix.EPERM {
		t.Errorf("another user's: %v", errno)
	}
}

// A child is told where a connection is that it has had, and nobody of another's.
func TestWhereAConnectionIs(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, b := spawn(t, s), spawn(t, s)
	flow := wire.Flow{Local: ep("10.1.0.1:5000"), Remote: ep("10.1.0.1:80")}
	ask := func(of *app) unix.Errno {
		_, errno := of.call(message.Message{Type: message.Move, Op: message.OpOpen, Socket: message.NoSocket, VCI: of.vci, Local: flow.Local, Remote: flow.Remote})
		return errno
	}
	if errno := ask(a); errno != unix.ENOENT {
		t.Errorf("of one that nobody has: %v", errno)
	}
	if _, errno := a.call(message.Message{Type: message.Move, Op: message.OpOpen, Socket: 3, VCI: b.vci, N: 9, Local: flow.Local, Remote: flow.Remote}); errno != 0 {
		t.Fatal(errno)
	}
	if errno := ask(a); errno != unix.ENOENT {
		t.Errorf("of its own: %v", errno)
	}
	if at, errno := s.child(b.vci).whereIs(flow); at != a.vci || errno != 0 {
		t.Errorf("it is at %v, %v", at, errno)
	}
	if errno := ask(b); errno != 0 {
		t.Errorf("of another's of the same user: %v", errno)
	}
	s.child(a.vci).mu.Lock()
	s.child(a.vci).app.uid++
	s.child(a.vci).mu.Unlock()
	if errno := ask(b); errno != unix.ENOENT {
		t.Errorf("of another user's: %v", errno)
	}
	s.child(a.vci).mu.Lock()
	s.child(a.vci).app.uid--
	s.child(a.vci).mu.Unlock()
	a.kill(s)
	if errno := ask(b); errno != unix.ENOENT {
		t.Errorf("of one whose child has gone: %v", errno)
	}
}

// Children claim in any order a connection that goes from one to the next, and the last
// one has it; and a connection with the numbers of one that is over, of which its child has
// not told yet. Of another user's child nobody has anything.
func TestClaimsOfWhatHasGoneOn(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, b, c, d := spawn(t, s), spawn(t, s), spawn(t, s), spawn(t, s)
	flow := wire.Flow{Local: ep("10.1.0.1:5000"), Remote: ep("10.1.0.1:80")}
	claim := func(by, from *app) unix.Errno {
		_, errno := by.call(message.Message{Type: message.Move, Op: message.OpOpen, Socket: 3, VCI: from.vci, N: 9, Local: flow.Local, Remote: flow.Remote})
		return errno
	}
	has := func(want *app) {
		t.Helper()
		if vci, ok := s.ports.holder(flow); !ok || vci != want.vci {
			t.Errorf("child %v has it, %v; want %v", vci, ok, want.vci)
		}
		s.ports.mu.Lock()
		defer s.ports.mu.Unlock()
		if err := s.ports.check(); err != nil {
			t.Error(err)
		}
	}
	if errno := claim(b, a); errno != 0 { // it came in by a listener of a's
		t.Fatal(errno)
	}
	has(b)
	if errno := claim(d, c); errno != 0 { // which has it from b, and has not said so
		t.Fatalf("of one that is on its way: %v", errno)
	}
	has(d)
	if errno := claim(c, b); errno != unix.EADDRNOTAVAIL {
		t.Errorf("the one between claims it late: %v", errno)
	}
	has(d)
	if errno := claim(b, a); errno != 0 { // another one with these numbers, of which d's is over
		t.Errorf("of one that comes again: %v", errno)
	}
	has(b)
	s.child(b.vci).mu.Lock()
	s.child(b.vci).app.uid++
	s.child(b.vci).mu.Unlock()
	if errno := claim(d, c); errno != unix.EADDRNOTAVAIL {
		t.Errorf("another user's: %v", errno)
	}
	has(b)
}
