package plot

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTicks(t *testing.T) {
	tests := []struct {
		hi   float64
		want string
	}{
		{1, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{0.05, "0.00 0.01 0.02 0.03 0.04 0.05"},
		{8, "0 1 2 3 4 5 6 7 8"},
		{8.5, "0 2 4 6 8"},
		{44, "0 10 20 30 40"},
		{82950, "0 20,000 40,000 60,000 80,000"},
		{1234567, "0 200,000 400,000 600,000 800,000 1,000,000 1,200,000"},
	}
	for _, test := range tests {
		var labels []string
		for _, tick := range yTicks(0, test.hi) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != test.want {
			t.Errorf("an axis to %v is marked %s, want %s", test.hi, got, test.want)
		}
	}
}

func TestTicksAreFewAndInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hi := rapid.Float64Range(minValue, 2*maxValue).Draw(t, "hi")
		ticks := yTicks(0, hi)
		if len(ticks) < 3 || len(ticks) > maxSteps+1 {
			t.Fatalf("%d marks up to %v", len(ticks), hi)
		}
		for i, tick := range ticks {
			if tick.Value < 0 || tick.Value > hi || i > 0 && tick.Label == ticks[i-1].Label {
				t.Fatalf("marks up to %v: %v", hi, ticks)
			}
		}
	})
}
