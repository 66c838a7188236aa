package usertcp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"usertcp/internal/perf/proc"
	"usertcp/internal/testhost"
)

func init() {
	testhost.Register(map[string]func(args []string) error{"idle": programIdle, "pump": programPump})
}

// programIdle ADDRESS N opens N connections and keeps them.
func programIdle(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conns := make([]net.Conn, 0, n)
	for range n {
		c, err := DialTimeout("tcp", args[0], time.Minute)
		if err != nil {
			return fmt.Errorf("after %d connections: %w", len(conns), err)
		}
		conns = append(conns, c)
	}
	say("connected")
	hear()
	for _, c := range conns {
		c.Close()
	}
	return nil
}

// programPump ADDRESS [CPUS] sends without end, from one of these CPUs.
func programPump(args []string) error {
	if len(args) > 1 {
		cpus, err := proc.ParseCPUs(args[1])
		if err != nil {
			return err
		}
		if err := proc.Pin(cpus); err != nil {
			return err
		}
	}
	c, err := DialTimeout("tcp", args[0], time.Minute)
	if err != nil {
		return err
	}
	for b := make([]byte, 64<<10); ; {
		if _, err := c.Write(b); err != nil {
			return nil
		}
	}
}

// idlePerHost is how many connections one host opens to an endpoint: its ports bound it.
const idlePerHost = 25_000

// Beside many idle connections a busy one is what it is without them; what they cost
// is told: octets of the segment for each, CPU time in a second in which nothing goes
// on (of both ends, their children and servers), and throughput of the busy one,
// which is measured before they come and while they are there. USERTCP_IDLE says how
// many, 1,000 if it is not set; 100,000 take eight hosts and a minute. They are those of
// USERTCP_IDLE_PROGRAMS programs, 6 if it is not set.
func TestIdleConnections(t *testing.T) {
	n, programs := fromEnviron(t, "USERTCP_IDLE", 1000), fromEnviron(t, "USERTCP_IDLE_PROGRAMS", 6)
	programs = max(programs, parts(n, idlePerHost))
	onOneHost := max(1, idlePerHost/parts(n, programs))
	hosts := testhost.Ring(t, 2+parts(programs, onOneHost))
	l := listenVia(t, hosts[0].Attach(t), net.JoinHostPort(hosts[0].Addr.String(), "7000"))
	busy := pumpedFrom(t, hosts[1].Socket, l)
	looks, tries := 8, 5
	large := n >= idlePerHost || programs > 6 // for the figure; elsewhere it does not say enough to wait for
	if large {
		looks, tries = 80, 10
	}
	alone, where := pumpedWhere(t, busy, looks, 0, tries)
	before := segments(t, os.Getpid())

	var idle []*testhost.Process
	for k := range programs {
		idle = append(idle, testhost.Run(t, hosts[2+k/onOneHost].Socket, "idle", l.Addr().String(), strconv.Itoa(share(n, programs, k))))
	}
	for range n {
		accept(t, l)
	}
	for _, p := range idle {
		p.Want("connected")
	}
	each := float64(segments(t, os.Getpid())-before) / float64(n) // before the busy one takes more buffers than it had
	if large {
		time.Sleep(20 * time.Second) // until first keep-alives are over, and children know that they are idle
	}
	beside, there := pumpedWhere(t, busy, looks, where, tries)
	for end := time.Now().Add(patience); sameState(where, there) && beside < alone/10 && time.Now().Before(end); {
		beside, there = pumpedWhere(t, busy, looks, where, 1) // others use this machine, too
	}
	time.Sleep(time.Second) // until nothing is on its way
	cpu := cpuOfFamily(t)
	time.Sleep(2 * time.Second)
	cpu = (cpuOfFamily(t) - cpu) / 2
	t.Logf("%d idle connections to %d programs: %.0f octets for each, %v of CPU in a second; a busy one beside them %.1f Gbit/s with CPUs %v apart, without them %.1f, %v: %.2f",
		n, programs, each, cpu, beside, there, alone, where, beside/alone)
	if each > float64(4096+programs<<16/n) { // and 64 KiB for a circuit
		t.Errorf("%.0f octets for an idle connection", each)
	}
	if cpu > 500*time.Millisecond+time.Duration(n)*3*time.Microsecond { // others use this machine
		t.Errorf("%v of CPU in a second in which nothing goes on", cpu)
	}
	if sameState(where, there) && beside < alone/10 {
		t.Errorf("the busy connection has %.2f of its throughput left", beside/alone)
	}
}

