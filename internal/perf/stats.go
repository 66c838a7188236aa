package perf

import "slices"

// Summary describes repeated measurements. Unit is empty for ratios.
type Summary struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	Unit   string  `json:"unit,omitempty"`
}

// Summarize returns the zero Summary for no values.
func Summarize(values []float64, unit string) Summary {
	if len(values) == 0 {
		return Summary{Unit: unit}
	}
	return Summary{Min: slices.Min(values), Median: Median(values), Max: slices.Max(values), Unit: unit}
}

// Median returns the middle value, or the mean of the two in the middle; 0 for
// no values.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// ratios divides a figure of some reports by that of others, turn by turn.
func ratios(reports, baseline []*Report, figure func(*Report) float64) []float64 {
	values := make([]float64, len(reports))
	for i, r := range reports {
		values[i] = quotient(figure(r), figure(baseline[i]))
	}
	return values
}

// quotient is 0 where there is nothing to compare with.
func quotient(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
