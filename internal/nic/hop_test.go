package nic

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// listenOn returns what reads the frames that arrive at a device.
func listenOn(t *testing.T, in *testnet.Namespace, device string) func() []byte {
	fd, err := -1, error(nil)
	in.Do(func() {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8&0xff // in network order
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	})
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8&0xff, Ifindex: in.Index(device)}))
	buf := make([]byte, 1<<16)
	return func() []byte {
		for end := time.Now().Add(patience); time.Now().Before(end); {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err == nil && from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
				return buf[:n]
			}
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		}
		t.Fatal("no frame arrives")
		return nil
	}
}

// hardware returns a device's address.
func hardware(t *testing.T, in *testnet.Namespace, device string) (a net.HardwareAddr) {
	in.Do(func() {
		i, err := net.InterfaceByName(device)
		must(t, err)
		a = i.HardwareAddr
	})
	return a
}

// What a way's frames begin with is remembered, too: they are as the kernel would make
// them, also a moment after the neighbour's address has changed.
func TestFramesAreForTheNeighbour(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	frame := listenOn(t, b, "vb")
	for _, row := range []struct {
		local, remote, host string
		port                uint32
	}{
		{"10.9.0.1:1000", "10.9.0.2:2000", "10.9.0.2", 1000}, {"[fd09::1]:1001", "[fd09::2]:2000", "fd09::2", 1001},
	} {
		must(t, p.Connect(flow(row.local, row.remote)))
		arriveFor := func(dst net.HardwareAddr) {
			t.Helper()
			want := append(bytes.Clone(dst), hardware(t, a, "va")...)
			var hop kernelHop // until it is remembered, and anew
			begun := uint64(0)
			for good, end := 0, time.Now().Add(patience); good < 100 || hop.Until == begun; {
				send(t, p, segment{src: row.local, dst: row.remote})
				f := frame()
				for !bytes.Contains(f, []byte{0x07, 0xd0}) { // port 2000: no ARP, no discovery
					f = frame()
				}
				must(t, m.kernel.Hops.Lookup(row.port^2000, &hop))
				if begun == 0 {
					begun = hop.Until
				}
				if good++; !bytes.Equal(f[:12], want) {
					good = 0
				}
				if time.Now().After(end) {
					t.Fatalf("%s: a frame begins with %x, want %x", row.remote, f[:12], want)
				}
			}
		}
		arriveFor(hardware(t, b, "vb"))
		moved := net.HardwareAddr{2, 0, 0, 0, 0, 7}
		neighbour := &netlink.Neigh{LinkIndex: a.Index("va"), State: netlink.NUD_PERMANENT, IP: net.ParseIP(row.host), HardwareAddr: moved}
		a.Do(func() { must(t, netlink.NeighSet(neighbour)) })
		arriveFor(moved)
	}
}
