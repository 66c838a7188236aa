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
		"# of one flow through one bottleneck. Written by: go test -run TestGoodput -update\n#\n")
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
	}{
		{20, []Time{10, 50, 200}, []float64{0.1, 1, 4}, 15 * Second},
		{100, []Time{50}, []float64{1}, 10 * Second},
	} {
		for _, delay := range x.delay {
			for _, buffer := range x.buffer {
				for _, loss := range []float64{0, 0.001, 0.01, 0.03} {
					goodputRow(t, &w, x.mbit, delay*Millisecond, buffer, loss, x.time)
				}
			}
		}
	}
	compareGolden(t, "testdata/goodput.golden", w.String())
}

func goodputRow(t *testing.T, w *strings.Builder, mbit uint64, delay Time, buffer, loss float64, d Time) {
	rate := mbit * 1e6 / 8
	p := link{rate: rate, delay: delay, loss: loss, seed: 1}
	p.buffer = uint32(max(buffer*float64(rate)*float64(delay)/1e9, 5*1500))
	fmt.Fprintf(w, "%-6d %-6s %-7s %-6s", mbit, fmt.Sprintf("%d ms", delay/Millisecond), fmt.Sprintf("%v BDP", buffer),
		fmt.Sprintf("%v %%", loss*100))
	for id := range numCongestion {
		got, b := goodput(t, p, uint8(id), d)
		fmt.Fprintf(w, " | %6.2f %5.2f %5.1f ms", got, 100*float64(b.snd.c.Stats.Resent)/float64(b.sent),
			float64(b.queued)/float64(b.sent)/1e6)
	}
	w.WriteString("\n")
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
