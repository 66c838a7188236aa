package server

import (
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/netns"
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// kernelHas reports whether a port is in use in the kernel.
func kernelHas(t *testing.T, port uint16) bool {
	t.Helper()
	fd, errno := bindKernel(netip.AddrPortFrom(netip.IPv6Unspecified(), port), false)
	if errno == 0 {
		unix.Close(fd)
	}
	return errno == unix.EADDRINUSE
}

// One descriptor keeps all ports of a block in the kernel, also as a copy in another
// process's hands, and nothing else does. Root looks at that in a namespace of its own: on
// a host with thousands of the kernel's connections no block may be free.
func TestABlockIsTheKernelsToo(t *testing.T) {
	inOwnNamespace(t, aBlockIsTheKernelsToo)
}

// inOwnNamespace runs f in a network namespace of its own, if root does.
func inOwnNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		f(t)
		return
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	_ = ns.Do(func() error {
		f(t)
		return nil
	})
}

func aBlockIsTheKernelsToo(t *testing.T) {
	t.Helper()
	first := uint16(0)
	fd := -1
	for port := uint16(50048); fd < 0 && port < 60000; port += nic.LeasePorts {
		if bound, points, errno := bindBlock(port, nic.AllPorts); errno == 0 && bound == nic.AllPorts {
			first, fd = port, points
		} else if errno == 0 {
			unix.Close(points)
		}
	}
	if first == 0 {
		t.Error("no block is free in the kernel")
		return
	}
	for n := range uint16(nic.LeasePorts) {
		if !kernelHas(t, first+n) {
			t.Errorf("port %d of the block is free in the kernel", first+n)
		}
	}
	if _, _, errno := bindBlock(first, nic.AllPorts); errno != unix.EADDRINUSE {
		t.Errorf("the block again: %v", errno)
	}
	a, b, err := message.Pair()
	if err != nil {
		t.Error(err)
		return
	}
	defer a.Close()
	m := message.Message{Type: message.GeneralReply, Files: []int{fd}}
	if err := a.SendMessage(&m); err != nil {
		t.Error(err)
	}
	unix.Close(fd)
	if !kernelHas(t, first) {
		t.Error("a port is free while a copy is on its way")
	}
	b.Close() // it never arrives
	for n := range uint16(nic.LeasePorts) {
		if kernelHas(t, first+n) {
			t.Errorf("port %d stays in use", first+n)
		}
	}
}

// Of a block in which the kernel's TCP has ports the others are had, and those that the
// kernel has not, but nobody has asked for, stay free; unless too few are left, and then
// nothing of it stays.
func TestABlockThatTheKernelUses(t *testing.T) {
	inOwnNamespace(t, aBlockThatTheKernelUses)
}

func aBlockThatTheKernelUses(t *testing.T) {
	t.Helper()
	const first = 50048
	const asked = nic.AllPorts &^ (1 << 9)
	files := openFiles(t)
	listeners := map[int]net.Listener{}
	listen := func(n int) {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+n)))
		if err != nil {
			t.Fatal(err)
		}
		listeners[n] = l
	}
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	defer closeAll()
	for n := 0; n < nic.LeasePorts; n += 13 {
		listen(n)
	}
	bound, points, errno := bindBlock(first, asked)
	want := uint64(asked)
	for n := range listeners {
		want &^= 1 << n
	}
	if errno != 0 || bound != want {
		t.Fatalf("bound %x, %v, want %x", bound, errno, want)
	}
	for n := range uint16(nic.LeasePorts) {
		if has := kernelHas(t, first+n); has != (n != 9) {
			t.Errorf("port %d of the block is in use in the kernel: %v", n, has)
		}
	}
	closeAll()
	for n := range listeners {
		if kernelHas(t, first+uint16(n)) {
			t.Errorf("the kernel has not got port %d back", n)
		}
		listen(n)
	}
	unix.Close(points)
	for n := 0; len(listeners) < nic.LeasePorts-leastPorts+1; n++ {
		if listeners[n] == nil {
			listen(n)
		}
	}
	if bound, points, errno := bindBlock(first, nic.AllPorts); errno != unix.EADDRINUSE || bound != 0 || points != -1 {
		t.Errorf("of a block with %d free ports: %x, %d, %v", leastPorts-1, bound, points, errno)
	}
	listeners[0].Close()
	if bound, points, errno := bindBlock(first, nic.AllPorts); errno != 0 || bits.OnesCount64(bound) != leastPorts {
		t.Errorf("of a block with %d free ports: %x, %v", leastPorts, bound, errno)
	} else {
		unix.Close(points)
	}
	closeAll()
	if n := openFiles(t); n > files+1 { // the poller's
		t.Errorf("%d descriptors, were %d", n, files)
	}
}

