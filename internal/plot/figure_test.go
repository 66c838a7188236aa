package plot

import (
	"os"
	"testing"
)

func example() *Figure {
	return &Figure{
		Title:  "Throughput, user-space TCP on the ring and kernel TCP on loopback",
		XLabel: "message size (octets)",
		YLabel: "throughput (Mbit/s)",
		LogX:   true,
		XTicks: []Tick{{64, "64"}, {1024, "1 KiB"}, {4096, "4 KiB"}, {16384, "16 KiB"}, {65536, "64 KiB"}},
		Series: []Series{
			{
				Name: "user-space TCP", X: []float64{64, 1024, 4096, 16384, 65536},
				Y:  []float64{2100, 19000, 38000, 61000, 74000},
				Lo: []float64{1900, 17000, 36000, 55000, 70000}, Hi: []float64{2300, 20000, 41000, 64000, 79000},
			},
			{
				Name: "kernel TCP", X: []float64{64, 1024, 4096, 16384, 65536},
				Y:  []float64{900, 9000, 24000, 41000, 51000},
				Lo: []float64{800, 8800, 22000, 38000, 45000}, Hi: []float64{950, 9700, 25000, 43000, 53000},
			},
			{Name: "no spread <&> known", X: []float64{64, 65536}, Y: []float64{500, 30000}},
		},
	}
}

func TestExample(t *testing.T) {
	dir := os.Getenv("PLOT_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := example().WriteFiles(dir, "throughput"); err != nil {
		t.Fatal(err)
	}
}
