package interleave

import (
	"errors"
	"strings"
	"testing"
)

// counting returns a setup of tasks that take steps and note in which order.
func counting(orders map[string]int, steps ...int) func(*Scheduler) Run {
	return func(s *Scheduler) Run {
		var order []byte
		var r Run
		for i, n := range steps {
			name := string(rune('a' + i))
			r.Tasks = append(r.Tasks, Task{Name: name, Do: func() {
				for k := range n {
					if k > 0 {
						s.Yield()
					}
					order = append(order, name[0])
				}
			}})
		}
		r.Check = func() error {
			orders[string(order)]++
			return nil
		}
		return r
	}
}

func TestAllInterleavingsAreTriedOnce(t *testing.T) {
	for _, c := range []struct {
		steps []int
		want  int // (sum of steps)! / product of steps!
	}{
		{[]int{1}, 1},
		{[]int{1, 1}, 2},
		{[]int{3, 3}, 20},
		{[]int{2, 5}, 21},
		{[]int{2, 2, 2}, 90},
		{[]int{4, 4, 2}, 3150},
	} {
		orders := map[string]int{}
		e := Explorer{Preemptions: -1}
		r, err := e.Explore(counting(orders, c.steps...))
		if err != nil || r.Runs != c.want || len(orders) != c.want {
			t.Errorf("tasks of %v steps: %v, %d orders, %v; want %d", c.steps, r, len(orders), err, c.want)
		}
	}
}

// Two tasks of three steps: switches that nobody is forced to make are
// preemptions.
func TestPreemptionsAreBounded(t *testing.T) {
	for bound, want := range []int{2, 6, 14, 18, 20} {
		orders := map[string]int{}
		e := Explorer{Preemptions: bound}
		if r, err := e.Explore(counting(orders, 3, 3)); err != nil || len(orders) != want || r.Runs != want {
			t.Errorf("bound %d: %v, %d orders, %v; want %d", bound, r, len(orders), err, want)
		}
	}
}

func increment(s *Scheduler, x *int) func() {
	return func() {
		for range 3 {
			s.Yield()
			v := *x
			s.Yield()
			*x = v + 1
		}
	}
}

// The states cut runs short, but none of what can come out.
func TestStatesLoseNothing(t *testing.T) {
	results := func(state bool) (map[int]bool, Result) {
		var x int
		out := map[int]bool{}
		e := Explorer{Preemptions: -1}
		if state {
			e.State = func() any { return x }
		}
		r, err := e.Explore(func(s *Scheduler) Run {
			x = 0
			return Run{
				Tasks: []Task{{Name: "a", Do: increment(s, &x)}, {Name: "b", Do: increment(s, &x)}},
				Check: func() error { out[x] = true; return nil },
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return out, r
	}
	all, slow := results(false)
	cut, fast := results(true)
	if len(all) != 5 || len(cut) != len(all) { // 2 … 6
		t.Errorf("all interleavings end with %v, cut short with %v", all, cut)
	}
	if fast.Runs >= slow.Runs {
		t.Errorf("%v with states, %v without", fast, slow)
	}
}

func TestFailuresAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(s *Scheduler) Run
		want  string
	}{
		{"a lost update", func(s *Scheduler) Run {
			x := 0
			return Run{
				Tasks: []Task{{Name: "a", Do: increment(s, &x)}, {Name: "b", Do: increment(s, &x)}},
				Check: func() error {
					if x != 6 {
						return errors.New("an update was lost")
					}
					return nil
				},
			}
		}, "an update was lost"},
		{"a deadlock", func(s *Scheduler) Run {
			var held [2]bool
			take := func(i int) { s.Wait(func() bool { return !held[i] }); held[i] = true }
			return Run{Tasks: []Task{
				{Name: "a", Do: func() { take(0); take(1); held = [2]bool{} }},
				{Name: "b", Do: func() { take(1); take(0); held = [2]bool{} }},
			}}
		}, "nobody can go on: a, b wait"},
		{"a panic", func(s *Scheduler) Run {
			x := 0
			return Run{Tasks: []Task{
				{Name: "a", Do: func() { s.Yield(); x = 1; s.Yield(); x = 0 }},
				{Name: "b", Do: func() { s.Yield(); _ = 1 / (1 - x) }},
			}}
		}, "task b: panic"},
		{"a choice", func(s *Scheduler) Run {
			return Run{Tasks: []Task{{Name: "a", Do: func() {
				if s.Choose(3) == 2 {
					s.Failf("two")
				}
			}}}}
		}, "two"},
	} {
		e := Explorer{Preemptions: -1}
		if r, err := e.Explore(c.setup); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", c.name, r, err, c.want)
		}
	}
}

func TestLimitIsAFailure(t *testing.T) {
	e := Explorer{Preemptions: -1, Limit: 10}
	if _, err := e.Explore(counting(map[string]int{}, 3, 3)); !errors.Is(err, ErrLimit) {
		t.Errorf("20 interleavings with a limit of 10: %v", err)
	}
}

func TestDoorbellForgets(t *testing.T) {
	var lost bool
	e := Explorer{Preemptions: -1}
	r, err := e.Explore(func(s *Scheduler) Run {
		d := NewDoorbell(s)
		return Run{Tasks: []Task{
			{Name: "sleeper", Do: func() { d.Forget(); d.Sleep() }},
			{Name: "ringer", Do: d.Ring},
		}}
	})
	lost = errors.Is(err, ErrDeadlock)
	if !lost {
		t.Errorf("no ring was forgotten in %v: %v", r, err)
	}
}
