package plot

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Size of a picture in pixels. A point of the SVG, of which 72 make an inch, is
// 4/3 of them.
const (
	Width  = 1000
	Height = 600

	dpi = 96
)

const pixel = vg.Inch / dpi

// The font that an SVG asks for is measured here and looked for by whoever shows
// it: fonts of the same widths stand in where it is missing.
const (
	svgFont  = "font-family:Liberation Sans;"
	svgFonts = "font-family:Liberation Sans,Arial,Helvetica,sans-serif;"
)

// WriteFiles draws the figure and writes it to name.svg and name.png in dir,
// which is created if it does not exist. Nothing is written if the figure has
// nothing to draw or contradicts itself; the error says where.
func (f *Figure) WriteFiles(dir, name string) error {
	if err := f.writeFiles(dir, name); err != nil {
		return fmt.Errorf("plot: figure %q: %w", name, err)
	}
	return nil
}

func (f *Figure) writeFiles(dir, name string) error {
	if name == "" || name != filepath.Base(name) {
		return errors.New("its name is not that of a file")
	}
	if err := f.check(); err != nil {
		return err
	}
	svg, err := f.svg()
	if err != nil {
		return err
	}
	png, err := f.png()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".svg"), svg, 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".png"), png, 0o666)
}

func (f *Figure) svg() ([]byte, error) {
	c := vgsvg.NewWith(vgsvg.UseWH(Width*pixel, Height*pixel))
	if err := f.draw(draw.New(c)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(b.Bytes(), []byte(svgFont), []byte(svgFonts)), nil
}

func (f *Figure) png() ([]byte, error) {
	c := vgimg.NewWith(vgimg.UseWH(Width*pixel, Height*pixel), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(color.White))
	if err := f.draw(draw.New(c)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(&b)
	return b.Bytes(), err
}
