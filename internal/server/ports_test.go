package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

const (
	childA = wire.VCI(1)
	childB = wire.VCI(2)
)

func hostPorts() *portSpace { return newPortSpace([]netip.Addr{addr1, addr2, addr6}) }

// step is one operation on the port space and its errno. The socket is the row's number.
type step struct {
	child wire.VCI
	do    string // bind, reuse (bind with SO_REUSEADDR), listen, unbind, open, close, die
	sock  uint32
	local string
	to    string
	want  unix.Errno
}

func (s step) run(p *portSpace) unix.Errno {
	id := socketID{s.child, s.sock}
	var local, remote wire.Endpoint
	if s.local != "" {
		local = ep(s.local)
	}
	if s.to != "" {
		remote = ep(s.to)
	}
	var errno unix.Errno
	switch s.do {
	case "bind", "reuse":
		_, errno = p.bind(id, local, s.do == "reuse")
	case "listen":
		errno = p.listen(id)
	case "unbind":
		errno = p.unbind(id)
	case "open":
		_, errno = p.open(id, local, remote)
	case "close":
		errno = p.close(s.child, wire.Flow{Local: local, Remote: remote})
	case "die":
		p.release(s.child)
	default:
		panic("BUG: step " + s.do)
	}
	return errno
}

// portCase is a sequence of steps that children ask for.
type portCase struct {
	name  string
	steps []step
}

// Addresses of the cases.
const (
	one, two, all4, all, six = "10.1.0.1:80", "10.1.0.2:80", "0.0.0.0:80", "[::]:80", "[fd00::1]:80"
	peer, peer2              = "10.1.0.9:5000", "10.1.0.9:5001"
)

func TestPortsAreKeptLikeLinuxKeepsThem(t *testing.T) {
	for _, c := range append(bindCases(), flowCases()...) {
		p := hostPorts()
		for i, s := range c.steps {
			if got := s.run(p); got != s.want {
				t.Errorf("%s: step %d, %s %s %s: %v, want %v", c.name, i, s.do, s.local, s.to, got, s.want)
			}
		}
	}
}

