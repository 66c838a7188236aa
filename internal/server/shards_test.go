package server

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// shardsAt binds as many shards as there are children at one end, and has them listen.
func shardsAt(t *testing.T, p *portSpace, local string, children ...wire.VCI) {
	t.Helper()
	for i, c := range children {
		id := socketID{c, 1}
		if _, errno := p.bindShard(id, ep(local), true, shard{at: i, of: len(children), uid: 7}); errno != 0 {
			t.Fatalf("shard %d: %v", i, errno)
		}
		if errno := p.listen(id); errno != 0 {
			t.Fatalf("shard %d listens: %v", i, errno)
		}
	}
}

// heardBy counts which child gets the connections from n ports.
func heardBy(p *portSpace, local string, n int) map[wire.VCI]int {
	by := map[wire.VCI]int{}
	for port := range n {
		f := wire.Flow{Local: ep(local), Remote: wire.Endpoint{Addr: ep("10.1.0.2:1").Addr, Port: uint16(port + 1)}}
		if id, ok := p.listener(f); ok {
			by[id.child]++
		}
	}
	return by
}

// Only shards of one listener of one user have a local end together.
func TestWhoSharesALocalEnd(t *testing.T) {
	at := "10.1.0.1:80"
	for _, row := range []struct {
		about string
		local string
		as    shard
		want  unix.Errno
	}{
		{"the other shard", at, shard{at: 1, of: 2, uid: 7}, 0},
		{"the same shard", at, shard{at: 0, of: 2, uid: 7}, unix.EADDRINUSE},
		{"one of three", at, shard{at: 1, of: 3, uid: 7}, unix.EADDRINUSE},
		{"another user", at, shard{at: 1, of: 2, uid: 8}, unix.EADDRINUSE},
		{"no shard", at, shard{uid: 7}, unix.EADDRINUSE},
		{"at all addresses", "0.0.0.0:80", shard{at: 1, of: 2, uid: 7}, unix.EADDRINUSE},
		{"at another address", "10.1.0.2:80", shard{at: 1, of: 2, uid: 7}, 0},
	} {
		p := hostPorts()
		first := socketID{childA, 1}
		p.bindShard(first, ep(at), true, shard{at: 0, of: 2, uid: 7})
		p.listen(first)
		_, errno := p.bindShard(socketID{childB, 1}, ep(row.local), true, row.as)
		if errno != row.want {
			t.Errorf("%s: %v, want %v", row.about, errno, row.want)
		}
	}
	p := hostPorts()
	p.bind(socketID{childA, 1}, ep(at), true)
	p.listen(socketID{childA, 1})
	if _, errno := p.bindShard(socketID{childB, 1}, ep(at), true, shard{at: 1, of: 2, uid: 7}); errno != unix.EADDRINUSE {
		t.Errorf("a shard beside one that has the end alone: %v", errno)
	}
}

// SYNs come when all shards listen and not before; each shard gets its part, always the
// same, and what a shard had that goes is the others'.
func TestShardsGetTheirParts(t *testing.T) {
	p, at := hostPorts(), "10.1.0.1:80"
	const childC, n = wire.VCI(3), 3000
	all := []wire.VCI{childA, childB, childC}
	for i, c := range all {
		if by := heardBy(p, at, 10); len(by) != 0 {
			t.Errorf("%d of 3 shards listen, and SYNs go to %v", i, by)
		}
		p.bindShard(socketID{c, 1}, ep(at), true, shard{at: i, of: 3, uid: 7})
		p.listen(socketID{c, 1})
	}
	first := heardBy(p, at, n)
	for _, c := range all {
		if first[c] < n/4 {
			t.Errorf("child %d gets %d of %d connections", c, first[c], n)
		}
	}
	if again := heardBy(p, at, n); again[childA] != first[childA] || again[childB] != first[childB] {
		t.Errorf("first %v, then %v", first, again)
	}
	p.release(childA)
	if left := heardBy(p, at, n); left[childC] != first[childC] || left[childB] != first[childB]+first[childA] {
		t.Errorf("with all %v, without child %d %v", first, childA, left)
	}
	p.release(childB)
	p.release(childC)
	if by := heardBy(p, at, 10); len(by) != 0 || len(p.bindings)+len(p.byPort) != 0 {
		t.Errorf("all have gone, and SYNs go to %v; %d bindings", by, len(p.bindings))
	}
}

// The next server has the shards as they were, also when one of them has gone.
func TestShardsAtTheNextServer(t *testing.T) {
	p, at := hostPorts(), "10.1.0.1:80"
	shardsAt(t, p, at, childA, childB)
	next := hostPorts()
	for _, m := range p.held(childB) {
		if errno := next.adopt(childB, 7, &m); errno != 0 {
			t.Fatal(errno)
		}
	}
	if by := heardBy(next, at, 100); by[childB] != 100 {
		t.Errorf("the shard that is left gets %v of 100 connections", by)
	}
	for _, m := range p.held(childA) {
		if errno := next.adopt(childA, 7, &m); errno != 0 {
			t.Fatal(errno)
		}
	}
	if by := heardBy(next, at, 100); by[childA] == 0 || by[childB] == 0 {
		t.Errorf("of 100 connections shards get %v", by)
	}
	m := message.Message{Type: message.Keep, N: message.KeepBind, Local: ep("10.1.0.1:81"), VCI: 1 << 4}
	if errno := next.adopt(childA, 7, &m); errno != unix.EINVAL {
		t.Errorf("a shard of none: %v", errno)
	}
}

// Shards have one port in the kernel, which is nobody else's until the last of them has
// gone, and their connections.
func TestShardsHaveOnePortInTheKernel(t *testing.T) {
	p, local := keepable(t)
	p.unbind(socketID{childA, 1})
	for i, c := range []wire.VCI{childA, childB} {
		id := socketID{c, 1}
		if _, errno := p.bindShard(id, local, true, shard{at: i, of: 2}); errno != 0 {
			t.Fatal(errno)
		}
		points, errno := p.siblingPoints(id)
		if errno != 0 || len(points) != i {
			t.Fatalf("shard %d gets points %v, %v", i, points, errno)
		}
		if points == nil {
			fd, errno := bindKernel(local.Netip(), true)
			if errno != 0 {
				t.Fatal(errno)
			}
			points = []int{fd}
		}
		p.holdBind(id, points)
		p.listen(id)
	}
	f := wire.Flow{Local: local, Remote: ep("127.0.0.9:1")}
	if errno := p.accepted(socketID{childA, message.NoSocket}, f.Local, f.Remote, true); errno != 0 {
		t.Fatal(errno)
	}
	p.unbind(socketID{childA, 1})
	if _, err := net.Listen("tcp4", local.String()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("beside the other shard one of the kernel's: %v", err)
	}
	p.unbind(socketID{childB, 1})
	wantKernel(t, local, false)
	l, err := net.Listen("tcp4", local.String())
	if err != nil {
		t.Fatalf("a server can't be started again, with SO_REUSEADDR: %v", err)
	}
	l.Close()
	p.close(childA, f)
	wantKernel(t, local, true)
}
