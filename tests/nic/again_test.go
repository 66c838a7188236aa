package nic_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp"
	"usertcp/internal/half"
	"usertcp/internal/testhost"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// fewPorts is how many ephemeral ports a host of these tests has: no block of them can be
// leased, so that each connection is asked for.
const fewPorts = 5

// lowPort is the first of them.
const lowPort = 40000

func init() {
	testhost.Programs["asker"] = asker
}

// asker gets ADDRESS USER: as that user it dials once, is answered, and says by which port,
// or why not.
func asker(args []string) int {
	uid, _ := strconv.Atoi(args[1])
	if err := errors.Join(syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
		fmt.Println(err)
		return 1
	}
	c, err := usertcp.Dial("tcp", args[0])
	if err != nil {
		fmt.Println(err)
		return 0
	}
	c.Write([]byte{1})
	if _, err = io.ReadFull(c, make([]byte, 1)); err == nil {
		_, port, _ := net.SplitHostPort(c.LocalAddr().String())
		fmt.Println("port", port)
	}
	c.Close()
	return 0
}

// tight returns two hosts on a wire of which a has few ephemeral ports, with other users'
// programs too.
func tight(t *testing.T, arguments ...string) (a, b *host) {
	t.Helper()
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	na.Do(func() {
		check(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", lowPort, lowPort+fewPorts-1), 0))
	})
	for i, h := range []**host{&a, &b} {
		var args []string
		if len(arguments) > 0 {
			args = arguments[i : i+1]
		}
		*h = newHost(t, []*testnet.Namespace{na, nb}[i], []string{"va,lo", "vb,lo"}[i], args...)
		check(t, os.Chmod(filepath.Dir((*h).args[0]), 0o755))
	}
	return a, b
}

// peers are what listens at host b, of either stack.
func peers(t *testing.T, b *host) map[string]wire.Endpoint {
	t.Helper()
	l, at := listen(t, b.attach(), end(testnet.PairB4, 80))
	check(t, l.SetDeadline(true, true, time.Time{}))
	go answerAll(func() (stream, error) { return l.Accept() })
	return map[string]wire.Endpoint{"user": at, "kernel": wire.EndpointFrom(answered(t, b).Addr().(*net.TCPAddr).AddrPort())}
}

// oneAfterTheOther lets programs dial to once each, and returns by which ports.
func oneAfterTheOther(t *testing.T, a *host, to wire.Endpoint, programs int) (ports []uint16) {
	t.Helper()
	for range programs {
		s := a.attach()
		ports = append(ports, ask1(t, s, to))
		check(t, s.Close())
		a.wantNoChild()
	}
	return ports
}

// wantAllPorts wants that all ports that there are were used, and more connections made.
func wantAllPorts(t *testing.T, ports []uint16) {
	t.Helper()
	used := slices.Compact(slices.Sorted(slices.Values(ports)))
	if len(used) != fewPorts || len(ports) <= fewPorts {
		t.Errorf("%d connections by ports %v, want all %d", len(ports), used, fewPorts)
	}
}

// Short programs that dial once each are more than there are ports: each port comes again,
// with TIME-WAIT of the program that had it before, to the kernel's TCP and to ours. Another
// user gets none of them, and leaves them as they are.
func TestShortProgramsUsePortsInTimeWaitAgain(t *testing.T) {
	for _, name := range []string{"user", "kernel"} {
		t.Run(name, func(t *testing.T) {
			a, b := tight(t)
			to := peers(t, b)[name]
			wantAllPorts(t, oneAfterTheOther(t, a, to, 3*fewPorts))
			other := testhost.Run(t, a.args[0], "asker", to.Netip().String(), "4242")
			if said := other.Line(); !strings.Contains(said, syscall.EADDRNOTAVAIL.Error()) {
				t.Errorf("another user: %s", said)
			}
			other.Wait()
			wantAllPorts(t, oneAfterTheOther(t, a, to, fewPorts+1))
			same := testhost.Run(t, a.args[0], "asker", to.Netip().String(), "0")
			same.Want("port ")
			same.Wait()
		})
	}
}

// untilFree dials until a port is free, which is long before TIME-WAIT is over.
func untilFree(t *testing.T, s *user.Stack, to wire.Endpoint) *half.Socket {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := dial(s, to)
		if err == nil {
			return c
		}
		if !errors.Is(err, syscall.EADDRNOTAVAIL) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// One program that dials again and again uses its own ports again, which it has by asking, also
// where they are in TIME-WAIT to another end; one that has all ports open gets none.
func TestAProgramUsesItsOwnPortsInTimeWaitAgain(t *testing.T) {
	a, b := tight(t)
	s := a.attach()
	for name, to := range peers(t, b) {
		t.Run(name, func(t *testing.T) { usesItsPortsAgain(t, s, to) })
	}
}

func usesItsPortsAgain(t *testing.T, s *user.Stack, to wire.Endpoint) {
	t.Helper()
	var ports []uint16
	for range 3 * fewPorts {
		c := untilFree(t, s, to)
		oneOctet(t, c)
		ports = append(ports, c.Flow().Local.Port)
		check(t, c.Close())
	}
	wantAllPorts(t, ports)
	for range fewPorts {
		defer untilFree(t, s, to).Close()
	}
	if _, err := dial(s, to); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("with all ports in use: %v", err)
	}
}

// On a ring whose addresses are the kernel's, too, no ports are lent.
func TestAProgramByTheRingUsesItsOwnPortsAgain(t *testing.T) {
	dir := testhost.Dir(t)
	a, b := tight(t, "ring="+dir+","+testnet.PairA4, "ring="+dir+","+testnet.PairB4)
	usesItsPortsAgain(t, a.attach(), peers(t, b)["user"])
}

// By the ring short programs use ports again when packets of the program before cannot be
// on their way any more.
func TestShortProgramsByTheRingUsePortsAgain(t *testing.T) {
	dir := testhost.Dir(t)
	a, b := tight(t, "ring="+dir+",10.77.0.1", "ring="+dir+",10.77.0.2")
	l, to := listen(t, b.attach(), end("10.77.0.2", 80))
	check(t, l.SetDeadline(true, true, time.Time{}))
	go answerAll(func() (stream, error) { return l.Accept() })
	var ports []uint16
	for range 3 * fewPorts {
		s := a.attach()
		c := untilFree(t, s, to)
		oneOctet(t, c)
		ports = append(ports, c.Flow().Local.Port)
		check(t, c.Close())
		check(t, s.Close())
		a.wantNoChild()
	}
	wantAllPorts(t, ports)
}

// oneOctet sends an octet to an end that sends it back.
func oneOctet(t *testing.T, c stream) {
	t.Helper()
	_, err := c.Write([]byte{1})
	check(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	check(t, err)
}

// A child may die while it is given a port in TIME-WAIT: its successor asks for another one,
// and no port is lost by that.
func TestAChildDiesOverAPortInTimeWait(t *testing.T) {
	a, b := tight(t)
	to := peers(t, b)["kernel"]
	oneAfterTheOther(t, a, to, fewPorts)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 8 {
		s := a.attach()
		child := testhost.Children(a.server.Pid())
		killed := make(chan error, 1)
		go func(after time.Duration) {
			time.Sleep(after)
			killed <- syscall.Kill(child[len(child)-1], syscall.SIGKILL)
		}(time.Duration(rng.IntN(1500)) * time.Microsecond)
		c := untilFree(t, s, to)
		oneOctet(t, c)
		check(t, c.Close())
		check(t, <-killed)
		check(t, s.Close())
		a.wantNoChild()
	}
	time.Sleep(200 * time.Millisecond)
	wantAllPorts(t, oneAfterTheOther(t, a, to, fewPorts+1))
}
