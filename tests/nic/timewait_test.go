package nic_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/testhost"
	"usertcp/internal/testnet"
	"usertcp/internal/wire"
)

// sniffer sees the frames of a device, and sends some.
type sniffer struct {
	t  *testing.T
	fd int
}

func newSniffer(t *testing.T, in *testnet.Namespace, device string) *sniffer {
	t.Helper()
	s := &sniffer{t: t}
	index := in.Index(device)
	in.Do(func() {
		var err error
		const all = uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // in network order
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		check(t, err)
		check(t, unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}))
	})
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// next waits for a frame with a TCP segment that is what is asked for.
func (s *sniffer) next(what string, is func(ip *wire.IP, seg *wire.TCP) bool) (frame []byte, seg wire.TCP) {
	s.t.Helper()
	buf := make([]byte, 1<<17)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		n, err := unix.Read(s.fd, buf)
		if err != nil || n < 34 {
			time.Sleep(time.Millisecond)
			continue
		}
		var ip wire.IP
		if wire.ParseIP(buf[14:n], &ip) != nil || ip.Proto != wire.ProtoTCP {
			continue
		}
		if _, err := wire.ParseTCP(buf[14+ip.HeaderLen:14+ip.TotalLen], &seg); err == nil && is(&ip, &seg) {
			return append([]byte(nil), buf[:n]...), seg
		}
	}
	s.t.Fatal("no " + what)
	return nil, seg
}

func (s *sniffer) send(frame []byte) {
	s.t.Helper()
	_, err := unix.Write(s.fd, frame)
	check(s.t, err)
}

// wantNoChild waits until a host has no child any more.
func (h *host) wantNoChild() {
	h.t.Helper()
	within(h.t, "a child stays", func() bool {
		for _, pid := range testhost.Children(h.server.Pid()) {
			if testhost.Running(pid) {
				return false
			}
		}
		return true
	})
}

// Connections in TIME-WAIT over a device keep no child: the server answers for them, and
// so does the next server.
func TestTimeWaitKeepsNoChild(t *testing.T) {
	for name, ends := range map[string][2]string{"IPv4": {testnet.PairA4, testnet.PairB4}, "IPv6": {testnet.PairA6, testnet.PairB6}} {
		t.Run(name, func(t *testing.T) { timeWaitKeepsNoChild(t, ends[0], ends[1]) })
	}
}

func timeWaitKeepsNoChild(t *testing.T, ours, theirs string) {
	a, nb := newHost2(t)
	nb.SetOffloads("vb", false) // whole checksums, as on a wire
	ua := a.attach()
	to, accepted := kernelAccept(t, nb, theirs)
	c, err := dial(ua, to)
	check(t, err)
	k := <-accepted
	first := newSniffer(t, nb, "vb")
	local := c.Flow().Local
	exchangeOnly(t, c, k)
	check(t, c.Close())
	_, err = io.ReadAll(k)
	check(t, err)
	k.Close()
	fin, seg := first.next("FIN", func(ip *wire.IP, s *wire.TCP) bool {
		return ip.Src.Netip().String() == theirs && s.Flags&wire.FIN != 0
	})
	ua.Close()
	a.wantNoChild()
	wantAck := func() {
		t.Helper()
		again := newSniffer(t, nb, "vb")
		again.send(fin)
		_, got := again.next("answer", func(ip *wire.IP, s *wire.TCP) bool {
			return ip.Src.Netip().String() == ours && s.SrcPort == local.Port
		})
		if got.Flags != wire.ACK || got.Ack != seg.Seq.Add(1) || got.Seq != seg.Ack {
			t.Errorf("the answer to the FIN that came again: %+v, want an acknowledgement of %d", got, seg.Seq.Add(1))
		}
	}
	wantAck()
	// The same four numbers are nobody else's.
	ua2 := a.attach()
	if _, err := ua2.Connect(t.Context(), local, to); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("the same connection again: %v", err)
	}
	ua2.Close()
	a.server.Kill(syscall.SIGKILL)
	a.server.Wait()
	a.start()
	wantAck()
}

// newHost2 is pair with a kernel at the other end.
func newHost2(t *testing.T) (a *host, nb *testnet.Namespace) {
	t.Helper()
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	return newHost(t, na, "va,lo"), nb
}

// exchangeOnly sends octets both ways and closes nothing.
func exchangeOnly(t *testing.T, a, b stream) {
	t.Helper()
	for _, way := range [][2]stream{{a, b}, {b, a}} {
		_, err := way[0].Write([]byte("hello"))
		check(t, err)
		_, err = io.ReadFull(way[1], make([]byte, 5))
		check(t, err)
	}
}

// A younger SYN opens a connection anew whose TIME-WAIT the server keeps (RFC 6191), at a
// listener of another program, and at once.
func TestASynEndsTimeWaitOfTheServers(t *testing.T) {
	a, nb := newHost2(t)
	at := end(testnet.PairA4, 80)
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(testnet.PairB4 + ":5555"))}
	for n := range 3 {
		ua := a.attach()
		l, _ := listen(t, ua, at)
		k, err := nb.Dial(&d, "tcp", at.Netip().String())
		check(t, err)
		if again := kernelInfo(t, k.(*net.TCPConn)).Total_retrans; again != 0 {
			t.Errorf("connection %d: its SYN had to come again, %d times", n, again)
		}
		c, err := l.Accept()
		check(t, err)
		exchangeOnly(t, c, k.(*net.TCPConn))
		check(t, c.Close())
		_, err = io.ReadAll(k)
		check(t, err)
		k.Close()
		ua.Close()
		a.wantNoChild()
	}
}
