package perf

import (
	"fmt"
	"slices"

	"usertcp/internal/perf/proc"
)

// The CPUs of a virtual machine may be two threads of one core or lie far apart, and their host
// may move them. Streams between two CPUs were four to five times as fast in one state as in
// the other: measurements of different states can't be compared (docs/performance.md).

// evenFactor is how much larger one distance may be than another of the same state.
const evenFactor = 1.6

// turnTries is how often a turn is taken at most, until the CPUs stay where they are in it.
const turnTries = 4

// Distances says how far apart the CPUs were, in ns, see proc.Distance.
type Distances struct {
	Apart  Summary `json:"ns"`     // before and after each measurement that counts
	Again  int     `json:"again"`  // turns that were taken again, since they came closer or went further in it
	Uneven int     `json:"uneven"` // turns that count although they did
}

// DistanceOn returns what tells the distance of the CPUs of a placement, 0 where they are not
// free; nil if there is but one.
func DistanceOn(p Placement) func() float64 {
	cpus, err := proc.AllowedCPUs()
	if err != nil || p == Same || len(cpus) < 2 {
		return nil
	}
	return func() float64 {
		d, err := proc.Distance(cpus[0], cpus[1])
		if err != nil {
			return 0
		}
		return float64(d.Nanoseconds())
	}
}

// turns takes turns in which the CPUs stay where they are.
type turns struct {
	distance      func() float64 // nil: nobody looks
	now, all      []float64      // of this turn, of all that count
	again, uneven int
}

// look notes the distance before and after each measurement.
func (t *turns) look() {
	if t.distance != nil {
		t.now = append(t.now, t.distance())
	}
}

// take takes a turn by measure, which calls look after each measurement. Of a turn that is
// taken again nothing is kept: forget is called.
func (t *turns) take(measure func() error, forget func()) error {
	for try := 1; ; try++ {
		t.now = t.now[:0]
		t.look()
		if err := measure(); err != nil {
			return err
		}
		even := even(t.now)
		if even || try == turnTries {
			t.all = append(t.all, t.now...)
			if !even {
				t.uneven++
			}
			return nil
		}
		t.again++
		forget()
	}
}

// even reports whether distances are those of one state, as far as they are known.
func even(ds []float64) bool {
	known := slices.DeleteFunc(slices.Clone(ds), func(d float64) bool { return d == 0 })
	return len(known) == 0 || slices.Max(known) <= evenFactor*slices.Min(known)
}

// distances sums up; nil if nobody has looked.
func (t *turns) distances() *Distances {
	known := slices.DeleteFunc(slices.Clone(t.all), func(d float64) bool { return d == 0 })
	if len(known) == 0 {
		return nil
	}
	return &Distances{Summarize(known, "ns"), t.again, t.uneven}
}

// String says it in a line, or nothing if nobody has looked.
func (d *Distances) String() string {
	if d == nil {
		return ""
	}
	return fmt.Sprintf("The two CPUs were %.0f ns apart (%.0f to %.0f: a word there and back); %s again, %d uneven.\n",
		d.Apart.Median, d.Apart.Min, d.Apart.Max, plural(d.Again, "turn"), d.Uneven)
}
