package table

import (
	"fmt"
	"strings"

	"usertcp/internal/perf"
)

// Row is one test with its placement and spinning, and what is aimed at.
type Row struct {
	Name string `json:"name"`
	Link string `json:"link"` // "ring" or "nic"

	Test       perf.Test      `json:"test"`
	Size       int            `json:"size"` // octets
	Conns      int            `json:"conns"`
	NoDelay    bool           `json:"no_delay,omitempty"`
	Spin       string         `json:"spin"`
	CPUs       perf.Placement `json:"cpus"`
	NoOffloads bool           `json:"no_offloads,omitempty"`

	// Goal is the least ratio to the kernel's TCP of user space with itself, Mixed that
	// with a kernel at one of the ends; 0: there is none. Mixed pairings without a goal
	// are not measured.
	Goal  float64 `json:"goal,omitempty"`
	Mixed float64 `json:"mixed_goal,omitempty"`
	// CPUGoal is the most CPU seconds for each GB, of the kernel's; 0: there is none.
	CPUGoal float64 `json:"cpu_goal,omitempty"`
}

const web = 1024 // octets of a response's body

// Rows lists the table: those over the ring, then those over network devices.
func Rows() []Row {
	ring := []Row{
		{Name: "stream, 64 KiB", Test: perf.Stream, Size: 64 << 10, Goal: 1.8, CPUGoal: 0.6},
		{Name: "stream, 64 KiB, two CPUs", Test: perf.Stream, Size: 64 << 10, CPUs: perf.Split, Goal: 1.8, CPUGoal: 0.6},
		{Name: "stream, 64 KiB, 16 connections", Test: perf.Stream, Size: 64 << 10, Conns: 16},
		{Name: "stream, 64 octets, no delay", Test: perf.Stream, Size: 64, NoDelay: true, Goal: 6},
		{Name: "stream, 64 octets, Nagle's algorithm", Test: perf.Stream, Size: 64},
	}
	ring = append(ring, transactions(goals{off: 1.2, byDefault: 5, on: 15, many: 5, crr: 2, http: 1.5})...)
	nic := []Row{
		{Name: "stream, 64 KiB", Test: perf.Stream, Size: 64 << 10, Goal: 1, Mixed: 0.9, CPUGoal: 1},
		{Name: "stream, 64 KiB, two CPUs", Test: perf.Stream, Size: 64 << 10, CPUs: perf.Split, Goal: 1, Mixed: 0.9, CPUGoal: 1},
		{Name: "stream, 64 KiB, devices without offloads", Test: perf.Stream, Size: 64 << 10, NoOffloads: true, Goal: 1},
		{Name: "stream, 64 KiB, devices without offloads, two CPUs", Test: perf.Stream, Size: 64 << 10, NoOffloads: true, CPUs: perf.Split, Goal: 1},
		{Name: "stream, 64 octets, no delay", Test: perf.Stream, Size: 64, NoDelay: true, Goal: 4},
		{Name: "stream, 4 KiB, no delay", Test: perf.Stream, Size: 4 << 10, NoDelay: true},
	}
	nic = append(nic, transactions(goals{off: 1.2, byDefault: 2, on: 4, many: 1.5, crr: 1.3, http: 1.1})...)
	return append(complete("ring", ring), complete("nic", nic)...)
}

// goals are those of the transactions.
type goals struct{ off, byDefault, on, many, crr, http float64 }

// transactions are the rows that both links have. A wake-up across CPUs costs more
// than all the rest of a transaction, so that rr is measured on one and on two.
func transactions(g goals) []Row {
	rr := func(name, spin string, cpus perf.Placement, goal float64) Row {
		where := map[perf.Placement]string{perf.Same: "one CPU", perf.Split: "two CPUs"}[cpus]
		return Row{Name: "rr, " + name + ", " + where, Test: perf.RR, Spin: spin, CPUs: cpus, Goal: goal}
	}
	return []Row{
		rr("blocking", "off", perf.Same, g.off),
		rr("blocking", "off", perf.Split, g.off),
		rr("default", "default", perf.Same, g.byDefault),
		rr("default", "default", perf.Split, g.byDefault),
		rr("spinning", "on", perf.Same, g.on),
		rr("spinning", "on", perf.Split, g.on),
		{Name: "rr, 64 connections", Test: perf.RR, Conns: 64, Goal: g.many},
		{Name: "rr, 64 connections, two CPUs", Test: perf.RR, Conns: 64, CPUs: perf.Split, Goal: g.many},
		{Name: "crr", Test: perf.CRR, Goal: g.crr},
		{Name: "crr, two CPUs", Test: perf.CRR, CPUs: perf.Split, Goal: g.crr},
		{Name: "HTTP/1.1, 64 connections", Test: perf.HTTP, Size: web, Conns: 64, Goal: g.http},
	}
}

// complete fills in what rows leave to the defaults of `usertcp compare`.
func complete(link string, rows []Row) []Row {
	for i := range rows {
		r := &rows[i]
		r.Link = link
		if r.Size == 0 {
			r.Size = 1
		}
		if r.Conns == 0 {
			r.Conns = 1
		}
		if r.Spin == "" {
			r.Spin = "default"
		}
		if r.CPUs == "" {
			r.CPUs = perf.Free
		}
	}
	return rows
}

// Flags are those of the `usertcp compare` that takes this row alone.
func (r *Row) Flags() string {
	var b strings.Builder
	flag := func(name, value, usual string) {
		if value != usual {
			fmt.Fprintf(&b, " -%s %s", name, value)
		}
	}
	flag("link", r.Link, "ring")
	flag("test", string(r.Test), "")
	usual := map[perf.Test]int{perf.Stream: 64 << 10, perf.HTTP: web}[r.Test]
	flag("size", fmt.Sprint(r.Size), fmt.Sprint(max(usual, 1)))
	flag("conns", fmt.Sprint(r.Conns), "1")
	flag("spin", r.Spin, "default")
	flag("cpus", string(r.CPUs), "free")
	if r.NoDelay {
		b.WriteString(" -nodelay")
	}
	if r.NoOffloads {
		b.WriteString(" -offloads off")
	}
	return b.String()[1:]
}

// pairings lists those of the row over devices, without the baseline.
func (r *Row) pairings() []perf.Pairing {
	if r.Mixed == 0 {
		return []perf.Pairing{perf.Alike("user")}
	}
	return []perf.Pairing{perf.Alike("user"), {Client: "user", Server: "kernel"}, {Client: "kernel", Server: "user"}}
}