// bindCases are about binding and listening.
func bindCases() []portCase {
	return []portCase{
		{"the same address twice is in use", []step{
			{childA, "bind", 1, one, "", 0}, {childB, "bind", 1, one, "", unix.EADDRINUSE},
			{childA, "bind", 2, one, "", unix.EADDRINUSE},
		}},
		{"two addresses do not conflict", []step{{childA, "bind", 1, one, "", 0}, {childB, "bind", 1, two, "", 0}}},
		{"two ports do not conflict", []step{{childA, "bind", 1, one, "", 0}, {childB, "bind", 1, "10.1.0.1:81", "", 0}}},
		{"0.0.0.0 conflicts with each address of IPv4", []step{
			{childA, "bind", 1, all4, "", 0}, {childB, "bind", 1, one, "", unix.EADDRINUSE}, {childB, "bind", 1, six, "", 0},
		}},
		{"an address conflicts with 0.0.0.0", []step{{childA, "bind", 1, two, "", 0}, {childB, "bind", 1, all4, "", unix.EADDRINUSE}}},
		{":: conflicts with all", []step{
			{childA, "bind", 1, all, "", 0}, {childB, "bind", 1, one, "", unix.EADDRINUSE},
			{childB, "bind", 1, six, "", unix.EADDRINUSE}, {childB, "bind", 1, all4, "", unix.EADDRINUSE},
		}},
		{"an address of IPv6 conflicts with ::, not with 0.0.0.0", []step{
			{childA, "bind", 1, six, "", 0}, {childB, "bind", 1, all, "", unix.EADDRINUSE}, {childB, "bind", 1, all4, "", 0},
		}},
		{":: of IPv6 alone conflicts with that family", []step{
			{childA, "bind", 1, "[ff00::]:80", "", 0}, {childB, "bind", 1, six, "", unix.EADDRINUSE}, {childB, "bind", 1, all, "", unix.EADDRINUSE},
			{childB, "bind", 1, one, "", 0}, {childA, "bind", 2, all4, "", unix.EADDRINUSE}, {childB, "unbind", 1, "", "", 0}, {childA, "bind", 2, all4, "", 0},
		}},
		{"an address of IPv6 conflicts with :: of IPv6 alone", []step{
			{childA, "bind", 1, six, "", 0}, {childB, "bind", 1, "[ff00::]:80", "", unix.EADDRINUSE},
		}},
		{"an address that is not the host's", []step{{childA, "bind", 1, "10.1.0.3:80", "", unix.EADDRNOTAVAIL}}},
		{"a socket is bound once", []step{{childA, "bind", 1, one, "", 0}, {childA, "bind", 1, two, "", unix.EINVAL}}},
		{"SO_REUSEADDR on one side is not enough", []step{
			{childA, "bind", 1, one, "", 0}, {childB, "reuse", 1, one, "", unix.EADDRINUSE}, {childA, "die", 0, "", "", 0},
			{childA, "reuse", 1, one, "", 0}, {childB, "bind", 1, one, "", unix.EADDRINUSE},
		}},
		{"SO_REUSEADDR on both sides is, and one may listen", []step{
			{childA, "reuse", 1, one, "", 0}, {childB, "reuse", 1, all4, "", 0}, {childA, "listen", 1, "", "", 0},
			{childB, "listen", 1, "", "", unix.EADDRINUSE},
		}},
		{"SO_REUSEADDR does not help against a listener", []step{
			{childA, "reuse", 1, one, "", 0}, {childA, "listen", 1, "", "", 0}, {childB, "reuse", 1, one, "", unix.EADDRINUSE},
		}},
		{"listening twice is once", []step{{childA, "bind", 1, one, "", 0}, {childA, "listen", 1, "", "", 0}, {childA, "listen", 1, "", "", 0}}},
		{"what is not bound cannot listen or be given back", []step{
			{childA, "listen", 1, "", "", unix.EINVAL}, {childA, "unbind", 1, "", "", unix.EINVAL},
			{childA, "bind", 1, one, "", 0}, {childB, "unbind", 1, "", "", unix.EINVAL}, {childB, "listen", 1, "", "", unix.EINVAL},
		}},
		{"what is given back is free", []step{
			{childA, "bind", 1, one, "", 0}, {childA, "unbind", 1, "", "", 0}, {childB, "bind", 1, all, "", 0},
		}},
	}
}

// flowCases are about connections.
func flowCases() []portCase {
	return []portCase{
		{"the same four numbers twice are not available", []step{
			{childA, "open", 1, one, peer, 0}, {childA, "open", 2, one, peer, unix.EADDRNOTAVAIL}, {childB, "open", 2, one, peer, unix.EADDRNOTAVAIL},
			{childB, "open", 2, one, peer2, 0}, {childA, "close", 0, one, peer, 0}, {childB, "open", 2, one, peer, 0},
		}},
		{"a connection from another's port", []step{
			{childA, "bind", 1, one, "", 0}, {childB, "open", 1, one, peer, unix.EADDRINUSE}, {childB, "open", 1, two, peer, 0},
			{childA, "open", 2, one, peer, 0},
		}},
		{"a connection from one's own wildcard", []step{{childA, "bind", 1, all, "", 0}, {childA, "open", 1, one, peer, 0}}},
		{"a port with connections cannot be bound", []step{
			{childA, "open", 1, one, peer, 0}, {childB, "reuse", 1, one, "", unix.EADDRINUSE}, {childB, "reuse", 1, all, "", unix.EADDRINUSE},
			{childA, "reuse", 1, all4, "", unix.EADDRINUSE}, {childB, "bind", 1, two, "", 0}, {childA, "close", 1, one, peer, 0},
			{childB, "bind", 2, one, "", 0},
		}},
		{"a connection from a bound port does not keep the port", []step{
			{childA, "bind", 1, one, "", 0}, {childA, "open", 1, one, peer, 0}, {childA, "unbind", 1, "", "", 0},
			{childB, "bind", 1, one, "", 0}, {childA, "close", 1, one, peer, 0},
		}},
		{"a connection from nowhere", []step{
			{childA, "open", 1, "10.1.0.3:0", peer, unix.EADDRNOTAVAIL}, {childA, "open", 1, six, peer, unix.ENETUNREACH},
			{childA, "open", 1, one, "[fd00::9]:1", unix.ENETUNREACH}, {childA, "open", 1, one, "10.1.0.9:0", unix.EINVAL},
		}},
		{"another's connection cannot be closed, nor one that is not there", []step{
			{childA, "open", 1, one, peer, 0}, {childB, "close", 1, one, peer, unix.EINVAL}, {childA, "close", 1, one, peer2, unix.EINVAL},
		}},
		{"death gives all back", []step{
			{childA, "bind", 1, one, "", 0}, {childA, "listen", 1, "", "", 0}, {childA, "open", 2, two, peer, 0}, {childA, "open", 3, one, peer, 0},
			{childA, "die", 0, "", "", 0}, {childB, "bind", 1, all, "", 0}, {childB, "open", 2, two, peer, 0},
		}},
	}
}

