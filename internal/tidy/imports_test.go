package tidy

import (
	"slices"
	"strings"
	"testing"
)

// arrows says which packages of the module each package may import. They point
// down only: whoever reads a package need not know those above it.
var arrows = map[string][]string{
	// The engine and what it stands on. No arrow leads to anything that shares
	// memory, moves packets or talks to other processes.
	"internal/seq":  {},
	"internal/wire": {"internal/seq"},
	"internal/tcp":  {"internal/seq", "internal/wire"},

	// Memory and packets. They know no TCP.
	"internal/shm":       {},
	"internal/pool":      {"internal/shm"},
	"internal/message":   {"internal/wire"},
	"internal/pool/ring": {"internal/message", "internal/pool", "internal/shm", "internal/wire"},
	"internal/pool/nic":  {"internal/pool", "internal/shm", "internal/wire"},

	// Network devices and eBPF, for the server only: it depends on libraries that
	// no application is to link.
	"internal/ethtool": {},
	"internal/nic":     {"internal/ethtool", "internal/wire"},

	// Where both meet.
	"internal/half": {"internal/pool", "internal/seq", "internal/shm", "internal/tcp", "internal/wire"},

	// The three kinds of process. The server is trusted and never maps an
	// application's segment, so that it may see neither half nor shm. Of the
	// engine it uses the answer to a segment that belongs to nobody.
	"internal/server": {"internal/message", "internal/nic", "internal/pool/ring", "internal/tcp", "internal/wire"},
	"internal/child":  {"internal/half", "internal/message", "internal/pool", "internal/pool/nic", "internal/pool/ring", "internal/shm", "internal/tcp", "internal/wire"},
	"internal/user":   {"internal/half", "internal/message", "internal/pool", "internal/pool/nic", "internal/pool/ring", "internal/shm", "internal/wire"},
	".":               {"internal/half", "internal/tcp", "internal/user", "internal/wire"},

	// Whole hosts without processes.
	"internal/sim": {"internal/half", "internal/pool", "internal/seq", "internal/shm", "internal/tcp", "internal/wire"},

	// Tools over the library.
	"internal/plot":         {},
	"internal/perf/proc":    {},
	"internal/netns":        {"internal/ethtool"},
	"internal/perf":         {".", "internal/netns", "internal/perf/proc"},
	"internal/perf/demo":    {"internal/perf", "internal/perf/proc", "internal/plot"},
	"internal/perf/figures": {"internal/perf", "internal/perf/demo", "internal/plot"},
	"internal/perf/table":   {"internal/perf", "internal/perf/demo"},
	"cmd/usertcp":           {".", "internal/child", "internal/nic", "internal/perf", "internal/perf/demo", "internal/perf/figures", "internal/perf/proc", "internal/perf/table", "internal/server", "internal/sim", "internal/wire"},
	"examples/echo":         {"."},
	"examples/hello":        {"."},
	"examples/http":         {"."},
	"examples/restart":      {"."},
	"examples/sendfile":     {"."},

	// For tests only: no program may import them.
	"tests/nic":               {},
	"tests/packetdrill":       {"internal/wire", "tests/packetdrill/stack"},
	"tests/packetdrill/stack": {"internal/half", "internal/pool", "internal/shm", "internal/tcp", "internal/wire"},
	"tests/hostile":           {},
	"tests/limits":            {},
	"tests/exit":              {},
	"tests/kill":              {},
	"tests/upgrade":           {},
	"internal/interleave":     {},
	"internal/testnet":        {"internal/netns"},
	"internal/testhost":       {"internal/child", "internal/nic", "internal/server", "internal/user"},
	"internal/tidy":           {},
}

func inModule(path string) (dir string, ok bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImportsPointDown(t *testing.T) {
	r := load(t)
	for _, pkg := range r.packages() {
		if _, ok := arrows[pkg]; !ok {
			t.Errorf("%s: a new package needs a row in arrows that says what it may import", pkg)
		}
	}
	for _, s := range r.files {
		if s.test { // tests may look at anything
			continue
		}
		for _, path := range s.imports() {
			if dir, ok := inModule(path); ok && !slices.Contains(arrows[s.pkg], dir) {
				t.Errorf("%s imports %s: its package may import %v of this module only", s.path, path, arrows[s.pkg])
			}
		}
	}
}

// The rows themselves must not make a circle, or "down" would mean nothing.
func TestArrowsHaveNoCircle(t *testing.T) {
	done := map[string]bool{}
	var visit func(pkg string, above []string)
	visit = func(pkg string, above []string) {
		if slices.Contains(above, pkg) {
			t.Fatalf("the arrows go in a circle: %v", append(above, pkg))
		}
		if done[pkg] {
			return
		}
		for _, next := range arrows[pkg] {
			if _, ok := arrows[next]; !ok {
				t.Errorf("%s may import %s, which has no row", pkg, next)
			}
			visit(next, append(slices.Clone(above), pkg))
		}
		done[pkg] = true
	}
	for pkg := range arrows {
		visit(pkg, nil)
	}
}

// pure lists what the engine may import of the standard library: calculation,
// and nothing that has a clock, a goroutine, a system call or I/O; and what tells the
// features of the processor. So the same
// code runs in the application, in the child and under a virtual clock in a test.
var pure = []string{
	"bytes", "cmp", "encoding/binary", "errors", "golang.org/x/sys/cpu", "hash/crc32", "math", "math/bits",
	"net/netip", "slices", "strconv", "strings",
}

func TestEngineIsPure(t *testing.T) {
	r := load(t)
	for _, s := range r.files {
		if s.test || !slices.Contains([]string{"internal/seq", "internal/wire", "internal/tcp"}, s.pkg) {
			continue
		}
		for _, path := range s.imports() {
			if _, ours := inModule(path); !ours && !slices.Contains(pure, path) && path != "unsafe" {
				t.Errorf("%s imports %s: the engine takes segments, calls and the time, and knows nothing of an operating system", s.path, path)
			}
		}
	}
}

// library lists the packages that end up in every program that uses the library.
var library = []string{
	".", "internal/seq", "internal/wire", "internal/tcp", "internal/shm", "internal/pool",
	"internal/pool/ring", "internal/pool/nic", "internal/message", "internal/half", "internal/user", "internal/child", "internal/server",
}

// A dependency of the library is one of everybody who uses it: there is only
// golang.org/x/sys, for system calls that package syscall lacks.
func TestLibraryDependsOnXSysOnly(t *testing.T) {
	r := load(t)
	for _, s := range r.files {
		if s.test || !slices.Contains(library, s.pkg) {
			continue
		}
		for _, path := range s.imports() {
			first, _, _ := strings.Cut(path, "/")
			if strings.Contains(first, ".") && !strings.HasPrefix(path, "golang.org/x/sys/") {
				t.Errorf("%s imports %s: the library depends on the standard library and golang.org/x/sys", s.path, path)
			}
		}
	}
}
