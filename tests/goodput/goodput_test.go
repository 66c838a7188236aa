package goodput

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	update   = flag.Bool("update", false, "measure the whole table, which takes most of an hour, and keep it")
	parallel = flag.Int("flows", 4, "how many flows are measured at a time")
)

// table is where the kernel's figures are kept, beside the engine's.
const table = "../../internal/tcp/testdata/goodput-kernel.txt"

const (
	mostSlack  = 2 * time.Millisecond // how late a packet may leave
	mostBehind = 0.001                // share of packets that may be later, or a figure is not believed
)

func TestMain(m *testing.M) {
	// No shaper waits for a processor of Go's, nor for other threads to stop.
	runtime.GOMAXPROCS(32)
	debug.SetGCPercent(-1)
	os.Exit(m.Run())
}

// TestShaper sends for two seconds: the path has its rate, its delay and its
// losses, and nothing is lost elsewhere.
func TestShaper(t *testing.T) {
	rate := uint64(20e6 / 8)
	p := path{rate: rate, delay: 10 * time.Millisecond, buffer: 100_000, loss: 0.001, late: 0.001, seed: 1}
	r := flow(t, p, "cubic", 2*time.Second)
	t.Logf("%+v", r)
	if r.mbit > 20*1448./1500 || r.mbit < 5 {
		t.Errorf("%.2f Mbit/s over a path of 20", r.mbit)
	}
	if n := r.counts[0]; n < 1000 || r.counts[2] == 0 && n > 7000 || r.counts[2] > n/100 {
		t.Errorf("of %d packets %d were lost", n, r.counts[2])
	}
	if r.queue > 45*time.Millisecond {
		t.Errorf("packets waited %v in a queue of 40 ms", r.queue)
	}
	if r.ignored != 0 {
		t.Errorf("%d packets were lost elsewhere", r.ignored)
	}
}

// row is one path of the table.
type row struct {
	mbit          uint64
	delay         time.Duration
	buffer        float64 // of the product of bandwidth and delay
	loss          float64
	time          time.Duration
	seeds         uint64
	figures, note []string
}

func rows() (rows []*row) {
	losses := []float64{0, 0.001, 0.01, 0.03}
	for _, delay := range []time.Duration{10, 50, 200} {
		for _, buffer := range []float64{0.1, 1, 4} {
			for _, loss := range losses {
				rows = append(rows, &row{mbit: 20, delay: delay * time.Millisecond, buffer: buffer, loss: loss, time: 15 * time.Second, seeds: 1})
			}
		}
	}
	for _, loss := range losses {
		rows = append(rows, &row{mbit: 100, delay: 50 * time.Millisecond, buffer: 1, loss: loss, time: 20 * time.Second, seeds: 5})
	}
	return rows
}

func (x *row) path(seed uint64) path {
	rate := x.mbit * 1e6 / 8
	buffer := uint64(x.buffer * float64(rate) * x.delay.Seconds())
	return path{rate: rate, delay: x.delay, loss: x.loss, buffer: max(buffer, 5*1500), seed: seed}
}

var controls = []string{"cubic", "reno", "bbr"}

// TestTable measures the whole table.
func TestTable(t *testing.T) {
	if !*update {
		t.Skip("the table takes most of an hour: -update measures it")
	}
	all := rows()
	var wg sync.WaitGroup
	slots := make(chan struct{}, *parallel)
	for _, x := range all {
		x.figures = make([]string, len(controls))
		x.note = make([]string, len(controls))
		for i, name := range controls {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				x.figures[i], x.note[i] = x.measure(t, name)
			})
		}
	}
	wg.Wait()
	if err := os.WriteFile(table, []byte(show(all)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// measure returns the mean of the runs of one path, and what is to be said about
// it. A run in which the machine got in the way is taken again.
func (x *row) measure(t *testing.T, congestion string) (figure, note string) {
	var mbit, resent float64
	var queue time.Duration
	for seed := range x.seeds {
		var r result
		for range 4 {
			if r = flow(t, x.path(seed+1), congestion, x.time); r.behind <= mostBehind && r.ignored == 0 && r.fair {
				break
			}
			note = fmt.Sprintf("taken again: up to %v late, %.2f %% of the packets; %d lost elsewhere", r.slack.Round(time.Millisecond), 100*r.behind, r.ignored)
		}
		mbit += r.mbit / float64(x.seeds)
		resent += 100 * r.resent / float64(x.seeds)
		queue += r.queue / time.Duration(x.seeds)
	}
	figure = fmt.Sprintf("%6.2f %5.2f %5.1f ms", mbit, resent, float64(queue)/1e6)
	t.Logf("%d Mbit/s %v %v BDP %v: %s %s %s", x.mbit, x.delay, x.buffer, x.loss, congestion, figure, note)
	return figure, note
}

// show writes the table in the form of the engine's.
func show(all []*row) string {
	var u unix.Utsname
	unix.Uname(&u)
	var w strings.Builder
	fmt.Fprintf(&w, "# The kernel's TCP over the paths of goodput.golden, in real time: Linux %s, %s.\n",
		unix.ByteSliceToString(u.Release[:]), time.Now().Format(time.DateOnly))
	again, flows := 0, 0
	for _, x := range all {
		for _, note := range x.note {
			flows++
			if note != "" {
				again++
			}
		}
	}
	fmt.Fprintf(&w, "# For %d of %d figures a run was taken again, up to four times, since the shaper was more than %v late with more than\n"+
		"# %v %% of the packets.\n", again, flows, mostSlack, 100*mostBehind)
	w.WriteString("# Goodput in Mbit/s, segments sent again in percent, and mean queueing delay in ms. 15 s, one run; at 100 Mbit/s\n" +
		"# 20 s, the mean of five seeds. Written by: go test -exec \"chrt -f 10\" ./tests/goodput -run Table -update -timeout 60m\n#\n")
	fmt.Fprintf(&w, "%-6s %-6s %-7s %-6s", "Mbit/s", "delay", "buffer", "loss")
	for _, name := range controls {
		fmt.Fprintf(&w, " | %-20s", name)
	}
	w.WriteString("\n")
	for _, x := range all {
		fmt.Fprintf(&w, "%-6d %-6s %-7s %-6s", x.mbit, fmt.Sprintf("%d ms", x.delay/time.Millisecond), fmt.Sprintf("%v BDP", x.buffer),
			fmt.Sprintf("%v %%", x.loss*100))
		for _, f := range x.figures {
			fmt.Fprintf(&w, " | %s", f)
		}
		w.WriteString("\n")
	}
	return w.String()
}
