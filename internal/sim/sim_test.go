package sim

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed that TestSeeds runs")
	seedCount = flag.Uint64("seeds", 2000, "how many seeds TestSeeds runs")
)

// commit names what is tested: a seed replays with the same program only.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func TestSeeds(t *testing.T) {
	n := *seedCount
	if testing.Short() {
		n = min(n, 200)
	}
	var sum Total
	for seed := *firstSeed; seed < *firstSeed+n; seed++ {
		r, err := Run(seed, Options{})
		if err != nil {
			t.Fatalf("%v\ncommit: %s", err, commit())
		}
		sum.Add(&r)
	}
	t.Logf("%v", &sum)
	if n < 200 || *firstSeed != 1 {
		return
	}
	// What the seeds are for has to come about.
	if sum.Repairs == 0 || sum.Failed == 0 || sum.Marks == 0 || sum.Octets < 1_000_000 {
		t.Errorf("too tame: %v", &sum)
	}
}

// A run depends on nothing but its seed: not on maps, the clock, or what ran before.
func TestSeedsReplayExactly(t *testing.T) {
	for seed := uint64(1); seed <= 30; seed++ {
		var traces [2]bytes.Buffer
		var results [2]Result
		for i := range traces {
			var err error
			if results[i], err = Run(seed, Options{Trace: &traces[i]}); err != nil {
				t.Fatal(err)
			}
			Run(seed+100, Options{})
		}
		quiet, err := Run(seed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if results[0] != results[1] || quiet != results[0] {
			t.Errorf("seed %d: %+v, then %+v, without a trace %+v", seed, results[0], results[1], quiet)
		}
		if !bytes.Equal(traces[0].Bytes(), traces[1].Bytes()) {
			t.Errorf("seed %d: two runs have different traces", seed)
		}
	}
}

// calm is a plan without trouble.
func calm(seed uint64) Plan {
	return Plan{
		Seed: seed, Hosts: 2, Conns: 2, Healed: tcp.Second, MTU: 1500, Buffer: 2048, Buffers: 64, Slots: 8,
		Delay: 10 * tcp.Millisecond, Volume: 30000,
	}
}

// TestTraceIsAsEver runs one small world and compares every packet and every deed
// with what is kept: a change of behaviour shows as a difference, in words.
func TestTraceIsAsEver(t *testing.T) {
	p := calm(5)
	p.Conns, p.Volume, p.Loss, p.Urgent = 1, 30000, 0.2, true
	var trace bytes.Buffer
	if _, err := RunPlan(p, Options{Trace: &trace}); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/trace.golden"
	if *update {
		if err := os.WriteFile(file, trace.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, was := strings.Split(trace.String(), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(got), len(was)) {
		if got[i] != was[i] {
			t.Fatalf("%s:%d\nwas %s\nis  %s\nif that is meant: go test ./internal/sim -run AsEver -update", file, i+1, was[i], got[i])
		}
	}
	if len(got) != len(was) {
		t.Errorf("%s has %d lines, the run %d", file, len(was), len(got))
	}
}

func TestCalmNetwork(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		r, err := RunPlan(calm(seed), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed != 0 || r.Octets == 0 {
			t.Errorf("seed %d: %+v", seed, r)
		}
	}
}

// damage changes an octet of a packet that is not checked any more.
func damage(d *driver, p *pool.Packet) {
	switch p.Partial = true; {
	case p.NPieces > 0:
		d.Octets(p.Region)[p.Pieces[0].Off] ^= 1
	case p.Payload > 0:
		p.Data[p.Header] ^= 1
	}
}

// beforeSending changes what the watch remembers before each packet.
func beforeSending(w *world, change func(x *way)) {
	for _, h := range w.hosts {
		depart := h.drv.depart
		h.drv.depart = func(to int, b []byte) {
			for _, x := range w.watch.ways {
				change(x)
			}
			depart(to, b)
		}
	}
}

// A checker that finds nothing is no checker: each row breaks something in the
// middle of a run, and what is said of it must name it.
func TestCheckersFind(t *testing.T) {
	rows := []struct {
		name, want string
		wreck      func(w *world)
	}{
		{"an octet is damaged behind the checksum", "was written as", func(w *world) {
			for _, h := range w.hosts {
				h.drv.tamper = func(p *pool.Packet) { damage(h.drv, p) }
			}
		}},
		{"nobody looks at timers", "nothing will ever happen", func(w *world) {
			w.plan.Healed, w.plan.Loss = tcp.Second, 0
			for _, h := range w.hosts {
				h.deaf = true
			}
		}},
		{"a buffer has a reference too many", "references", func(w *world) {
			w.hosts[0].drv.Alloc(1)
		}},
		{"a peer can't be reached", "without a cause: connection timed out", func(w *world) {
			w.links[0][1].cut = true
		}},
		{"a buffer is written to while it is sent", "while a packet was sent from it", func(w *world) {
			for _, h := range w.hosts {
				schedule := h.drv.schedule
				h.drv.schedule = func(to int) {
					for _, b := range h.drv.circuits[to].queue[0].live {
						b[0]++
					}
					schedule(to)
				}
			}
		}},
		{"a segment goes beyond the window", "beyond the window", func(w *world) {
			beforeSending(w, func(x *way) { x.allowed = x.allowed.Minus(1 << 21) })
		}},
		{"a window shrinks", "the window shrinks", func(w *world) {
			beforeSending(w, func(x *way) { x.promised = x.promised.Add(1 << 21) })
		}},
		{"a host never stops", "without end", func(w *world) {
			h := w.hosts[0]
			w.queue.add(epoch+200*tcp.Millisecond, func() {
				for {
					h.top.Step()
					w.rounds(maxRounds + 1)
				}
			})
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := calm(3)
			p.Loss = 0.05 // timers have something to do
			p.Conns = 8
			p.Healed = 2000 * tcp.Second
			_, err := RunPlan(p, Options{sabotage: row.wreck})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("found %v, want something with %q", err, row.want)
			}
		})
	}
}

// A failure says how to see it again.
func TestFailureNamesSeed(t *testing.T) {
	_, err := RunPlan(calm(77), Options{sabotage: func(w *world) { w.fail("something") }})
	for _, want := range []string{"seed 77 ", "something", "-seed 77 -v", "2 hosts"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// A SYN-ACK that goes again when Fast Open has let data go before it can't say as much as
// that did, and the checker of windows took it for one that shrinks.
func TestSynAckAfterData(t *testing.T) {
	for _, seed := range []uint64{1053685, 1064927} {
		if _, err := Run(seed, Options{}); err != nil {
			t.Error(err)
		}
	}
}

// Damage turned the ECN field of an IPv6 packet into a mark, which no checksum covers;
// the checker of accurate ECN took the true feedback for a false one.
func TestDamageThatMarks(t *testing.T) {
	for _, seed := range []uint64{1006970, 1009211, 1013160, 1023281} {
		if p := newPlan(seed); !p.IPv6 || p.Corrupt == 0 {
			t.Errorf("seed %d has become another plan: %v", seed, p)
		}
		if _, err := Run(seed, Options{}); err != nil {
			t.Error(err)
		}
	}
}
