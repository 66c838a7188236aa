package seq

import (
	"testing"

	"pgregory.net/rapid"
)

// drawNumber draws any number, and often one next to the wrap-around.
func drawNumber(t *rapid.T, label string) Number {
	near := rapid.Uint32Range(0, 1000).Draw(t, label+" near the wrap-around") - 500
	far := rapid.Uint32().Draw(t, label)
	return Number(rapid.SampledFrom([]uint32{near, far}).Draw(t, label+" of these"))
}

// drawSize draws a size less than half the space.
func drawSize(t *rapid.T, label string) Size {
	return Size(rapid.Uint32Range(0, 1<<31-1).Draw(t, label))
}

func TestExamples(t *testing.T) {
	tests := []struct {
		a, b   Number
		before bool
		after  bool
	}{
		{5, 5, false, false},
		{5, 6, true, false},
		{6, 5, false, true},
		{0xffffffff, 0, true, false},
		{0, 0xffffffff, false, true},
		{0xfffffff0, 0x10, true, false},
		{0, 0x7fffffff, true, false},
		{0x80000001, 0, true, false},
	}
	for _, test := range tests {
		a, b := test.a, test.b
		if a.Before(b) != test.before || a.After(b) != test.after ||
			a.AtOrBefore(b) == test.after || a.AtOrAfter(b) == test.before {
			t.Errorf("%v and %v: before %v, after %v, at or before %v, at or after %v",
				a, b, a.Before(b), a.After(b), a.AtOrBefore(b), a.AtOrAfter(b))
		}
	}
	if s := Number(0xffffffff).String(); s != "4294967295" {
		t.Errorf("prints %q", s)
	}
}

func TestOrderIsAntisymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, n := drawNumber(t, "a"), drawSize(t, "n")
		b := a.Add(n)
		if a.Before(b) != (n > 0) || b.Before(a) || b.After(a) != a.Before(b) {
			t.Fatalf("%v lies %v before %v: before %v, the other way %v, after %v",
				a, n, b, a.Before(b), b.Before(a), b.After(a))
		}
		if !a.AtOrBefore(b) || !b.AtOrAfter(a) || a.AtOrAfter(b) != (n == 0) || b.AtOrBefore(a) != (n == 0) {
			t.Fatalf("%v lies %v before %v: at or before %v, at or after %v", a, n, b, a.AtOrBefore(b), b.AtOrAfter(a))
		}
	})
}

func TestOrderIsTransitiveWithinHalfTheSpace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawNumber(t, "a")
		n := Size(rapid.Uint32Range(1, 1<<30).Draw(t, "n"))
		m := Size(rapid.Uint32Range(1, 1<<30-1).Draw(t, "m"))
		b := a.Add(n)
		c := b.Add(m)
		if !a.Before(b) || !b.Before(c) || !a.Before(c) {
			t.Fatalf("%v, %v, %v are not in order", a, b, c)
		}
	})
}

func TestOrderDoesNotDependOnTheOrigin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawNumber(t, "a"), drawNumber(t, "b")
		shift := Size(rapid.Uint32().Draw(t, "shift"))
		c, d := a.Add(shift), b.Add(shift)
		if a.Before(b) != c.Before(d) || a.After(b) != c.After(d) || a.From(b) != c.From(d) {
			t.Fatalf("%v and %v are not ordered like %v and %v", a, b, c, d)
		}
	})
}

func TestAddMinusAndFromAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawNumber(t, "a")
		n := Size(rapid.Uint32().Draw(t, "n"))
		if got := a.Add(n).Minus(n); got != a {
			t.Fatalf("%v + %v - %v is %v", a, n, n, got)
		}
		if got := a.Add(n).From(a); got != n {
			t.Fatalf("%v + %v lies %v after it", a, n, got)
		}
		if uint64(a.Add(n)) != (uint64(a)+uint64(n))%(1<<32) {
			t.Fatalf("%v + %v is %v", a, n, a.Add(n))
		}
	})
}

func TestInWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start, n := drawNumber(t, "start"), drawSize(t, "n")
		a := start.Add(drawSize(t, "offset"))
		if want := a.AtOrAfter(start) && a.Before(start.Add(n)); a.InWindow(start, n) != want {
			t.Fatalf("%v in the window of %v from %v: %v, want %v", a, n, start, !want, want)
		}
		if start.Minus(1).InWindow(start, n) {
			t.Fatalf("the number before the window of %v from %v lies in it", n, start)
		}
	})
}

func TestInWindowAtItsEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := drawNumber(t, "start")
		n := Size(rapid.Uint32Range(1, 1<<31-1).Draw(t, "n"))
		if !start.InWindow(start, n) || !start.Add(n-1).InWindow(start, n) || start.Add(n).InWindow(start, n) {
			t.Fatalf("edges of the window of %v from %v are wrong", n, start)
		}
		if start.InWindow(start, 0) {
			t.Fatalf("%v lies in an empty window", start)
		}
	})
}

func TestMaxAndMin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, n := drawNumber(t, "a"), drawSize(t, "n")
		b := a.Add(n)
		if Max(a, b) != b || Max(b, a) != b || Min(a, b) != a || Min(b, a) != a {
			t.Fatalf("of %v and %v: max %v %v, min %v %v", a, b, Max(a, b), Max(b, a), Min(a, b), Min(b, a))
		}
	})
}
