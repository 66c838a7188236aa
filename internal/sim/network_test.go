package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"usertcp/internal/tcp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// hostile is a plan with all that the network can do.
func hostile() Plan {
	return Plan{
		Seed: 9293, Loss: 0.1, Dup: 0.1, Reorder: 0.2, Corrupt: 0.1,
		Delay: 10 * tcp.Millisecond, Jitter: 3 * tcp.Millisecond, Rate: 200_000, Clog: 6000,
	}
}

// fates sends packets of growing length over a link and lists what becomes of
// them.
func fates(p Plan) string {
	r := rand.New(rand.NewPCG(p.Seed, 1))
	l := link{conditions: p.weather()}
	l.mtu = 1400
	var b strings.Builder
	now := epoch
	for n := 100; n <= 1500; n += 25 {
		arrivals, fate := l.send(r, now, make([]byte, n))
		fmt.Fprintf(&b, "%s %d %s", stamp(now-epoch), n, fate)
		for _, f := range arrivals {
			fmt.Fprintf(&b, " %s", stamp(f.at-epoch))
			for i, x := range f.b {
				if x != 0 {
					fmt.Fprintf(&b, " octet %d ^ %#x", i, x)
				}
			}
		}
		b.WriteByte('\n')
		now += tcp.Time(n%4) * tcp.Millisecond
	}
	return b.String()
}

// What a seed means is part of what a failure says: if the network draws other
// numbers, old failures can't be replayed. So a change of it has to be meant.
func TestNetworkIsAsEver(t *testing.T) {
	const file = "testdata/network.golden"
	got := fates(hostile())
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the network does other things for the same seed; if that is meant: go test ./internal/sim -run AsEver -update\ngot:\n%s", got)
	}
}

func TestPlansDiffer(t *testing.T) {
	seen := map[string]int{}
	for seed := uint64(1); seed <= 300; seed++ {
		p := newPlan(seed)
		if again := newPlan(seed); again != p {
			t.Fatalf("seed %d has two plans: %+v and %+v", seed, p, again)
		}
		for name, on := range map[string]bool{
			"loss": p.Loss > 0, "dup": p.Dup > 0, "reorder": p.Reorder > 0, "corrupt": p.Corrupt > 0,
			"jitter": p.Jitter > 0, "rate": p.Rate > 0, "mtu": p.SmallMTU, "partition": p.Partition,
			"stop": p.Stop, "kill": p.Kill, "odd": p.Odd, "three": p.Hosts == 3, "IPv6": p.IPv6,
			"none of these": p.Loss+p.Dup+p.Reorder+p.Corrupt == 0 && !p.Severe(),
		} {
			if on {
				seen[name]++
			}
		}
	}
	if len(seen) != 14 {
		t.Errorf("some faults never come: %v", seen)
	}
	for name, n := range seen {
		if n > 200 {
			t.Errorf("%s is in %d plans of 300", name, n)
		}
	}
}

// In a link without jitter and reordering packets come in order and not before
// their time, whatever the rate.
func TestLinkKeepsOrder(t *testing.T) {
	p := Plan{Delay: tcp.Millisecond, Rate: 1000_000, Clog: 1 << 20}
	l := link{conditions: p.weather()}
	r := rand.New(rand.NewPCG(1, 1))
	last := epoch
	for i := range 100 {
		n := 100 + i
		arrivals, fate := l.send(r, epoch, make([]byte, n))
		if len(arrivals) != 1 || fate != "ok" {
			t.Fatalf("packet %d: %d arrive, %s", i, len(arrivals), fate)
		}
		at := arrivals[0].at
		if i == 0 {
			last = epoch + p.Delay
		}
		if want := last + tcp.Time(n)*tcp.Microsecond; at != want {
			t.Fatalf("packet %d arrives at %s, want %s", i, stamp(at-epoch), stamp(want-epoch))
		}
		last = at
	}
}

func TestLinkDrops(t *testing.T) {
	rows := []struct {
		fate   string
		change func(c *conditions)
	}{
		{"cut", func(c *conditions) { c.cut = true }},
		{"too big", func(c *conditions) { c.mtu = 99 }},
		{"lost", func(c *conditions) { c.loss = 1 }},
		{"clogged", func(c *conditions) { c.rate, c.clog = 1, 99 }},
	}
	for _, row := range rows {
		l := link{conditions: conditions{mtu: 100}}
		row.change(&l.conditions)
		arrivals, fate := l.send(rand.New(rand.NewPCG(1, 1)), epoch, make([]byte, 100))
		if len(arrivals) != 0 || fate != row.fate {
			t.Errorf("%d arrive, %s; want none, %s", len(arrivals), fate, row.fate)
		}
	}
}

func TestEventsComeInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var q events
	var done []tcp.Time
	for range 1000 {
		at := tcp.Time(r.IntN(100))
		q.add(at, func() { done = append(done, at) })
	}
	var order uint64
	for q.next() != tcp.Never {
		e := q.take()
		e.what()
		n := len(done)
		if n > 1 && (done[n-1] < done[n-2] || done[n-1] == done[n-2] && e.order < order) {
			t.Fatalf("event %d of %d comes behind event %d of %d", e.order, done[n-1], order, done[n-2])
		}
		order = e.order
	}
	if len(done) != 1000 {
		t.Errorf("%d events of 1000", len(done))
	}
}
