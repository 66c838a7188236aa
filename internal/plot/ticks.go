package plot

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// maxSteps is how many steps between marks a y axis has at most.
const maxSteps = 8

// yTicks marks an axis from lo to hi at round numbers: the smallest step of 1, 2
// or 5 times a power of ten that makes no more than maxSteps.
func yTicks(lo, hi float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/maxSteps)))
	for _, k := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*k) <= maxSteps {
			step *= k
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(lo / step); i*step <= hi; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: number(i*step, step)})
	}
	return ticks
}

// number prints v, a multiple of step, with as many decimals as step has and
// commas between the thousands.
func number(v, step float64) string {
	decimals := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	point := strings.IndexByte(s, '.')
	if point < 0 {
		point = len(s)
	}
	for i := point - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
