package demo

import (
	"fmt"
	"io"
	"strings"
)

// Progress tells what is going on: on a terminal in one line that is written
// over and over, elsewhere in a line for each event.
type Progress struct {
	w        io.Writer
	terminal bool
	width    int // columns of the terminal
	pending  bool
}

// NewProgress returns a Progress that writes to w, a terminal of width columns,
// or anything else if width is 0.
func NewProgress(w io.Writer, width int) *Progress {
	return &Progress{w: w, terminal: width > 0, width: width}
}

// Say tells what is being done now.
func (p *Progress) Say(what string) {
	if !p.terminal {
		fmt.Fprintln(p.w, what)
		return
	}
	p.overwrite(what + " …")
}

// barWidth is that of the bar of Step, in columns.
const barWidth = 20

// Step tells that step of steps is done, and what came of it.
func (p *Progress) Step(step, steps int, what string) {
	if !p.terminal {
		fmt.Fprintf(p.w, "%d/%d %s\n", step, steps, what)
		return
	}
	done := barWidth * step / max(steps, 1)
	bar := strings.Repeat("━", done) + strings.Repeat("·", barWidth-done)
	p.overwrite(fmt.Sprintf("%s %d/%d  %s", bar, step, steps, what))
}

// Done removes the line from a terminal.
func (p *Progress) Done() {
	if p.pending {
		io.WriteString(p.w, "\r\x1b[K")
		p.pending = false
	}
}

// overwrite replaces the line by another that surely fits: a line that wraps
// could not be overwritten.
func (p *Progress) overwrite(line string) {
	if runes := []rune(line); len(runes) >= p.width {
		line = string(runes[:p.width-1])
	}
	io.WriteString(p.w, "\r\x1b[K"+line)
	p.pending = true
}
