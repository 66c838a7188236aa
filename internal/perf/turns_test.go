package perf

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// script returns distances one after the other, then the last one again and again.
func script(ds ...float64) func() float64 {
	return func() float64 {
		d := ds[0]
		if len(ds) > 1 {
			ds = ds[1:]
		}
		return d
	}
}

// A turn in which the CPUs have come closer or gone further is taken again, both stacks, and
// of the first try nothing counts.
func TestATurnIsTakenAgainWhenTheCPUsMove(t *testing.T) {
	m := &scripted{rates: map[string][]float64{"user": {30, 11, 10, 40}, "kernel": {10, 99, 10, 20}}}
	c := Comparison{Setup: Setup{Test: RR, Size: 8, Conns: 1, Time: time.Second}, Repeat: 3}
	c.Distance = script(100, 110, 120, 110, 100, 300, 300, 310, 320, 300, 310, 300)
	o, err := Compare(t.Context(), m, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []PairRates{{30, 10, 3}, {10, 10, 1}, {40, 20, 2}}; !slices.Equal(o.Pairs, want) {
		t.Errorf("pairs %v, want %v", o.Pairs, want)
	}
	if d := o.Distances; d == nil || d.Again != 1 || d.Uneven != 0 || d.Apart != (Summary{100, 300, 320, "ns"}) {
		t.Errorf("distances %+v", d)
	}
	if !strings.Contains(o.How(), "The two CPUs were 300 ns apart (100 to 320: a word there and back); 1 turn again, 0 uneven.\n") {
		t.Errorf("how:\n%s", o.How())
	}
}

// One that is never even counts in the end; what is not known says nothing.
func TestTurnsEnd(t *testing.T) {
	measured, forgotten := 0, 0
	tn := turns{distance: script(100, 0, 110, 100, 300, 100, 300, 100, 300, 100, 300, 100)}
	measure := func() error { measured++; tn.look(); return nil }
	forget := func() { forgotten++ }
	for _, want := range []struct{ measured, forgotten, uneven int }{{1, 0, 0}, {2, 0, 0}, {2 + turnTries, turnTries - 1, 1}} {
		if err := tn.take(measure, forget); err != nil || measured != want.measured || forgotten != want.forgotten || tn.uneven != want.uneven {
			t.Fatalf("%d measured, %d forgotten, %d uneven, %v, want %+v", measured, forgotten, tn.uneven, err, want)
		}
	}
	if d := tn.distances(); d.Apart != (Summary{100, 100, 300, "ns"}) || d.Again != turnTries-1 {
		t.Errorf("%+v", d)
	}
	if err := tn.take(func() error { return errors.New("on purpose") }, forget); err == nil {
		t.Error("a failure is lost")
	}
	blind := turns{}
	if err := blind.take(func() error { blind.look(); return nil }, forget); err != nil || blind.distances() != nil || blind.distances().String() != "" {
		t.Errorf("who does not look says %v, %v", blind.distances(), err)
	}
}

func TestDistanceOn(t *testing.T) {
	if DistanceOn(Same) != nil {
		t.Error("one CPU has a distance")
	}
}
