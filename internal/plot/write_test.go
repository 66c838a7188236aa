package plot

import (
	"encoding/xml"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// written writes the figure and returns the texts in its SVG and its PNG.
func written(t *testing.T, f *Figure) ([]string, image.Image) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "out")
	if err := f.WriteFiles(dir, "figure"); err != nil {
		t.Fatal(err)
	}
	return svgTexts(t, filepath.Join(dir, "figure.svg")), pngImage(t, filepath.Join(dir, "figure.png"))
}

func svgTexts(t *testing.T, name string) []string {
	t.Helper()
	r, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var texts []string
	inText := false
	for d := xml.NewDecoder(r); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("%s is not XML: %v", name, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				texts = append(texts, string(token))
			}
		}
	}
}

func pngImage(t *testing.T, name string) image.Image {
	t.Helper()
	r, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	img, err := png.Decode(r)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return img
}

// count returns how many pixels of img in r have the color c.
func count(img image.Image, r image.Rectangle, c color.Color) int {
	n := 0
	wr, wg, wb, _ := c.RGBA()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if pr, pg, pb, _ := img.At(x, y).RGBA(); pr == wr && pg == wg && pb == wb {
				n++
			}
		}
	}
	return n
}

func TestSVGContainsTheWords(t *testing.T) {
	f := example()
	texts, _ := written(t, f)
	want := []string{f.Title, f.XLabel, f.YLabel, "0", "80,000"}
	for _, s := range f.Series {
		want = append(want, s.Name)
	}
	for _, tick := range f.XTicks {
		want = append(want, tick.Label)
	}
	for _, w := range want {
		if !slices.Contains(texts, w) {
			t.Errorf("no text %q among %q", w, texts)
		}
	}
}

func TestPNGHasSizeAndCurves(t *testing.T) {
	_, img := written(t, example())
	if got := img.Bounds(); got != image.Rect(0, 0, Width, Height) {
		t.Fatalf("picture of %v, want %d x %d pixels", got, Width, Height)
	}
	if got := img.At(0, 0); count(img, image.Rect(0, 0, 1, 1), color.White) != 1 {
		t.Errorf("the background is %v, not white", got)
	}
	for i := range 3 {
		if n := count(img, img.Bounds(), palette[i]); n < 500 {
			t.Errorf("curve %d has %d pixels of its color %v", i, n, palette[i])
		}
	}
}

// The legend stands right of all data: the rightmost point's marker lies left of
// every legend line, and the column between holds no color.
func TestLegendCoversNoData(t *testing.T) {
	f := example()
	f.Series = f.Series[:1]
	f.Series[0].Name = strings.Repeat("a long name ", 3)
	_, img := written(t, f)
	free := false
	for x := Width / 4; x < Width; x++ {
		has := count(img, image.Rect(x, 0, x+1, Height), palette[0]) > 0
		if free && has {
			return // curve, gap, legend
		}
		free = !has
	}
	t.Error("no empty column between the curve and the legend")
}

func TestErrorBarsAreDrawn(t *testing.T) {
	f := &Figure{Series: []Series{{Name: "s", X: []float64{1}, Y: []float64{10}}}}
	_, without := written(t, f)
	f.Series[0].Lo, f.Series[0].Hi = []float64{5}, []float64{10}
	_, with := written(t, f)
	differ := 0
	for y := range Height {
		for x := range Width {
			if with.At(x, y) != without.At(x, y) {
				differ++
			}
		}
	}
	if differ < Height/3 {
		t.Errorf("%d pixels differ between a point with an error bar of half the height and one without", differ)
	}
}

func TestFiguresAtTheEdge(t *testing.T) {
	many := &Figure{}
	for range 60 {
		many.Series = append(many.Series, Series{Name: "s", X: []float64{1, 2}, Y: []float64{1, 2}})
	}
	tests := []struct {
		name string
		f    *Figure
	}{
		{"one point", &Figure{Series: []Series{{Name: "s", X: []float64{5}, Y: []float64{7}}}}},
		{"one point, logarithmic", &Figure{LogX: true, Series: []Series{{Name: "s", X: []float64{5}, Y: []float64{7}}}}},
		{"only zeros", &Figure{Series: []Series{{Name: "s", X: []float64{0, 1}, Y: []float64{0, 0}}}}},
		{"very small", &Figure{Series: []Series{{Name: "s", X: []float64{0, 1}, Y: []float64{5e-324, 1e-300}}}}},
		{"very large", &Figure{Series: []Series{{Name: "s", X: []float64{-1e15, 1e15}, Y: []float64{1, 1e15}}}}},
		{"more series than colors", many},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			texts, img := written(t, test.f)
			if !slices.Contains(texts, "s") || !slices.Contains(texts, "0") && !slices.Contains(texts, "0.0") {
				t.Errorf("texts %q, want the series' name and a zero", texts)
			}
			if count(img, img.Bounds(), palette[0]) == 0 {
				t.Error("no pixel of the first series' color")
			}
		})
	}
}