// What is in use here, in a connection or in TIME-WAIT, is not lent, and what is not lent of
// a block stays free for all.
func TestABlockIsLentWithoutWhatIsInUse(t *testing.T) {
	p := hostPorts()
	const first = 40064
	p.ports = func() (uint16, uint16) { return first, first + 5*nic.LeasePorts - 1 }
	at := func(n uint16) wire.Endpoint { return wire.Endpoint{Addr: wire.AddrFrom(addr1), Port: first + n} }
	p.waitingPorts = func(of uint16, _ int) (_, _ uint64) { // nothing is free of the other blocks
		if of == first {
			return 1<<63 | 1<<1, 1<<63 | 1<<1
		}
		return nic.AllPorts, nic.AllPorts
	}
	if _, errno := p.bind(socketID{childB, 1}, at(5), false); errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := p.open(socketID{childB, 2}, at(7), ep("10.1.0.9:80")); errno != 0 {
		t.Fatal(errno)
	}
	const want = nic.AllPorts &^ (1<<63 | 1<<7 | 1<<5 | 1<<1)
	if _, _, errno := p.reserveBlock(childA, 0, []uint16{first}); errno != unix.EADDRNOTAVAIL {
		t.Errorf("a block that was tried is had again: %v", errno)
	}
	got, ports, errno := p.reserveBlock(childA, 0, nil)
	if errno != 0 || got != first || ports != want {
		t.Fatalf("block %d, ports %x, %v; want %d, %x", got, ports, errno, first, uint64(want))
	}
	if _, _, errno := p.reserveBlock(childB, 0, nil); errno != unix.EADDRNOTAVAIL {
		t.Errorf("the rest of a block is lent to another one: %v", errno)
	}
	const bound = want &^ (1 << 10) // the kernel had that one
	p.holdBlock(first, bound, -1)
	for n := range uint16(nic.LeasePorts) {
		_, errno := p.bind(socketID{childB, 10 + uint32(n)}, at(n), false)
		if free := bound>>n&1 == 0 && n != 5 && n != 7; free != (errno == 0) {
			t.Errorf("binding port %d: %v", n, errno)
		}
		if lessee, ok := p.lessee(first + n); ok != (bound>>n&1 != 0) || ok && lessee != childA {
			t.Errorf("port %d is lent: %v, to %v", n, ok, lessee)
		}
	}
}

