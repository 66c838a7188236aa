package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp"
	"usertcp/internal/testhost"
)

// window is how long throughput is measured at a time, and pause what lies between two
// measurements, for the one to be stopped and the other to begin.
const (
	window = 300 * time.Millisecond
	pause  = 60 * time.Millisecond
)

// otherUser is whose the hostile programs are.
const otherUser = "65534"

// BenchmarkBeside measures an honest stream beside each hostile program: each turn beside
// it, beside a harmless program that uses as much of the CPUs as it and its child did,
// and alone. The hostile program's CPU time is its right, as it is anybody's; what it
// costs others beyond that is not. Reported are the medians of the turns:
//
//	of-harmless  throughput beside the hostile program to that beside the harmless one
//	of-alone     … to that without either
//	cpus         CPUs that the hostile program and its child used
//	server-cpus  CPUs that its server used meanwhile
func BenchmarkBeside(b *testing.B) {
	for _, way := range sortedWays() {
		b.Run(way, func(b *testing.B) { beside(b, way) })
	}
}

func sortedWays() (names []string) {
	for way := range ways {
		names = append(names, way)
	}
	slices.Sort(names)
	return names
}

// stage is two hosts whose servers are processes, as are the ends of the honest stream.
type stage struct {
	b        *testing.B
	way      string
	from, to *testhost.Host
	server   int
	sink     *testhost.Process
	hostile  *testhost.Process
	child    int
	harmless *testhost.Process
}

func beside(b *testing.B, way string) {
	s := newStage(b, way)
	var ofHarmless, ofAlone, cpus, serverCPUs []float64
	for range b.N {
		s.wake()
		with, used, server := s.measure(s.used, func() time.Duration { return cpuTime(s.server) })
		s.hush()
		s.harmless.Say(fmt.Sprint(used))
		s.harmless.Want("burning")
		harmless, burnt, _ := s.measure(func() time.Duration { return cpuTime(s.harmless.Pid()) }, s.used)
		s.harmless.Say("0")
		s.harmless.Want("burning")
		alone, _, _ := s.measure(s.used, s.used)
		b.Logf("MB/s beside the hostile program %.0f, beside the harmless one %.0f, alone %.0f; CPUs %.2f and %.2f, server's %.2f",
			with/1e6, harmless/1e6, alone/1e6, used, burnt, server)
		ofHarmless, ofAlone = append(ofHarmless, with/harmless), append(ofAlone, with/alone)
		cpus, serverCPUs = append(cpus, used), append(serverCPUs, server)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ofHarmless), "of-harmless")
	b.ReportMetric(median(ofAlone), "of-alone")
	b.ReportMetric(median(cpus), "cpus")
	b.ReportMetric(median(serverCPUs), "server-cpus")
}

func newStage(b *testing.B, way string) *stage {
	dir := testhost.Dir(b)
	if err := os.Chmod(dir, 0o755); err != nil { // for programs of other users
		b.Fatal(err)
	}
	s := &stage{b: b, way: way}
	var server *testhost.Process
	s.from, server = testhost.StartProcess(b, dir, testhost.Addrs(0)...)
	s.to, _ = testhost.StartProcess(b, dir, testhost.Addrs(1)...)
	s.server = server.Pid()
	s.sink = testhost.Run(b, s.to.Socket, "sink", netip.AddrPortFrom(s.to.Addr, 7).String(), netip.AddrPortFrom(s.to.Addr, 666).String())
	s.sink.Want("listening")
	testhost.Run(b, s.from.Socket, "source", netip.AddrPortFrom(s.to.Addr, 7).String()).Want("connected")
	s.harmless = testhost.Run(b, s.from.Socket, "harmless")
	return s
}

