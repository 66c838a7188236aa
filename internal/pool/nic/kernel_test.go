package nic_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/testnet"
	"usertcp/internal/wire"
)

// These tests have the kernel as their peer: it has an address on its side of a TAP
// device, our side has another one. Between the device and the driver is a wire of
// two goroutines, which put the device's address into the frames (on a real device
// a program of the server's does such things), and can lose some.

// patience bounds every wait for what must happen. It costs nothing if that does.
const patience = time.Minute

func check(t testing.TB, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// host is both halves of an application on a device.
type host struct {
	t        testing.TB
	top      *half.Top
	bottom   *half.Bottom
	drv      *nic.Driver // the top half's
	net      *testnet.Namespace
	tap      *os.File
	far      *os.File // the wire's end of what the driver has for a device
	mtu      uint32
	lose     atomic.Uint32 // one frame of so many, 0: none
	rests    atomic.Uint32 // of a leader who lets packets gather
	stop     chan struct{}
	finished sync.WaitGroup
}

const (
	kernel4, our4 = "10.8.0.1", "10.8.0.2"
	kernel6, our6 = "fd08::1", "fd08::2"
)

// The outside world of a bottom half without a server.

func (h *host) Send([]byte) {}

func (h *host) Gone(_ uint32, _ half.Registered, _ wire.Flow, done func()) { go done() }

func newHost(t *testing.T, mtu int, offload bool) *host {
	t.Helper()
	h := &host{t: t, net: testnet.New(t), mtu: uint32(mtu), stop: make(chan struct{})}
	h.net.Do(func() { h.tap = openTAP(t, mtu, offload) })
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	for _, fd := range fds {
		check(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 32<<20))
	}
	h.far = os.NewFile(uintptr(fds[1]), "wire")
	h.halves(fds[0])
	h.finished.Go(func() { h.wire(h.tap, h.far, nil) })
	h.finished.Go(func() { h.wire(h.far, h.tap, deviceAddr) })
	h.finished.Go(h.child)
	t.Cleanup(func() {
		close(h.stop)
		h.tap.Close()
		h.far.Close()
		h.finished.Wait()
		h.top.Close()
		time.Sleep(20 * time.Millisecond) // of a timer that has fired already
		unix.Close(fds[0])
	})
	return h
}

var deviceAddr = []byte{2, 0, 0, 0, 0, 1}

func openTAP(t testing.TB, mtu int, offload bool) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no TAP devices here:", err)
	}
	r, err := unix.NewIfreq("tap0")
	check(t, err)
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	check(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, r))
	check(t, unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, 12))
	if offload {
		check(t, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6|unix.TUN_F_TSO_ECN))
	}
	l, err := netlink.LinkByName("tap0")
	check(t, err)
	check(t, netlink.LinkSetHardwareAddr(l, deviceAddr))
	check(t, netlink.LinkSetARPOff(l))
	check(t, netlink.LinkSetMTU(l, mtu))
	for _, a := range []string{kernel4 + "/24", kernel6 + "/64"} {
		addr, err := netlink.ParseAddr(a)
		check(t, err)
		addr.Flags = unix.IFA_F_NODAD
		check(t, netlink.AddrAdd(l, addr))
	}
	check(t, netlink.LinkSetUp(l))
	return os.NewFile(uintptr(fd), "tap0")
}

// wire carries frames from one end to the other, for a receiver with the given
// hardware address.
func (h *host) wire(from, to *os.File, addr []byte) {
	b := make([]byte, 70<<10)
	for n := uint32(1); ; n++ {
		k, err := from.Read(b)
		if err != nil {
			return
		}
		copy(b[12:18], addr)
		if l := h.lose.Load(); l > 0 && n%l == 0 {
			continue
		}
		if _, err := to.Write(b[:k]); err != nil && !errors.Is(err, syscall.EINVAL) {
			return
		}
	}
}

