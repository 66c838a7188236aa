package usertcp

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// Everything at once, again and again: streams, transactions, connections that come and
// go, HTTP, programs that are killed, and one that is handed over under load. When a
// round is over nothing may be in use; from the first rounds, in which pages are
// touched and pools filled, to the last neither memory nor descriptors nor goroutines
// may become more. USERTCP_SOAK says for how long; `make soak` for 10 minutes.
func TestSoak(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("the processes are looked at from outside; the race detector multiplies their memory")
	}
	s := newSoak(t, soakTime(t))
	for n := range s.rounds {
		t.Run(fmt.Sprint("round ", n), func(t *testing.T) { s.round(t, n) })
		if t.Failed() {
			return
		}
	}
	s.wantNoGrowth(t)
}

// soakTime is how long the rounds take together.
func soakTime(t *testing.T) time.Duration {
	text := os.Getenv("USERTCP_SOAK")
	if text == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal("USERTCP_SOAK: ", err)
	}
	return d
}

const maxRound = 20 * time.Second

// soak is the processes of the test, and what they were like after each round.
type soak struct {
	time        time.Duration // of a round
	rounds      int
	random      *rand.Rand
	askers      string // the socket of the first host
	socket      string // of the second
	serve, load *testhost.Process
	pids        map[string]int
	samples     []map[string]soakSample
	kills       int
	hands       int
}

// soakSample is one process after a round. Octets.
type soakSample struct {
	Anon, Segments int
	Files, Threads int
	Children       int // processes
	Goroutines     int // of programs
	Live           int // connections of a program, those in TIME-WAIT included
}

func newSoak(t *testing.T, d time.Duration) *soak {
	rounds := max(5, int(d/maxRound))
	s := &soak{time: d / time.Duration(rounds), rounds: rounds, random: seeded(t)}
	dir := testhost.Dir(t)
	h1, server1 := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	h2, server2 := testhost.StartProcess(t, dir, testhost.Addrs(2)...)
	useServer(t, h1.Socket)
	s.askers, s.socket = h1.Socket, h2.Socket
	s.serve = testhost.Run(t, h2.Socket, "soak-serve", h2.Addr.String())
	serveChild := childOf(t, s.serve)
	s.serve.Want("ready")
	s.load = testhost.Run(t, h1.Socket, "soak-load", h2.Addr.String())
	s.pids = map[string]int{
		"server 1": server1.Pid(), "server 2": server2.Pid(),
		"serving program": s.serve.Pid(), "serving child": serveChild,
		"asking program": s.load.Pid(), "asking child": childOf(t, s.load),
		"this program": os.Getpid(),
	}
	children = nil // they live on to the end
	return s
}

// round works for its time, waits until all is quiet, and looks at everybody.
func (s *soak) round(t *testing.T, n int) {
	s.load.Say("go")
	end := time.Now().Add(s.time)
	relay, _, done := relayed(t, s.socket)
	for hand := time.Now(); time.Now().Before(end); {
		s.kill(t)
		if time.Since(hand) > s.time/4 {
			s.hands++
			name := fmt.Sprint("soak", s.hands)
			relay.Say("exit " + name)
			relay.Want("handed")
			relay = take(t, s.socket, name)
			hand = time.Now()
		}
	}
	done()
	relay.Want("end")
	s.load.Say("stop")
	sample := s.look(t)
	s.samples = append(s.samples, sample)
	for _, name := range slices.Sorted(maps.Keys(sample)) {
		t.Logf("%-16s %+v", name, sample[name])
	}
}

// kill starts a program and kills it at some moment: when it begins, attaches, connects
// or sends.
func (s *soak) kill(t *testing.T) {
	p := testhost.Run(t, s.askers, "soak-victim", "10.1.0.2")
	time.Sleep(time.Duration(s.random.Int64N(int64(60 * time.Millisecond))))
	p.Kill(syscall.SIGKILL)
	p.Wait()
	s.kills++
	time.Sleep(s.time / 100)
}

// look returns what all processes are like, when nothing is in use any more.
func (s *soak) look(t *testing.T) map[string]soakSample {
	all := map[string]soakSample{}
	asking := s.report(t, s.load, "asking program", all)
	s.serve.Say("report")
	s.report(t, s.serve, "serving program", all)
	t.Logf("done so far: %v; killed %d, handed over %d", asking.Done, s.kills, s.hands)
	runtime.GC()
	debug.FreeOSMemory()
	for name, pid := range s.pids {
		a := all[name]
		if pid == os.Getpid() {
			a.Goroutines = runtime.NumGoroutine()
		}
		st := status(t, pid)
		a.Anon, a.Segments = st["RssAnon"], segments(t, pid)
		a.Files, a.Threads, a.Children = entries(t, pid, "fd"), entries(t, pid, "task"), len(testhost.Children(pid))
		all[name] = a
	}
	return all
}

// report waits for a program's, and holds it to having nothing in use.
func (s *soak) report(t *testing.T, p *testhost.Process, name string, all map[string]soakSample) (r soakReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(p.Want("report")), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Usage.Idle() {
		t.Errorf("%s: buffers are in use, and nobody uses them: %+v", name, r.Usage)
	}
	all[name] = soakSample{Goroutines: r.Goroutines, Live: r.Usage.Live}
	return r
}

// entries counts those of a directory of a process.
func entries(t *testing.T, pid int, dir string) int {
	t.Helper()
	e, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(pid), dir))
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// wantNoGrowth compares the last round with the end of the first third. Connections in
// TIME-WAIT keep the circuits to peers that have gone, with 17 MiB touched and five
// descriptors, for a minute, and the servers something of each program that has gone: in a
// run in which the first third is shorter than that each round may add one, and so may
// each program that was killed, of which a fast machine has many.
func (s *soak) wantNoGrowth(t *testing.T) {
	third := len(s.samples) / 3
	first, last := s.samples[third], s.samples[len(s.samples)-1]
	const mib = 1 << 20
	room, files := 4*mib, 4
	if s.time*time.Duration(third) < 70*time.Second {
		gone := s.rounds + s.kills
		room, files = room+gone*20*mib, files+gone*5
	}
	for _, name := range slices.Sorted(maps.Keys(last)) {
		a, z := first[name], last[name]
		t.Logf("%-16s anonymous %.1f to %.1f MiB, segments %.1f to %.1f MiB, descriptors %d to %d, threads %d to %d, goroutines %d to %d, connections %d to %d",
			name, float64(a.Anon)/mib, float64(z.Anon)/mib, float64(a.Segments)/mib, float64(z.Segments)/mib,
			a.Files, z.Files, a.Threads, z.Threads, a.Goroutines, z.Goroutines, a.Live, z.Live)
		for what, grown := range map[string]bool{
			"anonymous memory": z.Anon > a.Anon+a.Anon/10+room,
			"segments":         z.Segments > a.Segments+a.Segments/10+room,
			"descriptors":      z.Files > a.Files+files,
			"threads":          z.Threads > a.Threads+4,
			"goroutines":       z.Goroutines > a.Goroutines+4,
		} {
			if grown {
				t.Errorf("%s: %s have grown", name, what)
			}
		}
	}
}