// pumpedFrom returns a connection on which a program sends without end, from a CPU that is not
// pumped's, if there are two: where the scheduler may put them it puts them well or not, for
// seconds, and that is more than idle connections can cost.
func pumpedFrom(t *testing.T, socket string, l *Listener) net.Conn {
	t.Helper()
	args := []string{l.Addr().String()}
	if cpus := twoCPUs(t); len(cpus) > 1 {
		args = append(args, strconv.Itoa(cpus[1]))
	}
	testhost.Run(t, socket, "pump", args...)
	return accept(t, l)
}

// twoCPUs returns the first two CPUs that are ours, or the only one.
func twoCPUs(t *testing.T) []int {
	t.Helper()
	cpus, err := proc.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	return cpus[:min(2, len(cpus))]
}

// fromEnviron returns the number that an environment variable says.
func fromEnviron(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is no number of anything", name, s)
	}
	return n
}

// pumpedWhere is pumped, and says how far apart the CPUs were (proc.Distance), on which
// the throughput depends most of all where both ends have one. It tries again when they have
// moved meanwhile, or are not as far apart as they were, if that is given.
func pumpedWhere(t *testing.T, busy net.Conn, looks int, as time.Duration, tries int) (gbits float64, where time.Duration) {
	t.Helper()
	for try := 1; ; try++ {
		before := apart(t)
		busy.SetDeadline(time.Now().Add(patience))
		gbits = pumped(t, busy, looks)
		where = apart(t)
		if sameState(before, where) && (as == 0 || sameState(as, where)) || try == tries {
			return gbits, where
		}
	}
}

// apart is how far apart the first two CPUs are, 0 if that is not known.
func apart(t *testing.T) time.Duration {
	t.Helper()
	cpus := twoCPUs(t)
	if len(cpus) < 2 {
		return 0
	}
	d, err := proc.Distance(cpus[0], cpus[1])
	if err != nil {
		return 0
	}
	return d
}

// sameState reports whether the CPUs were as far apart here as there, if it is known.
func sameState(a, b time.Duration) bool {
	return a == 0 || b == 0 || 10*max(a, b) <= 16*min(a, b)
}

// The child of a program that does nothing wakes up seldom.
func TestChildOfAnIdleProgramRests(t *testing.T) {
	_, socket := peers(t)
	p, address, child := listening(t, socket, "listen")
	c := dialed(t, address)
	defer c.Close()
	p.Want("accepted")
	const most = 60 // in two seconds: with 40 ticks by Go's timers it is 270, by the kernel's 90
	for end := time.Now().Add(patience); ; {
		before := switches(t, child)
		time.Sleep(2 * time.Second)
		n := switches(t, child) - before
		if n <= most {
			t.Logf("%d context switches in two seconds", n)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d context switches in two seconds", n)
		}
	}
}

// switches returns how often a process has given a CPU up.
func switches(t *testing.T, pid int) int64 {
	t.Helper()
	n, err := proc.Switches(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// parts is how many parts of size k it takes for n.
func parts(n, k int) int { return (n + k - 1) / k }

// share is the k-th of parts nearly equal parts of n.
func share(n, parts, k int) int { return n*(k+1)/parts - n*k/parts }

// pumped returns the throughput of a connection on which the peer sends without end, and
// which is read on the first CPU, in Gbit/s: the upper quartile of so many looks of 100 ms. There
// are times, on a virtual machine, in which all that two CPUs do together is slower.
func pumped(t *testing.T, c net.Conn, looks int) float64 {
	t.Helper()
	var rates []float64
	err := proc.On(twoCPUs(t)[0], func() error {
		for range looks {
			rate, err := readFor(c, 100*time.Millisecond)
			if err != nil {
				return err
			}
			rates = append(rates, rate)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rates)
	return rates[len(rates)*3/4]
}

// readFor reads for so long, and returns how many Gbit/s that were.
func readFor(c net.Conn, d time.Duration) (float64, error) {
	b := make([]byte, 64<<10)
	got, began := 0, time.Now()
	for time.Since(began) < d {
		n, err := io.ReadFull(c, b)
		if err != nil {
			return 0, err
		}
		got += n
	}
	return 8 * float64(got) / time.Since(began).Seconds() / 1e9, nil
}

// cpuOfFamily returns the CPU time of this process and all that it has started.
func cpuOfFamily(t *testing.T) time.Duration {
	t.Helper()
	ticks := 0
	for _, pid := range append(testhost.Children(os.Getpid()), os.Getpid()) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, f := range fields[11:13] { // utime, stime
			k, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			ticks += k
		}
	}
	return time.Duration(ticks) * time.Second / 100
}