func TestAnyPortIsAnEphemeralOne(t *testing.T) {
	p := hostPorts()
	seen := map[uint16]bool{}
	for i := range uint32(1000) {
		e, errno := p.bind(socketID{childA, i}, ep("10.1.0.1:0"), i%2 == 0)
		if errno != 0 || e.Port < firstEphemeral || e.Port > lastEphemeral || seen[e.Port] {
			t.Fatalf("bind %d: %v, %v", i, e, errno)
		}
		seen[e.Port] = true
	}
	for i := range uint32(1000) {
		e, errno := p.open(socketID{childB, i}, ep("0.0.0.0:0"), ep("10.1.0.9:80"))
		if errno != 0 || e.Port < firstEphemeral || e.Port > lastEphemeral || seen[e.Port] {
			t.Fatalf("open %d: %v, %v", i, e, errno)
		}
		if e.Addr != wire.AddrFrom(addr1) {
			t.Fatalf("open %d: from %v, want the first address", i, e)
		}
		seen[e.Port] = true
	}
	if e, errno := p.open(socketID{childB, 1}, wire.Endpoint{}, ep("[fd00::9]:80")); errno != 0 || e.Addr != wire.AddrFrom(addr6) {
		t.Errorf("to IPv6: %v, %v", e, errno)
	}
	first := 0
	for range 20 { // not in a row: an attacker should not guess them
		e, _ := p.bind(socketID{childB, 2}, ep("10.1.0.2:0"), false)
		p.unbind(socketID{childB, 2})
		if e.Port < firstEphemeral+numEphemeral/2 {
			first++
		}
	}
	if first == 0 || first == 20 {
		t.Errorf("%d of 20 random ports are in the lower half", first)
	}
}

func TestEphemeralPortsRunOut(t *testing.T) {
	p := newPortSpace([]netip.Addr{addr1})
	child := func(i int) wire.VCI { return wire.VCI(1 + i/maxFlows) }
	for i := range numEphemeral {
		if _, errno := p.open(socketID{child(i), 0}, wire.Endpoint{}, ep("10.1.0.9:80")); errno != 0 {
			t.Fatalf("connection %d: %v", i, errno)
		}
	}
	if _, errno := p.open(socketID{100, 0}, wire.Endpoint{}, ep("10.1.0.9:80")); errno != unix.EADDRNOTAVAIL {
		t.Errorf("one more: %v, want EADDRNOTAVAIL", errno)
	}
	if _, errno := p.bind(socketID{100, 0}, ep("0.0.0.0:0"), true); errno != unix.EADDRINUSE {
		t.Errorf("a bind: %v, want EADDRINUSE", errno)
	}
	if _, errno := p.open(socketID{100, 0}, wire.Endpoint{}, ep("10.1.0.9:81")); errno != 0 {
		t.Errorf("to another port: %v", errno)
	}
}

func TestLimitsOfOneChild(t *testing.T) {
	p := hostPorts()
	for i := range uint32(maxBindings) {
		if _, errno := p.bind(socketID{childA, i}, ep("10.1.0.1:0"), false); errno != 0 {
			t.Fatalf("bind %d: %v", i, errno)
		}
	}
	if _, errno := p.bind(socketID{childA, maxBindings}, ep("10.1.0.2:80"), false); errno != unix.EMFILE {
		t.Errorf("a port too many: %v, want EMFILE", errno)
	}
	for i := range maxFlows {
		if _, errno := p.open(socketID{childA, 1}, ep("10.1.0.2:80"), ep(fmt.Sprintf("10.1.0.9:%d", 1+i))); errno != 0 {
			t.Fatalf("open %d: %v", i, errno)
		}
	}
	if _, errno := p.open(socketID{childA, 1}, ep("10.1.0.2:80"), ep("10.1.0.8:80")); errno != unix.ENOBUFS {
		t.Errorf("a connection too many: %v, want ENOBUFS", errno)
	}
	if b, f := p.count(childA); b != maxBindings || f != maxFlows {
		t.Errorf("%d ports, %d connections", b, f)
	}
	if _, errno := p.bind(socketID{childB, 1}, ep("10.1.0.2:81"), false); errno != 0 {
		t.Errorf("another child: %v", errno)
	}
}

