package nic

import (
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// From a leased block a pool opens connections to anybody, without asking, and gets
// what comes for them; the ports beside the block are the kernel's.
func TestALeasedBlockNeedsNoFlows(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p, q := newPool(t, m, 1), newPool(t, m, 2)
	must(t, p.Lease(40064, AllPorts))
	w := raw(t, b, a, "vb", "va")
	fd := sniff(t, b, "vb")
	for _, row := range []struct {
		name, local, remote string
		ours                bool
	}{
		{"the first port", "10.9.0.1:40064", "10.9.0.2:80", true},
		{"the last port", "10.9.0.1:40127", "10.9.0.2:81", true},
		{"IPv6", "[fd09::1]:40100", "[fd09::2]:80", true},
		{"the port before", "10.9.0.1:40063", "10.9.0.2:80", false},
		{"the port behind", "10.9.0.1:40128", "10.9.0.2:80", false},
		{"another's address", "10.9.0.9:40064", "10.9.0.2:80", false},
	} {
		for range 2 { // the second by the way that the first has found
			out := segment{src: row.local, dst: row.remote, payload: mark}
			send(t, p, out)
			if n := seen(t, fd, mark, map[bool]int{true: 1}[row.ours]); (n == 1) != row.ours {
				t.Errorf("%s: %d leave", row.name, n)
			}
			send(t, q, out)
			if n := seen(t, fd, mark, 0); n != 0 {
				t.Errorf("%s: another pool's leaves", row.name)
			}
			w.segment(t, segment{src: row.remote, dst: row.local, payload: mark})
			if got := comes(t, p); got != row.ours {
				t.Errorf("%s: comes: %v", row.name, got)
			}
		}
	}
	must(t, p.Unlease(40064))
	send(t, p, segment{src: "10.9.0.1:40064", dst: "10.9.0.2:80", payload: mark})
	if n := seen(t, fd, mark, 0); n != 0 {
		t.Error("a segment from a block that was given back leaves")
	}
	w.segment(t, segment{src: "10.9.0.2:80", dst: "10.9.0.1:40064", payload: mark})
	quiet(t, p)
	must(t, q.Lease(40064, AllPorts))
	must(t, q.Close())
	must(t, p.Lease(40064, AllPorts))
}

// Of a block of which a pool has leased some ports the others are whose they are: another
// pool's that listens there, and the kernel's, whose connections no pool's packet meets in
// either direction.
func TestPortsOfABlockThatAreNotLent(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p, q := newPool(t, m, 1), newPool(t, m, 2)
	must(t, p.Lease(40064, 1<<63|1<<2))
	must(t, q.Listen(endpoint("10.9.0.1:40067")))
	w := raw(t, b, a, "vb", "va")
	fd := sniff(t, b, "vb")
	for _, row := range []struct {
		port         uint16
		whose, other *Pool
	}{{40066, p, q}, {40127, p, q}, {40067, q, p}, {40064, nil, p}, {40065, nil, p}, {40126, nil, p}} {
		local := net.JoinHostPort("10.9.0.1", strconv.Itoa(int(row.port)))
		out := segment{src: local, dst: "10.9.0.2:80", payload: mark}
		for _, pool := range []*Pool{p, q} {
			want := map[bool]int{true: 1}[pool == row.whose]
			send(t, pool, out)
			if n := seen(t, fd, mark, want); n != want {
				t.Errorf("port %d: %d of pool %d's leave, want %d", row.port, n, pool.VCI(), want)
			}
		}
		w.segment(t, segment{src: "10.9.0.2:80", dst: local, tcp: layers.TCP{SYN: true}, payload: mark})
		if row.whose != nil && !comes(t, row.whose) || comes(t, row.other) {
			t.Errorf("port %d: comes to the wrong pool", row.port)
		}
	}
	kernelTalks(t, a, b, p, 40068)
	must(t, p.Unlease(40064))
	must(t, p.Lease(40064, AllPorts&^(1<<2)))
	kernelTalks(t, a, b, p, 40066)
	w.segment(t, segment{src: "10.9.0.2:80", dst: "10.9.0.1:40066", tcp: layers.TCP{SYN: true}, payload: mark})
	quiet(t, p)
}

// kernelTalks has the kernel's TCP connect from a port of the host at 10.9.0.1 that p has
// not, exchange something, and go to TIME-WAIT, while p sends a reset from there.
func kernelTalks(t *testing.T, a, b *testnet.Namespace, p *Pool, port int) {
	t.Helper()
	l := b.Listen("tcp", "10.9.0.2:0")
	defer l.Close()
	var c net.Conn
	var err error
	local := &net.TCPAddr{IP: net.ParseIP("10.9.0.1"), Port: port}
	a.Do(func() { c, err = (&net.Dialer{LocalAddr: local}).Dial("tcp", l.Addr().String()) })
	must(t, err)
	defer c.Close()
	peer, err := l.Accept()
	must(t, err)
	defer peer.Close()
	before := counters(t, p).Foreign
	send(t, p, segment{src: c.LocalAddr().String(), dst: l.Addr().String(), tcp: layers.TCP{RST: true}})
	for _, ends := range [][2]net.Conn{{c, peer}, {peer, c}} {
		ends[1].SetDeadline(time.Now().Add(20 * time.Second))
		_, err := ends[0].Write([]byte(mark))
		must(t, err)
		got := make([]byte, len(mark))
		_, err = io.ReadFull(ends[1], got)
		must(t, err)
	}
	c.(*net.TCPConn).CloseWrite() // first, so that TIME-WAIT is on its side
	if got, err := io.ReadAll(peer); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	peer.Close()
	if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if n := counters(t, p).Foreign - before; n != 1 {
		t.Errorf("%d segments from the kernel's port were the pool's to send", 1-n)
	}
	quiet(t, p)
}

// comes reports whether a segment with mark comes to a pool. There may be others: the
// peer's kernel answers what it knows nothing of.
func comes(t *testing.T, p *Pool) (marked bool) {
	for r := read(t, p, 50*time.Millisecond); r != nil; r = read(t, p, 20*time.Millisecond) {
		marked = marked || string(r.tcp().Payload) == mark
	}
	return marked
}

// Whom the lists deny nobody connects with from a leased port, nor the reverse; what is
// no SYN opens nothing.
func TestTheListsHoldForLeasedPorts(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{Deny: rules(t, "10.9.0.2:25")})
	p := newPool(t, m, 1)
	must(t, p.Lease(40064, AllPorts))
	w := raw(t, b, a, "vb", "va")
	fd := sniff(t, b, "vb")
	for _, row := range []struct {
		name, remote string
		syn          bool
		want         int
	}{
		{"allowed", "10.9.0.2:80", true, 1},
		{"denied", "10.9.0.2:25", true, 0},
		{"one that there is", "10.9.0.2:25", false, 1},
	} {
		send(t, p, segment{src: "10.9.0.1:40064", dst: row.remote, tcp: layers.TCP{SYN: row.syn, ACK: !row.syn}, payload: mark})
		if n := seen(t, fd, mark, row.want); n != row.want {
			t.Errorf("%s: %d leave, want %d", row.name, n, row.want)
		}
		w.segment(t, segment{src: row.remote, dst: "10.9.0.1:40064", tcp: layers.TCP{SYN: row.syn, ACK: !row.syn}, payload: mark})
		if got := comes(t, p); got != (row.want == 1) {
			t.Errorf("%s: comes: %v", row.name, got)
		}
	}
	if n := counters(t, p).Denied; n != 1 {
		t.Errorf("%d denied, want 1", n)
	}
}