// halves makes both halves over the device with descriptor fd.
func (h *host) halves(fd int) {
	t := h.t
	specs := append(ring.Specs(), nic.Specs()...)
	seg, err := shm.Create("test-nic", half.Version, half.Specs(specs)...)
	check(t, err)
	check(t, half.Initialise(seg, 1500))
	check(t, ring.Initialise(seg, false))
	check(t, nic.Initialise(seg))
	dup, err := unix.FcntlInt(uintptr(seg.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	check(t, err)
	other, err := shm.Attach(dup, half.Version, true)
	check(t, err)
	var doors [2]shm.Doorbell
	for i := range doors {
		doors[i], err = shm.NewDoorbell()
		check(t, err)
	}
	bell, clock := new(shm.Bell), half.Clock()
	var polls [2]int
	var drivers [2]pool.Driver
	for i, s := range []*shm.Segment{other, seg} {
		r, err := ring.NewDriver(s, wire.NewVCI(1, 1))
		check(t, err)
		d, err := nic.New(s, fd)
		check(t, err)
		polls[i], err = d.NewPoll(doors[i], i == 1)
		check(t, err)
		drivers[i] = pool.Join(r, d)
		if i == 0 {
			h.drv = d
		}
	}
	doze := func(limit time.Duration) bool { return h.drv.Doze(doors[0], limit) }
	rest := func(limit time.Duration) bool {
		h.rests.Add(1)
		return doors[0].Await(limit)
	}
	h.top, err = half.NewTop(half.Config{
		Segment: other, Driver: drivers[0], Bell: bell, Doorbells: doors, Clock: clock, Poll: polls[0], Doze: doze, Rest: rest,
	}, half.SpinDefault, nil)
	check(t, err)
	h.bottom, err = half.NewBottom(half.Config{Segment: seg, Driver: drivers[1], Bell: bell, Doorbells: doors, Clock: clock}, h)
	check(t, err)
	h.hear(polls[1])
}

// hear is the child that looks when it is woken.
func (h *host) hear(poll int) {
	h.finished.Go(func() {
		var ev [4]unix.EpollEvent
		for {
			select {
			case <-h.stop:
				unix.Close(poll)
				return
			default:
			}
			if n, _ := unix.EpollWait(poll, ev[:], 5); n > 0 {
				h.bottom.Look(false)
			}
		}
	})
}

// child is the child's tick.
func (h *host) child() {
	tick := time.NewTicker(half.Tick)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
			h.bottom.Look(true)
		}
	}
}

func endpoint(addr string, port int) wire.Endpoint {
	return wire.Endpoint{Addr: wire.AddrFrom(mustAddr(addr)), Port: uint16(port)}
}

var localPort atomic.Uint32

// dial connects to the kernel.
func (h *host) dial(from, to string, port int) (*half.Socket, error) {
	h.t.Helper()
	s, err := h.top.Open()
	check(h.t, err)
	h.bottom.SetMTU(s.Index(), h.mtu)
	flow := wire.Flow{Local: endpoint(from, int(20000+localPort.Add(1))), Remote: endpoint(to, port)}
	if !h.bottom.Connect(s.Index(), flow, pool.NIC) {
		h.t.Fatal("Connect refused")
	}
	check(h.t, s.SetDeadline(true, true, time.Now().Add(2*patience)))
	return s, s.Connected()
}

func (h *host) listen(addr string, port int) *half.Socket {
	h.t.Helper()
	l, err := h.top.Open()
	check(h.t, err)
	h.bottom.SetMTU(l.Index(), h.mtu)
	l.Listen(endpoint(addr, port), 16)
	return l
}

// accept waits for a connection: the listener's deadline is this one's, whatever the test
// has done before.
func (h *host) accept(l *half.Socket) *half.Socket {
	h.t.Helper()
	check(h.t, l.SetDeadline(true, true, time.Now().Add(patience)))
	s, err := l.Accept()
	check(h.t, err)
	return s
}

// stream is what a connection of either stack can do.
type stream = testnet.Stream

func octets(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

// exchange sends octets both ways at once, and wants them whole.
func exchange(t *testing.T, a, b stream, n int) {
	t.Helper()
	testnet.Exchange(t, a, b, octets(1, n), octets(2, n+1))
}

// kernelListener accepts one connection in the kernel.
func (h *host) kernelListener(addr string) (port int, accepted chan *net.TCPConn) {
	l := h.net.Listen("tcp", net.JoinHostPort(addr, "0"))
	accepted = make(chan *net.TCPConn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c.(*net.TCPConn)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, accepted
}

func TestOctetsToAndFromTheKernel(t *testing.T) {
	for _, row := range []struct {
		name    string
		mtu     int
		offload bool
		lose    uint32
		v6      bool
		n       int
	}{
		{"1500", 1500, true, 0, false, 8 << 20},
		{"1500 IPv6", 1500, true, 0, true, 8 << 20},
		{"1500 without offloads", 1500, false, 0, false, 5 << 20},
		{"1280 IPv6 without offloads", 1280, false, 0, true, 5 << 20},
		{"9000", 9000, true, 0, false, 8 << 20},
		{"9000 without offloads", 9000, false, 0, true, 5 << 20},
		{"65521", 65521, true, 0, false, 8 << 20},
		{"losses", 1500, true, 100, false, 2 << 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHost(t, row.mtu, row.offload)
			ours, theirs := our4, kernel4
			if row.v6 {
				ours, theirs = our6, kernel6
			}
			port, accepted := h.kernelListener(theirs)
			c, err := h.dial(ours, theirs, port)
			check(t, err)
			h.lose.Store(row.lose)
			exchange(t, c, <-accepted, row.n)
			l := h.listen(ours, 80)
			defer l.Close()
			k, err := h.net.Dial(&net.Dialer{Timeout: patience}, "tcp", net.JoinHostPort(ours, "80"))
			check(t, err)
			s := h.accept(l)
			exchange(t, s, k.(*net.TCPConn), row.n)
			t.Logf("%+v", *h.drv.Counters())
		})
	}
}
