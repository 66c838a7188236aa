package server

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/netns"
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
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
	if os.Geteuid() != 0 {
		aBlockIsTheKernelsToo(t)
		return
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	_ = ns.Do(func() error {
		aBlockIsTheKernelsToo(t)
		return nil
	})
}

func aBlockIsTheKernelsToo(t *testing.T) {
	t.Helper()
	first := uint16(0)
	fd := -1
	for port := uint16(50048); fd < 0 && port < 60000; port += nic.LeasePorts {
		var errno unix.Errno
		if fd, errno = bindBlock(port); errno == 0 {
			first = port
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
	if _, errno := bindBlock(first); errno != unix.EADDRINUSE {
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

// A block in which the kernel's TCP has a port is not had, and nothing of it stays.
func TestABlockThatTheKernelUses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first := deviceBlock(uint16(l.Addr().(*net.TCPAddr).Port))
	files := openFiles(t)
	if fd, errno := bindBlock(first); errno != unix.EADDRINUSE {
		t.Errorf("block %d with port %v: %d, %v", first, l.Addr(), fd, errno)
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d descriptors, were %d", n, files)
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
		first, errno := p.reserveBlock(childA)
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
	if _, errno := p.reserveBlock(childA); errno != unix.EMFILE {
		t.Errorf("more blocks than there may be: %v", errno)
	}
	p.release(childA)
	for first := range taken {
		if errno := p.adoptBlock(childB, first, testFile(t)); errno != 0 {
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
	keep := func(child wire.VCI, first uint16) unix.Errno {
		return p.adopt(child, 0, &message.Message{
			Type: message.Keep, N: message.KeepLease, Local: wire.Endpoint{Port: first}, Files: []int{testFile(t)},
		})
	}
	for _, row := range []struct {
		name  string
		child wire.VCI
		first uint16
		want  unix.Errno
	}{
		{"a block", childA, 40064, 0},
		{"once more", childA, 40064, unix.EADDRINUSE},
		{"another's", childB, 40064, unix.EADDRINUSE},
		{"a block's middle", childB, 40065, unix.EINVAL},
		{"port 0", childB, 0, unix.EINVAL},
	} {
		if errno := keep(row.child, row.first); errno != row.want {
			t.Errorf("%s: %v, want %v", row.name, errno, row.want)
		}
	}
	if n := openFiles(t); n > files+1 {
		t.Errorf("%d descriptors, want %d", n, files+1)
	}
	list := p.held(childA)
	if len(list) != 1 || list[0].N != message.KeepLease || list[0].Local.Port != 40064 || len(list[0].Files) != 1 {
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