func TestLeasesThatCannotBe(t *testing.T) {
	t.Parallel()
	m, _, _ := pair(t, Config{})
	p, q := newPool(t, m, 1), newPool(t, m, 2)
	must(t, p.Lease(40064, AllPorts))
	for _, row := range []struct {
		name      string
		err, want error
	}{
		{"another's", q.Lease(40064, AllPorts), unix.EADDRINUSE},
		{"twice", p.Lease(40064, AllPorts), unix.EADDRINUSE},
		{"from the middle of a block", p.Lease(40065, AllPorts), unix.EINVAL},
		{"of no port", p.Lease(40128, 0), unix.EINVAL},
		{"from port 0", p.Lease(0, AllPorts), unix.EINVAL},
		{"another's, back", q.Unlease(40064), unix.ENOENT},
		{"its middle, back", p.Unlease(40065), unix.ENOENT},
	} {
		if !errors.Is(row.err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, row.err, row.want)
		}
	}
}

// Leases go over to the next server, which can confirm them and take them back.
func TestLeasesAreTakenOver(t *testing.T) {
	t.Parallel()
	a, _, pins, tap := afterKill(t, "va,lo")
	defer tap.Close()
	m := open(t, a, Config{Devices: []string{"va"}, Pins: pins})
	before, after := m.Pools()[0], newPool(t, m, 8)
	if err := after.Lease(victimLease, AllPorts); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a lease of the server before is not known: %v", err)
	}
	var o kernelOwner
	must(t, m.kernel.Leases.Lookup(uint32(victimLease/LeasePorts), &o))
	if o.Ports != victimPorts {
		t.Errorf("ports %x of a lease of the server before, want %x", o.Ports, uint64(victimPorts))
	}
	must(t, before.Lease(victimLease, AllPorts))
	must(t, before.Unlease(victimLease+LeasePorts))
	if err := after.Lease(victimLease, AllPorts); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a lease that was confirmed is gone: %v", err)
	}
	must(t, after.Lease(victimLease+LeasePorts, AllPorts))
}
