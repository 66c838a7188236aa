package nic_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/tcp"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// ecn is what two ends agree upon.
type ecn string

const (
	ecnNone     ecn = "none"
	ecnClassic  ecn = "RFC 3168"
	ecnAccurate ecn = "RFC 9768"
)

// agreed is what comes of the settings of both ends, whose numbers are those of Linux's
// tcp_ecn on either side.
func agreed(asks, answers int) ecn {
	classic := asks == tcp.ECNOn || asks == tcp.ECNAccurate || asks == tcp.ECNAcceptAccurate
	switch {
	case asks == tcp.ECNAccurate && answers >= tcp.ECNAccurate:
		return ecnAccurate
	case classic && answers != tcp.ECNOff:
		return ecnClassic
	}
	return ecnNone
}

// setECN sets tcp_ecn of a namespace; it reports false if the kernel does not know the
// value.
func setECN(in *testnet.Namespace, v int) (ok bool) {
	in.Do(func() {
		ok = os.WriteFile("/proc/sys/net/ipv4/tcp_ecn", fmt.Append(nil, v), 0) == nil
	})
	return ok
}

// useECN is the socket option.
func useECN(v int) user.Setup {
	return func(s *half.Socket) error { return s.SetOption(half.LevelUser, half.OptionECN, v) }
}

// kernelInfo is TCP_INFO of a connection of the kernel's.
func kernelInfo(t *testing.T, c *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	var i *unix.TCPInfo
	var bad error
	check(t, raw.Control(func(fd uintptr) { i, bad = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	check(t, bad)
	return i
}

// turns lets each end send some octets, and the other have them.
func turns(t *testing.T, ends ...io.ReadWriter) {
	t.Helper()
	for n := range 6 {
		from, to := ends[n%2], ends[1-n%2]
		b := make([]byte, 20_000)
		_, err := from.Write(b)
		check(t, err)
		_, err = io.ReadFull(to, b)
		check(t, err)
	}
}

// wantECN checks what both ends say, of the agreement and of what came.
func wantECN(t *testing.T, s *half.Socket, k *net.TCPConn, want ecn) {
	t.Helper()
	u, err := s.Info()
	check(t, err)
	i := kernelInfo(t, k)
	const optECN, optSeen = 8, 16 // TCPI_OPT_ECN, TCPI_OPT_ECN_SEEN
	if u.ECN != (want != ecnNone) || u.AccECN != (want == ecnAccurate) || i.Options&optECN != 0 != (want != ecnNone) {
		t.Errorf("want %s: ours says %v, accurate %v, the kernel's options are %#x", want, u.ECN, u.AccECN, i.Options)
	}
	if seen := i.Options&optSeen != 0; seen != (want != ecnNone) {
		t.Errorf("want %s: that the kernel has seen marks of ours is %v", want, seen)
	}
	if want != ecnAccurate {
		return
	}
	const sent = 60_000
	if u.ECNReceived.ECT0Bytes != sent || i.Received_e0_bytes != sent {
		t.Errorf("octets with ECT(0): %d came to us, %d to the kernel, want %d", u.ECNReceived.ECT0Bytes, i.Received_e0_bytes, sent)
	}
	if u.ECNDelivered.ECT0Bytes == 0 || i.Delivered_e0_bytes == 0 {
		t.Errorf("octets with ECT(0) that the other end told of: us %d, the kernel %d", u.ECNDelivered.ECT0Bytes, i.Delivered_e0_bytes)
	}
	if u.ECNReceived.CE+u.ECNDelivered.CE+i.Received_ce+i.Delivered_ce != 0 {
		t.Error("somebody counts marks of congestion that nobody made:", u.ECNReceived, u.ECNDelivered, i.Received_ce, i.Delivered_ce)
	}
}

// Both stacks agree on what the settings of both allow, whoever opens.
func TestECNIsAgreedUponWithTheKernel(t *testing.T) {
	a, b := pair(t, 1500)
	ua := a.attach()
	for _, kernel := range []int{tcp.ECNOff, tcp.ECNOn, tcp.ECNPassive, tcp.ECNAccurate} {
		if !setECN(b.Namespace, kernel) {
			t.Logf("this kernel has no tcp_ecn = %d", kernel)
			continue
		}
		for ours := tcp.ECNOff; ours <= tcp.ECNPassiveAccurate; ours++ {
			t.Run(fmt.Sprintf("we open with %d, the kernel has %d", ours, kernel), func(t *testing.T) {
				to, accepted := kernelAccept(t, b.Namespace, testnet.PairB4)
				s, err := dial(ua, to, useECN(ours))
				check(t, err)
				defer s.Close()
				k := (<-accepted).(*net.TCPConn)
				defer k.Close()
				k.SetDeadline(time.Now().Add(patience))
				turns(t, s, k)
				wantECN(t, s, k, agreed(ours, kernel))
			})
			t.Run(fmt.Sprintf("the kernel opens with %d, we have %d", kernel, ours), func(t *testing.T) {
				l, at := listen(t, ua, wire.Endpoint{}, useECN(ours))
				defer l.Close()
				k, err := kernelDial(b.Namespace, end(testnet.PairA4, int(at.Port)))
				check(t, err)
				defer k.Close()
				k.SetDeadline(time.Now().Add(patience))
				s, err := l.Accept()
				check(t, err)
				defer s.Close()
				turns(t, k, s)
				wantECN(t, s, k, agreed(kernel, ours))
			})
		}
	}
}