// Ports in TIME-WAIT are lent when there are no others, with the connections, to who had
// them: to nobody else, nor if it is not known who that was. And the next server does not
// have what has gone along.
func TestPortsInTimeWaitGoAlong(t *testing.T) {
	const first, user, other = 40064, 1000, 1001
	p := hostPorts()
	dir := t.TempDir()
	w, err := openTimeWaits(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.waitingPorts = w.ports
	p.ports = func() (uint16, uint16) { return first, first + 5*nic.LeasePorts - 1 }
	wait := func(port uint16, remote string, uid int) {
		r, _ := tcp.ParseRemnant(remnant(t, "10.1.0.1:1", remote, 30*tcp.Second))
		r.Flow.Local.Port = port
		w.add([]tcp.Remnant{r}, func(wire.Flow) int { return uid })
	}
	for port := uint16(first); port < first+5*nic.LeasePorts; port++ {
		if port%4 != 0 { // more would be enough without
			wait(port, "10.1.0.9:80", user)
		}
	}
	for port := uint16(first); port < first+5*nic.LeasePorts; port += nic.LeasePorts {
		wait(port+5, "10.1.0.9:81", other)
		wait(port+6, "10.1.0.9:81", nobody)
		wait(port+7, "10.1.0.9:81", user)
	}
	all := w.count()
	clean := uint64(0x1111111111111111)
	if _, ports, errno := p.reserveBlock(childB, other, nil); errno != 0 || ports != clean {
		t.Errorf("another user has %x, %v, want %x", ports, errno, clean)
	}
	block, ports, errno := p.reserveBlock(childA, user, nil)
	if want := nic.AllPorts &^ (1<<5 | 1<<6); errno != 0 || ports != want {
		t.Fatalf("ports %x, %v, want %x", ports, errno, want)
	}
	bound := ports &^ (1 << 9) // the kernel had that one
	for range 2 {
		rs := w.takeOut(block, bound, user)
		if all != w.count()+46 || len(rs) != 0 && len(rs) != 46 {
			t.Errorf("%d go along, %d of %d stay", len(rs), w.count(), all)
		}
		for i := range rs {
			if f := rs[i].Flow; bound>>(f.Local.Port-block)&1 == 0 || w.has(f) || rs[i].End < clock()+20*tcp.Second {
				t.Errorf("%v goes along until %v", f, rs[i].End)
			}
		}
	}
	w.close(true)
	if w, err = openTimeWaits(dir); err != nil || w.count() != all-46 {
		t.Fatalf("the next server has %d, %v, want %d", w.count(), err, all-46)
	}
	if free, others := w.ports(block, user); free != others || free>>5&1 == 0 || free&1 != 0 {
		t.Errorf("of a server before are %x, and nobody knows whose %x", free, others)
	}
	w.close(false)
}

// A block that is lent on the ring ends TIME-WAIT of connections by the ring, and not of
// those by the devices with the same ports.
func TestABlockOnTheRingLeavesDevicesInTimeWait(t *testing.T) {
	p := hostPorts()
	w := &timeWaits{byFlow: make(map[wire.Flow]*tcp.Remnant)}
	p.vacate = w.vacate
	var left []wire.Flow
	for _, local := range []string{"10.1.0.1:40961", "10.9.9.9:40961", "10.9.9.9:40962"} {
		r, _ := tcp.ParseRemnant(remnant(t, local, "10.1.0.9:80", 30*tcp.Second))
		w.note(&r, nobody)
		left = append(left, r.Flow)
	}
	if errno := p.adoptLease(childA, 40960); errno != 0 {
		t.Fatal(errno)
	}
	for i, want := range []bool{false, true, true} {
		if w.has(left[i]) != want {
			t.Errorf("%v is in TIME-WAIT: %v", left[i].Local, !want)
		}
	}
}

// Where there are blocks with enough ports, those in TIME-WAIT are left alone.
func TestPortsInTimeWaitAreLentLast(t *testing.T) {
	const first = 40064
	p := hostPorts()
	p.ports = func() (uint16, uint16) { return first, first + 10*nic.LeasePorts - 1 }
	waits := nic.AllPorts >> manyPorts
	p.waitingPorts = func(uint16, int) (uint64, uint64) { return waits, 0 }
	if _, ports, errno := p.reserveBlock(childA, 0, nil); errno != 0 || ports != ^waits {
		t.Errorf("ports %x, %v, want %x", ports, errno, ^waits)
	}
	waits = nic.AllPorts >> (manyPorts - 1)
	if _, ports, errno := p.reserveBlock(childA, 0, nil); errno != 0 || ports != nic.AllPorts {
		t.Errorf("ports %x, %v, want all", ports, errno)
	}
}

// A block of which too few ports are free is not lent.
func TestABlockWithTooFewPorts(t *testing.T) {
	p := hostPorts()
	p.ports = func() (uint16, uint16) { return 40064, 40064 + 5*nic.LeasePorts - 1 }
	free := uint64(1<<leastPorts-1) >> 1
	p.waitingPorts = func(uint16, int) (_, _ uint64) { return ^free, ^free }
	if _, _, errno := p.reserveBlock(childA, 0, nil); errno != unix.EADDRNOTAVAIL {
		t.Errorf("a block with %d free ports: %v", leastPorts-1, errno)
	}
	free = 1<<leastPorts - 1
	if _, ports, errno := p.reserveBlock(childA, 0, nil); errno != 0 || ports != free {
		t.Errorf("a block with %d free ports: %x, %v", leastPorts, ports, errno)
	}
}

// A block is one child's alone, whose other leases it does not meet, and all of it is free
// when the child has ended.
func TestABlockForDevicesIsInUse(t *testing.T) {
	p := hostPorts()
	lease, errno := p.lease(childA)
	if errno != 0 {
		t.Fatal(errno)
	}
	taken := map[uint16]bool{}
	for range maxDeviceLeases {
		first, _, errno := p.reserveBlock(childA, 0, nil)
		if errno != 0 || first%nic.LeasePorts != 0 || taken[first] || first < firstEphemeral || first > lastEphemeral {
			t.Fatalf("block %d, %v", first, errno)
		}
		if blockOf(first) == lease {
			t.Errorf("block %d lies in the lease at %d", first, lease)
		}
		taken[first] = true
		in := wire.Endpoint{Addr: wire.AddrFrom(addr1), Port: first + nic.LeasePorts - 1}
		if _, errno := p.bind(socketID{childB, 1}, in, true); errno != unix.EADDRINUSE {
			t.Errorf("bind in the block: %v", errno)
		}
		if _, errno := p.open(socketID{childB, 1}, in, ep("10.1.0.9:80")); errno != unix.EADDRINUSE {
			t.Errorf("a connection from the block: %v", errno)
		}
		around, want := blockOf(first), unix.EADDRINUSE
		if around+ring.LeasePorts-1 > lastEphemeral {
			want = unix.EINVAL // no lease reaches beyond the range; this was chance's to find
		}
		if errno := p.adoptLease(childB, around); errno != want {
			t.Errorf("a lease around the block %d: %v", first, errno)
		}
	}
	if _, _, errno := p.reserveBlock(childA, 0, nil); errno != unix.EMFILE {
		t.Errorf("more blocks than there may be: %v", errno)
	}
	p.release(childA)
	for first := range taken {
		if errno := p.adoptBlock(childB, first, nic.AllPorts, testFile(t)); errno != 0 {
			t.Errorf("block %d after its child's end: %v", first, errno)
		}
	}
}

// testFile returns a descriptor that somebody may close.
func testFile(t *testing.T) int {
	t.Helper()
	fd, err := unix.MemfdCreate("points", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// What a child has had from the server before comes with what keeps it in the kernel,
// which is closed when the block is given back, or not to be had.
func TestBlocksAreAdopted(t *testing.T) {
	p := hostPorts()
	files := openFiles(t)
	keep := func(child wire.VCI, first uint16, ports uint64) unix.Errno {
		return p.adopt(child, 0, &message.Message{
			Type: message.Keep, N: message.KeepLease, Local: wire.Endpoint{Port: first}, Ports: ports, Files: []int{testFile(t)},
		})
	}
	const some = nic.AllPorts &^ (1 << 3)
	for _, row := range []struct {
		socket uint32
		port   uint16
		want   unix.Errno
	}{{1, 40067, 0}, {2, 40064 + nic.LeasePorts + 3, 0}} {
		in := wire.Endpoint{Addr: wire.AddrFrom(addr1), Port: row.port}
		if _, errno := p.bind(socketID{childB, row.socket}, in, false); errno != row.want {
			t.Fatal(errno)
		}
	}
	for _, row := range []struct {
		name  string
		child wire.VCI
		first uint16
		ports uint64
		want  unix.Errno
	}{
		{"a block without a port that is in use", childA, 40064, some, 0},
		{"once more", childA, 40064, some, unix.EADDRINUSE},
		{"another's", childB, 40064, 1 << 3, unix.EADDRINUSE},
		{"with a port that is in use", childB, 40064 + nic.LeasePorts, nic.AllPorts, unix.EADDRINUSE},
		{"without ports", childB, 40064 + nic.LeasePorts, 0, unix.EINVAL},
		{"a block's middle", childB, 40065, some, unix.EINVAL},
		{"port 0", childB, 0, some, unix.EINVAL},
	} {
		if errno := keep(row.child, row.first, row.ports); errno != row.want {
			t.Errorf("%s: %v, want %v", row.name, errno, row.want)
		}
	}
	if n := openFiles(t); n > files+1 {
		t.Errorf("%d descriptors, want %d", n, files+1)
	}
	list := p.held(childA)
	if len(list) != 1 || list[0].N != message.KeepLease || list[0].Ports != some || list[0].Local.Port != 40064 || len(list[0].Files) != 1 {
		t.Errorf("held: %+v", list)
	}
	if p.hasBlock(childB, 40064) || !p.hasBlock(childA, 40064) {
		t.Error("the block is another's")
	}
	p.releaseBlock(childB, 40064)
	p.releaseBlock(childA, 40064)
	if n := openFiles(t); n > files || p.hasBlock(childA, 40064) {
		t.Errorf("%d descriptors, want %d", n, files)
	}
}

// A kernel that has a port in each block, as after thousands of connections, made each Dial
// look through 64 blocks: a millisecond.
func TestNoBlockIsLookedForAgainAndAgain(t *testing.T) {
	var p portSpace
	now := clock()
	if p.isDry(now) {
		t.Error("nothing has been looked for, and there is nothing")
	}
	p.runDry(now)
	if !p.isDry(now+dryFor-1) || p.isDry(now+dryFor) {
		t.Errorf("a second is dry %v, then %v", p.isDry(now+dryFor-1), p.isDry(now+dryFor))
	}
}
