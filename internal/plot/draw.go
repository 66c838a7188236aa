package plot

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// palette is Okabe and Ito's, which people with any kind of colour vision can
// tell apart, without its yellow, which is faint on white.
var palette = []color.Color{
	color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, // blue
	color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, // vermilion
	color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, // green
	color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, // purple
	color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff}, // orange
	color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, // sky blue
	color.RGBA{A: 0xff},
}

// markers tell the curves apart on paper, too. Their number and the palette's
// have no common divisor, so that 56 curves differ.
var markers = []draw.GlyphDrawer{
	draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{},
	draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.PlusGlyph{}, draw.CrossGlyph{},
}

// Measures of the picture.
const (
	titleSize  = 14 * vg.Inch / 72
	textSize   = 11 * vg.Inch / 72
	lineWidth  = 1.75 * vg.Inch / 72
	markerSize = 3.5 * vg.Inch / 72
	barWidth   = 1 * vg.Inch / 72
	capWidth   = 7 * vg.Inch / 72
	margin     = 10 * vg.Inch / 72
)

var gridColor = color.Gray{Y: 0xdd}

// draw draws the figure: the legend in a column of its own at the right, where
// it covers no data, and the axes with the curves in the rest.
func (f *Figure) draw(c draw.Canvas) error {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	c = draw.Crop(c, margin, -margin, margin, -margin)

	p := f.axes()
	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	setFont(&legend.TextStyle.Font, textSize)
	legend.ThumbnailWidth = 24 * vg.Inch / 72
	legend.Padding = 5 * vg.Inch / 72
	for i := range f.Series {
		if err := f.Series[i].addTo(p, &legend, i); err != nil {
			return err
		}
	}
	f.fitAxes(p)
	column := legend.Rectangle(c).Size().X + margin
	p.Draw(draw.Crop(c, 0, -column, 0, 0))
	legend.Draw(draw.Crop(c, c.Size().X-column+margin, 0, 0, -2*titleSize))
	return nil
}

// axes returns an empty plot with titles and grid.
func (f *Figure) axes() *plot.Plot {
	p := plot.New()
	p.Title.Text = f.Title
	p.Title.Padding = margin
	p.X.Label.Text, p.Y.Label.Text = f.XLabel, f.YLabel
	setFont(&p.Title.TextStyle.Font, titleSize)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		setFont(&a.Label.TextStyle.Font, textSize)
		setFont(&a.Tick.Label.Font, textSize)
		a.Label.Padding = 4 * vg.Inch / 72
		a.Padding = 0
	}
	p.Y.Tick.Marker = plot.TickerFunc(yTicks)
	if f.LogX {
		p.X.Scale = plot.LogScale{}
		p.X.Tick.Marker = plot.LogTicks{Prec: -1}
	}
	if len(f.XTicks) > 0 {
		ticks := make(plot.ConstantTicks, len(f.XTicks))
		for i, t := range f.XTicks {
			ticks[i] = plot.Tick{Value: t.Value, Label: t.Label}
		}
		p.X.Tick.Marker = ticks
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = gridColor, gridColor
	p.Add(grid)
	return p
}

// setFont makes f sans-serif, which reads better than the default in small sizes.
func setFont(f *font.Font, size vg.Length) {
	f.Variant, f.Size = "Sans", size
}

// addTo draws the series as the i-th: a line through markers, and error bars
// below them.
func (s *Series) addTo(p *plot.Plot, legend *plot.Legend, i int) error {
	points := s.points()
	line, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	c := palette[i%len(palette)]
	line.Color, line.Width = c, lineWidth
	marks.Color, marks.Radius, marks.Shape = c, markerSize, markers[i%len(markers)]
	if len(s.Lo) > 0 {
		bars, err := plotter.NewYErrorBars(points)
		if err != nil {
			return err
		}
		bars.Color, bars.Width, bars.CapWidth = c, barWidth, capWidth
		p.Add(bars)
	}
	p.Add(line, marks)
	legend.Add(s.Name, line, marks)
	return nil
}

// spread is a series as the plotters want it: XYer and YErrorer.
type spread struct {
	plotter.XYs
	plotter.YErrors
}

func (s *Series) points() spread {
	v := spread{XYs: make(plotter.XYs, len(s.X)), YErrors: make(plotter.YErrors, len(s.Lo))}
	for i := range s.X {
		v.XYs[i] = plotter.XY{X: s.X[i], Y: s.Y[i]}
	}
	for i := range s.Lo {
		v.YErrors[i].Low, v.YErrors[i].High = s.Y[i]-s.Lo[i], s.Hi[i]-s.Y[i]
	}
	return v
}

// fitAxes sets the ends of the axes: y begins at zero and leaves some air above
// the highest bar; x leaves some at both sides, also for a single point.
func (f *Figure) fitAxes(p *plot.Plot) {
	const air = 0.05
	p.Y.Min, p.Y.Max = 0, f.maxY()*(1+air)
	if p.Y.Max < minValue {
		p.Y.Max = 1
	}
	for _, t := range f.XTicks {
		p.X.Min, p.X.Max = min(p.X.Min, t.Value), max(p.X.Max, t.Value)
	}
	if f.LogX {
		k := math.Pow(p.X.Max/p.X.Min, air/2)
		if k == 1 {
			k = 10 // a decade on each side, so that there is a power of ten to mark
		}
		p.X.Min, p.X.Max = p.X.Min/k, p.X.Max*k
		return
	}
	d := (p.X.Max - p.X.Min) * air / 2
	if d == 0 {
		d = 1
	}
	p.X.Min, p.X.Max = p.X.Min-d, p.X.Max+d
}

func (f *Figure) maxY() float64 {
	m := 0.0
	for i := range f.Series {
		for _, v := range [][]float64{f.Series[i].Y, f.Series[i].Hi} {
			for _, y := range v {
				m = max(m, y)
			}
		}
	}
	return m
}
