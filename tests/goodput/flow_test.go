package goodput

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// result is what one flow of the kernel's TCP has made of a path.
type result struct {
	mbit    float64       // payload that the receiver has read, Mbit/s
	resent  float64       // share of the segments of data that were sent again
	queue   time.Duration // mean time in the bottleneck's queue
	slack   time.Duration // most that the shaper was late
	behind  float64       // share of the packets that left more than mostSlack too late
	ignored uint64        // packets that were lost elsewhere than on the path
	fair    bool
	counts  [4]uint64 // of the shaper: sent, dropped, lost, overtaken
}

// flow lets one flow of the kernel's TCP send over p for d.
func flow(t *testing.T, p path, congestion string, d time.Duration) result {
	t.Helper()
	a, b := testnet.New(t), testnet.New(t)
	s := newShaper(p, end(t, a, "10.9.0.1/24"), end(t, b, "10.9.0.2/24"))
	for _, n := range []*testnet.Namespace{a, b} {
		// Buffers grow to as much as the engine's table gives, and no flow inherits from another.
		n.Sysctl("ipv4/tcp_rmem", "4096 131072 16777216")
		n.Sysctl("ipv4/tcp_wmem", "4096 65536 16777216")
		n.Sysctl("ipv4/tcp_no_metrics_save", "1")
	}
	s.start()
	l := b.Listen("tcp4", "10.9.0.2:0")
	got := make(chan uint64)
	go func() { got <- receive(l, d) }()
	dialer := net.Dialer{Timeout: time.Minute, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
		})
		return err
	}}
	until := time.Now().Add(d)
	c, err := a.Dial(&dialer, "tcp4", l.Addr().String())
	if err != nil {
		s.stop()
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPERM) {
			t.Fatal(err)
		}
		t.Skipf("%s: %v", congestion, err)
	}
	send(c, until)
	info := tcpInfo(t, c)
	r := result{mbit: float64(<-got) * 8 / 1e6 / d.Seconds()}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	s.stop()
	r.resent = float64(info.Total_retrans) / float64(max(info.Data_segs_out, 1))
	r.queue = s.queued / time.Duration(max(s.sent, 1))
	r.slack, r.fair = s.slack, s.fair
	r.behind = float64(s.behind) / float64(max(s.sent, 1))
	r.ignored = drops(t, a) + drops(t, b)
	r.counts = [4]uint64{s.sent, s.dropped, s.lost, s.overtaken}
	return r
}

// end makes the device of a namespace and returns its descriptor.
func end(t *testing.T, n *testnet.Namespace, addr string) (fd int) {
	t.Helper()
	n.Do(func() {
		fd = tun(t, "path0")
		link, err := netlink.LinkByName("path0")
		if err != nil {
			t.Fatal(err)
		}
		ip, err := netlink.ParseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			netlink.LinkSetTxQLen(link, 10000), netlink.AddrAdd(link, ip), netlink.LinkSetMTU(link, 1500), netlink.LinkSetUp(link),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	return fd
}

// drops returns how many packets a namespace's device has lost.
func drops(t *testing.T, n *testnet.Namespace) (dropped uint64) {
	t.Helper()
	n.Do(func() {
		link, err := netlink.LinkByName("path0")
		if err != nil {
			t.Fatal(err)
		}
		s := link.Attrs().Statistics
		dropped = s.TxDropped + s.RxDropped + s.TxErrors + s.RxErrors
	})
	return dropped
}

// send writes without end until then.
func send(c net.Conn, until time.Time) {
	b := make([]byte, 64<<10)
	c.SetWriteDeadline(until)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// receive reads from the first connection for d, the handshake included, and
// returns how many octets came.
func receive(l net.Listener, d time.Duration) (n uint64) {
	until := time.Now().Add(d)
	c, err := l.Accept()
	if err != nil {
		return 0
	}
	defer c.Close()
	c.SetReadDeadline(until)
	b := make([]byte, 256<<10)
	for {
		k, err := c.Read(b)
		n += uint64(k)
		if err != nil {
			return n
		}
	}
}

func tcpInfo(t *testing.T, c net.Conn) *unix.TCPInfo {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil {
		t.Fatal(err)
	}
	return info
}