func TestWhoListens(t *testing.T) {
	p := hostPorts()
	for i, local := range []string{"10.1.0.1:80", "10.1.0.2:80", "0.0.0.0:81", "[::]:82", "[fd00::1]:81"} {
		id := socketID{childA, uint32(i)}
		if _, errno := p.bind(id, ep(local), false); errno != 0 {
			t.Fatal(local, errno)
		}
		if _, ok := p.listener(wire.Flow{Local: ep(local)}); ok {
			t.Errorf("%s is bound only, and listens", local)
		}
		p.listen(id)
	}
	for to, want := range map[string]int{
		"10.1.0.1:80": 0, "10.1.0.2:80": 1, "10.1.0.1:81": 2, "10.1.0.2:81": 2, "10.1.0.1:82": 3,
		"[fd00::1]:82": 3, "[fd00::1]:81": 4, "[fd00::1]:80": -1, "10.1.0.1:83": -1,
	} {
		id, ok := p.listener(wire.Flow{Local: ep(to)})
		if ok != (want >= 0) || ok && id.socket != uint32(want) {
			t.Errorf("%s: socket %d, %v; want %d", to, id.socket, ok, want)
		}
	}
}

// TestPortSpaceStaysConsistent does random things and checks after each what
// must always hold; at the end nothing may be left.
func TestPortSpaceStaysConsistent(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	p := hostPorts()
	for range 20000 {
		s := step{
			child: wire.VCI(1 + r.IntN(3)),
			do:    pick("bind", "reuse", "listen", "unbind", "open", "open", "close", "close"),
			sock:  uint32(r.IntN(4)),
			local: pick("10.1.0.1:80", "10.1.0.2:80", "0.0.0.0:80", "[::]:80", "[fd00::1]:80", "10.1.0.1:81"),
			to:    pick("10.1.0.9:1", "10.1.0.9:2", "[fd00::9]:1"),
		}
		if r.IntN(100) == 0 {
			s.do = "die"
		}
		s.run(p)
		if err := p.check(); err != nil {
			t.Fatalf("after %+v: %v", s, err)
		}
	}
	for c := range wire.VCI(4) {
		p.release(c)
	}
	if n := len(p.bindings) + len(p.byPort) + len(p.flows) + len(p.unbound); n != 0 {
		t.Errorf("%d left when all have died", n)
	}
}

// check returns what is wrong with the port space.
func (p *portSpace) check() error {
	bindings, flows := map[wire.VCI]int{}, map[wire.VCI]int{}
	for _, list := range p.byPort {
		for i, a := range list {
			bindings[a.id.child]++
			if p.bindings[a.id] != a {
				return errors.New("a binding is in one table only")
			}
			for _, b := range list[:i] {
				if overlap(&a.local.Addr, &b.local.Addr) && (!a.reuse || !b.reuse || a.listening && b.listening) {
					return fmt.Errorf("%v and %v conflict", a.local, b.local)
				}
			}
		}
	}
	unbound := map[wire.Endpoint]int{}
	for f, fw := range p.flows {
		flows[fw.id.child]++
		if fw.unbound {
			unbound[f.Local]++
		}
	}
	if fmt.Sprint(unbound) != fmt.Sprint(p.unbound) {
		return fmt.Errorf("connections without a binding: %v, counted %v", unbound, p.unbound)
	}
	for c, u := range p.usage {
		if u.bindings != bindings[c] || u.flows != flows[c] {
			return fmt.Errorf("child %v has %d and %d, counted %+v", c, bindings[c], flows[c], *u)
		}
	}
	return nil
}
