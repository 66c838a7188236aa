package tcp

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGoodput measures what each congestion control makes of paths with one
// bottleneck, and compares the table with the one that is kept: a change of
// behaviour shows as a difference.
func TestGoodput(t *testing.T) {
	var w strings.Builder
	w.WriteString("# Goodput in Mbit/s, segments sent again in percent, and mean queueing delay in ms,\n" +
		"# of one flow through one bottleneck: 15 s; at 100 Mbit/s 20 s, the mean of five seeds. What the kernel makes of the\n" +
		"# same paths: goodput-kernel.txt. Written by: go test -run TestGoodput -update\n#\n")
	fmt.Fprintf(&w, "%-6s %-6s %-7s %-6s", "Mbit/s", "delay", "buffer", "loss")
	for _, name := range CongestionNames() {
		fmt.Fprintf(&w, " | %-20s", name)
	}
	w.WriteString("\n")
	for _, x := range []struct {
		mbit   uint64
		delay  []Time
		buffer []float64 // of the product of bandwidth and delay
		time   Time
		seeds  uint64
	}{
		{20, []Time{10, 50, 200}, []float64{0.1, 1, 4}, 15 * Second, 1},
		{100, []Time{50}, []float64{1}, 20 * Second, 5},
	} {
		for _, delay := range x.delay {
			for _, buffer := range x.buffer {
				for _, loss := range []float64{0, 0.001, 0.01, 0.03} {
					goodputRow(t, &w, x.mbit, delay*Millisecond, buffer, loss, x.time, x.seeds)
				}
			}
		}
	}
	compareGolden(t, "testdata/goodput.golden", w.String())
}

func goodputRow(t *testing.T, w *strings.Builder, mbit uint64, delay Time, buffer, loss float64, d Time, seeds uint64) {
	rate := mbit * 1e6 / 8
	p := link{rate: rate, delay: delay, loss: loss, seed: 1}
	p.buffer = uint32(max(buffer*float64(rate)*float64(delay)/1e9, 5*1500))
	fmt.Fprintf(w, "%-6d %-6s %-7s %-6s", mbit, fmt.Sprintf("%d ms", delay/Millisecond), fmt.Sprintf("%v BDP", buffer),
		fmt.Sprintf("%v %%", loss*100))
	for id := range numCongestion {
		var mbit, resent, queue float64
		for p.seed = range seeds {
			p.seed++
			got, b := goodput(t, p, uint8(id), d)
			mbit += got / float64(seeds)
			resent += 100 * float64(b.snd.c.Stats.Resent) / float64(b.sent) / float64(seeds)
			queue += float64(b.queued) / float64(b.sent) / 1e6 / float64(seeds)
		}
		fmt.Fprintf(w, " | %6.2f %5.2f %5.1f ms", mbit, resent, queue)
	}
	w.WriteString("\n")
}

// TestCubicIsNotBelowTheKernel compares two tables that are kept: over a path of
// 100 Mbit/s and 50 ms CUBIC brings as much as the kernel's, at every loss.
func TestCubicIsNotBelowTheKernel(t *testing.T) {
	ours, kernel := cubicColumn(t, "testdata/goodput.golden"), cubicColumn(t, "testdata/goodput-kernel.txt")
	rows := 0
	for path, theirs := range kernel {
		if !strings.HasPrefix(path, "100 ") {
			continue
		}
		rows++
		if got := ours[path]; got < 0.995*theirs {
			t.Errorf("%s: %.2f Mbit/s, the kernel %.2f", path, got, theirs)
		}
	}
	if rows != 4 || len(ours) != len(kernel) {
		t.Errorf("%d rows were compared; the tables have %d and %d", rows, len(ours), len(kernel))
	}
}

// cubicColumn returns the goodput of CUBIC in Mbit/s over each path of a table.
func cubicColumn(t *testing.T, file string) map[string]float64 {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]float64{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(line, "|")
		if line[0] == '#' || len(fields) < 2 || strings.HasPrefix(line, "Mbit/s") {
			continue
		}
		var mbit float64
		if _, err := fmt.Sscan(fields[1], &mbit); err != nil {
			t.Fatalf("%s: %q", file, line)
		}
		column[strings.Join(strings.Fields(fields[0]), " ")] = mbit
	}
	return column
}

// compareGolden compares a text with a file, line by line, or writes the file.
func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	is, was := strings.Split(got, "\n"), strings.Split(string(b), "\n")
	for i := range max(len(is), len(was)) {
		var x, y string
		if i < len(was) {
			x = was[i]
		}
		if i < len(is) {
			y = is[i]
		}
		if x != y {
			t.Errorf("%s:%d\nwas %s\nis  %s", file, i+1, x, y)
		}
	}
	if t.Failed() {
		t.Log("if that is meant to be so, run the test with -update and look at the difference")
	}
}
