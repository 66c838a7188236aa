package plot

import (
	"errors"
	"fmt"
	"math"
)

// Series is one curve.
type Series struct {
	Name string // as in the legend
	X, Y []float64

	// Lo and Hi are the smallest and the largest value measured at each X; with
	// them each point has an error bar. Both are given or neither.
	Lo, Hi []float64
}

// Tick is a mark on the x axis.
type Tick struct {
	Value float64
	Label string
}

// Figure is a picture of some curves over one pair of axes. The y axis begins at
// zero, so that heights can be compared.
type Figure struct {
	Title, XLabel, YLabel string
	LogX                  bool   // the x axis is logarithmic
	XTicks                []Tick // marks that are chosen for the x axis if empty
	Series                []Series
}

// check reports the first thing that cannot be drawn.
func (f *Figure) check() error {
	if len(f.Series) == 0 {
		return errors.New("no series")
	}
	for i := range f.Series {
		if err := f.Series[i].check(f.LogX); err != nil {
			return fmt.Errorf("series %d (%q): %w", i, f.Series[i].Name, err)
		}
	}
	for _, t := range f.XTicks {
		if err := checkX(t.Value, f.LogX); err != nil {
			return fmt.Errorf("tick %q: %w", t.Label, err)
		}
	}
	return nil
}

func (s *Series) check(logX bool) error {
	if s.Name == "" {
		return errors.New("no name")
	}
	if len(s.X) == 0 {
		return errors.New("no points")
	}
	if len(s.X) != len(s.Y) {
		return fmt.Errorf("%d x values but %d y values", len(s.X), len(s.Y))
	}
	if len(s.Lo) != len(s.Hi) || len(s.Lo) != 0 && len(s.Lo) != len(s.Y) {
		return fmt.Errorf("%d points but %d lower and %d upper values", len(s.Y), len(s.Lo), len(s.Hi))
	}
	for i, x := range s.X {
		if err := checkX(x, logX); err != nil {
			return fmt.Errorf("point %d: %w", i, err)
		}
		if err := s.checkY(i); err != nil {
			return fmt.Errorf("point %d: %w", i, err)
		}
	}
	return nil
}

// What an axis can show: beyond maxValue neighbouring numbers are further apart
// than one, below minValue everything is zero.
const (
	maxValue = 1e15
	minValue = 1e-9
)

func checkX(x float64, logX bool) error {
	if !(math.Abs(x) <= maxValue) {
		return fmt.Errorf("x is %v", x)
	}
	if logX && x < minValue {
		return fmt.Errorf("x is %v on a logarithmic axis", x)
	}
	return nil
}

// checkY checks that the point is a number, not below the axis, and between its
// lower and upper value.
func (s *Series) checkY(i int) error {
	y := s.Y[i]
	if !(0 <= y && y <= maxValue) {
		return fmt.Errorf("y is %v", y)
	}
	if len(s.Lo) == 0 {
		return nil
	}
	lo, hi := s.Lo[i], s.Hi[i]
	if !(0 <= lo && lo <= y && y <= hi && hi <= maxValue) {
		return fmt.Errorf("y is %v, its lower and upper value %v and %v", y, lo, hi)
	}
	return nil
}
