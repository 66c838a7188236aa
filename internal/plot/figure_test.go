package plot

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// example is a figure like the demo's, and one series that has no spread.
func example() *Figure {
	sizes := []float64{64, 1024, 4096, 16384, 65536}
	return &Figure{
		Title:  "Throughput, user-space TCP on the ring and kernel TCP on loopback",
		XLabel: "message size (octets)",
		YLabel: "throughput (Mbit/s)",
		LogX:   true,
		XTicks: []Tick{{64, "64"}, {1024, "1 KiB"}, {4096, "4 KiB"}, {16384, "16 KiB"}, {65536, "64 KiB"}},
		Series: []Series{
			{
				Name: "user-space TCP", X: sizes,
				Y:  []float64{2100, 19000, 38000, 61000, 74000},
				Lo: []float64{1900, 17000, 36000, 55000, 70000},
				Hi: []float64{2300, 20000, 41000, 64000, 79000},
			},
			{
				Name: "kernel TCP", X: sizes,
				Y:  []float64{900, 9000, 24000, 41000, 51000},
				Lo: []float64{800, 8800, 22000, 38000, 45000},
				Hi: []float64{950, 9700, 25000, 43000, 53000},
			},
			{Name: "no spread <&> known", X: []float64{64, 65536}, Y: []float64{500, 30000}},
		},
	}
}

func TestFiguresThatCannotBeDrawn(t *testing.T) {
	one := func(change func(s *Series)) *Figure {
		s := Series{Name: "curve", X: []float64{1, 2}, Y: []float64{3, 4}}
		change(&s)
		return &Figure{Series: []Series{s}}
	}
	nan := math.NaN()
	tests := []struct {
		name string
		f    *Figure
		want string // part of the error
	}{
		{"no series at all", &Figure{}, "no series"},
		{"a series without a name", one(func(s *Series) { s.Name = "" }), "no name"},
		{"a series without points", one(func(s *Series) { s.X, s.Y = nil, nil }), "no points"},
		{"more x than y", one(func(s *Series) { s.Y = s.Y[:1] }), "2 x values but 1 y values"},
		{"a lower bound alone", one(func(s *Series) { s.Lo = s.Y }), "2 lower and 0 upper"},
		{"bounds for one point of two", one(func(s *Series) { s.Lo, s.Hi = s.Y[:1], s.Y[:1] }), "1 lower and 1 upper"},
		{"x not a number", one(func(s *Series) { s.X[1] = nan }), "point 1: x is NaN"},
		{"x infinite", one(func(s *Series) { s.X[0] = math.Inf(-1) }), "point 0: x is -Inf"},
		{"y not a number", one(func(s *Series) { s.Y[0] = nan }), "point 0: y is NaN"},
		{"y infinite", one(func(s *Series) { s.Y[1] = math.Inf(1) }), "point 1: y is +Inf"},
		{"y below the axis", one(func(s *Series) { s.Y[1] = -4 }), "point 1: y is -4"},
		{"y above its upper bound", one(func(s *Series) { s.Lo, s.Hi = []float64{3, 4}, []float64{3, 3.5} }), "point 1: y is 4"},
		{"a bound that is not a number", one(func(s *Series) { s.Lo, s.Hi = []float64{nan, 4}, s.Y }), "point 0: y is 3"},
		{"a second series that is bad", &Figure{Series: []Series{
			{Name: "good", X: []float64{1}, Y: []float64{1}}, {Name: "bad"}}}, `series 1 ("bad")`},
		{"zero on a logarithmic axis", &Figure{LogX: true, Series: []Series{
			{Name: "curve", X: []float64{0}, Y: []float64{1}}}}, "x is 0 on a logarithmic axis"},
		{"a tick of zero on a logarithmic axis", &Figure{LogX: true, XTicks: []Tick{{0, "none"}}, Series: []Series{
			{Name: "curve", X: []float64{1}, Y: []float64{1}}}}, `tick "none": x is 0`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			err := test.f.WriteFiles(dir, "throughput")
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `"throughput"`) {
				t.Errorf("error %v, want one about figure \"throughput\" with %q", err, test.want)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("something was written all the same (%v)", err)
			}
		})
	}
}

func TestNamesThatAreNotFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", "a/b", "../b", "/b"} {
		if err := example().WriteFiles(dir, name); err == nil {
			t.Errorf("a figure named %q was written", name)
		}
	}
}

func TestDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := example().WriteFiles(filepath.Join(file, "dir"), "throughput"); err == nil {
		t.Error("no error from a directory below a plain file")
	}
}
