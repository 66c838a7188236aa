package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"usertcp/internal/perf"
)

// Begin and End stand around the table in a file into which it is put.
const (
	Begin = "<!-- table: begin -->"
	End   = "<!-- table: end -->"
)

// write leaves table.md and table.json, and the table in the file that was asked for.
func (r *Result) write(c *Config) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	md := r.markdown()
	files := map[string][]byte{"table.json": append(b, '\n'), "table.md": []byte(md)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.Out, name), content, 0o644); err != nil {
			return err
		}
	}
	if err := r.into(c.Into, md); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s\nwritten to %s: table.md, table.json\n", md, c.Out)
	return err
}

// into replaces the table in a file, if there is to be one.
func (r *Result) into(path, md string) error {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := replace(string(b), md)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// replace puts a table in the place of the one between Begin and End.
func replace(text, table string) (string, error) {
	before, rest, ok := strings.Cut(text, Begin)
	_, after, ends := strings.Cut(rest, End)
	if !ok || !ends {
		return "", errors.New("there are no lines " + Begin + " and " + End)
	}
	return before + Begin + "\n" + table + End + after, nil
}

// markdown is the table for people.
func (r *Result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Taken on %s on a machine with %d CPUs (%s), %s, %s: medians, %d turns of %v s for each row; in brackets the smallest and the largest ratio.\n",
		r.Date.Format("2006-01-02"), r.Machine.CPUs, r.Machine.Processor, r.Machine.Kernel, r.Machine.Go, r.Repeat, r.Seconds)
	b.WriteString(r.distances())
	r.section(&b, "ring", "over a ring, the kernel over loopback")
	r.section(&b, "nic", "over devices, the kernel over the same")
	if r.NoLink != "" {
		fmt.Fprintf(&b, "\nNothing over devices: %s.\n", r.NoLink)
	}
	return b.String()
}

// distances says how far apart the CPUs were in the rows of two CPUs, over all of them.
func (r *Result) distances() string {
	var medians []float64
	least, most, again := math.Inf(1), 0.0, 0
	for i := range r.Entries {
		if d := r.Entries[i].Distances; d != nil && r.Entries[i].Pairing == perf.Alike("user") { // others are of the same turns
			medians = append(medians, d.Apart.Median)
			least, most = min(least, d.Apart.Min), max(most, d.Apart.Max)
			again += d.Again
		}
	}
	if len(medians) == 0 {
		return ""
	}
	return fmt.Sprintf("The two CPUs were %.0f ns apart (%.0f–%.0f: a word of memory there and back); turns in which that changed, %d, were taken again.\n",
		perf.Median(medians), least, most, again)
}

// section is the rows of one link.
func (r *Result) section(b *strings.Builder, link, head string) {
	fmt.Fprintf(b, "\n| %s | user space | kernel | ratio | goal | CPU s, user : kernel, ratio | of it in the kernel, %% | system calls | switches / 1000 |\n", head)
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Link == link {
			e.markdown(b)
		}
	}
}

// markdown is one line of the table.
func (e *Entry) markdown(b *strings.Builder) {
	name := e.Name
	if e.Pairing != perf.Alike("user") {
		name += ", " + e.Pairing.String()
	}
	if e.Failed != "" {
		fmt.Fprintf(b, "| %s | failed: %s | | | %s | | | | |\n", name, strings.NewReplacer("|", "/", "\n", "; ").Replace(e.Failed), goal(e))
		return
	}
	fmt.Fprintf(b, "| %s | %s | %s | %.2f (%.2f–%.2f) | %s | %s : %s%s, %.2f | %.0f : %.0f | %s | %s : %s |\n",
		name, e.rate(&e.User), e.rate(&e.Kernel), e.Ratio.Median, e.Ratio.Min, e.Ratio.Max, goal(e),
		short(e.User.CPU), short(e.Kernel.CPU), e.unit(), e.CPURatio.Median, 100*e.User.KernelShare, 100*e.Kernel.KernelShare,
		e.calls(), short(e.User.Switches), short(e.Kernel.Switches))
}

// unit is what the CPU seconds are for, and over devices those of the machine.
func (e *Entry) unit() string {
	unit := " / 10⁶"
	if e.Test.Bulk() {
		unit = " / GB"
	}
	if e.User.Machine > 0 {
		unit += fmt.Sprintf(" (machine %s : %s)", short(e.User.Machine), short(e.Kernel.Machine))
	}
	return unit
}

// goal is what is aimed at, in bold where it is not reached.
func goal(e *Entry) string {
	var parts []string
	if e.Aim > 0 {
		parts = append(parts, fmt.Sprintf("%g", e.Aim))
	}
	if e.CPUGoal > 0 {
		parts = append(parts, fmt.Sprintf("CPU ≤ %g", e.CPUGoal))
	}
	text := strings.Join(parts, ", ")
	if text != "" && !e.Reached() {
		text = "**" + text + "**"
	}
	return text
}

// rate is in Gbit/s, or in transactions each second; of several streams with Jain's
// index.
func (e *Entry) rate(f *Figures) string {
	if !e.Test.Bulk() {
		return thousands(f.Rate.Median) + "/s"
	}
	text := short(f.Rate.Median/1000) + " Gbit/s"
	if e.Conns > 1 {
		text += fmt.Sprintf(", Jain %.3f", f.Jain)
	}
	return text
}

// calls are for each MB of bulk data, otherwise for 1,000 transactions.
func (e *Entry) calls() string {
	u, k := e.User.SystemCalls, e.Kernel.SystemCalls
	switch {
	case u == nil || k == nil:
		return "–"
	case e.Test.Bulk():
		return fmt.Sprintf("%s : %s / MB", short(u.PerMB), short(k.PerMB))
	}
	return fmt.Sprintf("%s : %s / 1000", short(u.Per1000), short(k.Per1000))
}

// line is for progress.
func (e *Entry) line() string {
	if e.Failed != "" {
		return fmt.Sprintf("%s, %s: failed: %s", e.Link, e.Name, e.Failed)
	}
	return fmt.Sprintf("%s, %s: %.2f", e.Link, e.Name, e.Ratio.Median)
}

// short writes three digits that count.
func short(x float64) string {
	if x >= 1000 {
		return thousands(x)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// thousands writes a whole number with its thousands apart.
func thousands(x float64) string {
	s := strconv.FormatFloat(x, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