// wake has the hostile program at work. Some do not survive what they do.
func (s *stage) wake() {
	if s.hostile != nil && testhost.Running(s.hostile.Pid()) {
		s.hostile.Kill(syscall.SIGCONT)
	} else {
		before := testhost.Children(s.server)
		args := []string{netip.AddrPortFrom(s.to.Addr, 666).String(), s.way}
		if os.Geteuid() == 0 {
			args = append(args, otherUser) // root's programs have no limits
		}
		s.hostile = testhost.Run(s.b, s.from.Socket, "hostile", args...)
		s.hostile.Want("begun")
		for _, pid := range testhost.Children(s.server) {
			if !slices.Contains(before, pid) {
				s.child = pid
			}
		}
	}
}

func (s *stage) hush() { syscall.Kill(s.hostile.Pid(), syscall.SIGSTOP) }

// used returns the CPU time of the hostile program and its child.
func (s *stage) used() time.Duration { return cpuTime(s.hostile.Pid()) + cpuTime(s.child) }

// measure returns how many octets per second the honest stream carries, and how many
// CPUs are used of which x and y tell the time.
func (s *stage) measure(x, y func() time.Duration) (rate, xCPUs, yCPUs float64) {
	time.Sleep(pause)
	began, before, xBefore, yBefore := time.Now(), s.count(), x(), y()
	time.Sleep(window)
	rate, xCPUs, yCPUs = float64(s.count()-before), float64(x()-xBefore), float64(y()-yBefore)
	took := time.Since(began)
	return rate / took.Seconds(), max(0, xCPUs/float64(took)), max(0, yCPUs/float64(took)) // some have died meanwhile
}

func (s *stage) count() int {
	s.sink.Say("count")
	n, err := strconv.Atoi(s.sink.Want("read"))
	if err != nil {
		s.b.Fatal(err)
	}
	return n
}

// cpuTime returns the CPU time of a process so far, 0 if it has ended: by the clock that
// clock_getcpuclockid(3) would name.
func cpuTime(pid int) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|2), &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func init() {
	testhost.Programs["sink"] = sink
	testhost.Programs["source"] = source
	testhost.Programs["harmless"] = harmless
}

// sink gets ADDRESS HOSTILE: it reads what comes at either, and says how many octets
// have come at the first when it is asked.
func sink(args []string) int {
	var total atomic.Int64
	for k, address := range args {
		l, err := usertcp.Listen("tcp", address)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for buf := make([]byte, 64<<10); ; {
						n, err := c.Read(buf)
						if k == 0 {
							total.Add(int64(n))
						}
						if err != nil {
							return
						}
					}
				}()
			}
		}()
	}
	fmt.Println("listening")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("read", total.Load())
	}
	return 0
}

func source(args []string) int {
	c, err := usertcp.Dial("tcp", args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("connected")
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for buf := make([]byte, 64<<10); err == nil; {
		_, err = c.Write(buf)
	}
	return 1
}

// burn is one of the threads with which this process uses a share of the CPUs, in the
// hostile programs' rhythm, since each waking takes a CPU from somebody; time that it
// could not have it makes up for. What waking costs is part of the share. Thread k works
// if the share is more than k CPUs.
func burn(k int64, share *atomic.Int64) {
	const slice = breath
	for {
		began, used, want := time.Now(), cpuTime(os.Getpid()), share.Load()
		for share.Load() == want {
			if want <= k*1000 {
				sleep(10 * time.Millisecond)
				continue
			}
			due := time.Since(began) * time.Duration(want) / 1000
			if over := cpuTime(os.Getpid()) - used - due; over >= 0 {
				sleep(min(10*time.Millisecond, max(slice, over*1000/time.Duration(want))))
				continue
			}
			for spun := time.Now(); time.Since(spun) < slice/2; {
			}
		}
	}
}

// sleep sleeps in the kernel: Go's scheduler would wake other threads for it.
func sleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&t, nil)
}

// harmless uses as many CPUs as each line says, in threads that work and sleep.
func harmless([]string) int {
	var share atomic.Int64 // thousandths of a CPU
	for k := range int64(4) {
		go func() {
			runtime.LockOSThread()
			burn(k, &share)
		}()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		all, _ := strconv.ParseFloat(strings.TrimSpace(in.Text()), 64)
		share.Store(int64(all * 1000))
		fmt.Println("burning")
	}
	return 0
}
