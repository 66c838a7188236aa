package figures

import (
	"fmt"
	"strings"

	"usertcp/internal/perf"
	"usertcp/internal/perf/demo"
)

// tables are all medians, for a terminal.
func (r *Result) tables() string {
	var b strings.Builder
	for _, s := range r.Setting {
		fmt.Fprintf(&b, "Mbit/s, %s:\n%s\n", s.Title, r.table(s, "%-31s", "%9s", "\n", func(p *Point) perf.Summary { return p.Rate }))
	}
	return b.String()
}

// table is one quantity of all variants.
func (r *Result) table(s Setting, name, cell, end string, of func(*Point) perf.Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, name, "")
	for _, p := range r.Curves[0].Points {
		fmt.Fprintf(&b, cell, demo.SizeName(p.Size))
	}
	b.WriteString(end)
	for _, c := range r.Curves {
		if c.Setting != s.Name {
			continue
		}
		fmt.Fprintf(&b, name, c.Name)
		for i := range c.Points {
			fmt.Fprintf(&b, cell, fmt.Sprintf("%.0f", of(&c.Points[i]).Median))
		}
		b.WriteString(end)
	}
	return b.String()
}

// markdown is table for the page.
func (r *Result) markdown(s Setting, of func(*Point) perf.Summary) string {
	lines := strings.SplitAfter(r.table(s, "| %s ", "| %s ", "|\n", of), "\n")
	rule := "|---" + strings.Repeat("|---:", len(r.Curves[0].Points)) + "|\n"
	return lines[0] + rule + strings.Join(lines[1:], "")
}

// ratio is a variant's median throughput to the kernel's, at the longest messages.
func (r *Result) ratio(setting, variant string) float64 {
	last := func(name string) float64 {
		for _, c := range r.Curves {
			if c.Setting == setting && c.Name == name && len(c.Points) > 0 {
				return c.Points[len(c.Points)-1].Rate.Median
			}
		}
		return 0
	}
	if k := last(Variants[0].Name); k > 0 {
		return last(variant) / k
	}
	return 0
}

// optimised is what the paper's two optimisations come to.
func (r *Result) optimised(setting string) string {
	s := fmt.Sprintf("%.2f times (buffer cache)", r.ratio(setting, "child receives, buffer cache"))
	if x := r.ratio(setting, "child receives, both"); x > 0 {
		s += fmt.Sprintf(", %.2f times (real-time), %.2f times (both)", r.ratio(setting, "child receives, real-time"), x)
	}
	return s
}

// page says what the paper found, what was found here, and why they differ.
func (r *Result) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The paper's figures 2 and 3, repeated\n\nTaken on %s on %s (%d CPUs), %s, %s. Medians of %d measurements of %v s, in turns; placement %s.\n\n",
		r.Date.Format("2006-01-02"), r.Machine.Processor, r.Machine.CPUs, r.Machine.Kernel, r.Machine.Go, r.Repeat, r.Seconds, r.CPUs)
	b.WriteString(`## What the paper found

Between two HP 9000/735 over Jetstream, in 1995: user-space TCP moved about 160 Mbit/s, in all its
variants, which was 80 % of what the single-copy kernel TCP moved, and more than the ordinary
kernel TCP. The sender's CPU was busy for 82 % (both optimisations) to 88 % (none) of the time, the
kernel's for 72 %. The receiver was the bottleneck.

## What we find

`)
	for _, s := range r.Setting {
		fmt.Fprintf(&b, "### %s\n\nThroughput, Mbit/s:\n\n![throughput](figure2-%s.svg)\n\n%s\n", s.Title, s.Name, r.markdown(s, func(p *Point) perf.Summary { return p.Rate }))
		fmt.Fprintf(&b, "CPU time of the sender's processes, %% of one CPU:\n\n![CPU time](figure3-%s.svg)\n\n%s\n", s.Name, r.markdown(s, func(p *Point) perf.Summary { return p.CPU }))
		fmt.Fprintf(&b, "With the longest messages the arrangement of 1995 (the child receives, a semaphore is the lock)\nmoves %.2f times what the kernel moves, with its optimisations %s; the default %.2f times, with a\nbuffer cache %.2f times, with two copies %.2f times.\n\n",
			r.ratio(s.Name, "child receives"), r.optimised(s.Name), r.ratio(s.Name, "caller receives (default)"),
			r.ratio(s.Name, "caller receives, buffer cache"), r.ratio(s.Name, "caller receives, two copies"))
	}
	if len(r.Left) > 0 {
		fmt.Fprintf(&b, "Left out, since they need root: %s.\n\n", strings.Join(r.Left, "; "))
	}
	b.WriteString(why)
	return b.String()
}

const why = `## Why they differ

- The paper's pools lay in the kernel: sending, receiving, allocating and freeing were system
  calls. Over a ring they are operations on shared memory, and a system call is left where somebody
  has to be woken; over devices sending and receiving a packet is one each. Allocating and freeing
  never is one here, whether with the buffer cache or without: what the cache saved in the paper, the
  crossing for each buffer, does not occur, and so it can gain only what warmer buffers gain.
- The paper's child took all packets, so that each cost a switch to the child and one back to the
  program. The variants in which the child receives pay for that still. In the others the program
  takes its packets itself, as the paper's section 7 wanted.
- The paper's semaphore was a system call for each taking and giving back; so is it here. Our lock
  and Peterson's are not.
- Real-time priority gave nothing in the paper, for the context switches that it brings. See above
  what it gives here: on several CPUs the child need not wait for the program's to be free.
- Copies: over a ring one on each side, of the program into the packet's buffer and out of it, or two
  in the variants that say so, through buffers of the pool's own. Over devices the kernel copies what
  it is given and gives, once on each side besides; where the default's reader waits for a long
  payload the kernel's copy is into its memory, and the only one on that side. The kernel's TCP copies once on each side, from the
  program and to it; the paper's normal kernel copied twice, its single-copy kernel had hardware for it.
- Over loopback the kernel's packets have up to 64 KB, whatever the setting: the device's MTU is
  the host's, and nothing of the host is changed here. Over devices both stacks have the setting's MTU,
  and segmentation offload.
- The paper's sender waited for its receiver, and had CPU time left over. Here both ends run on one
  machine; where they share its CPUs the per cent of a CPU say how the two divide it.
`
