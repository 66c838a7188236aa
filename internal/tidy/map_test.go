package tidy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"usertcp/internal/half"
	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// update makes the tests write what the documents should say:
//
//	go test ./internal/tidy -update
var update = flag.Bool("update", false, "write what is generated into the documents")

// mapRow is a row of a map of memory in ARCHITECTURE.md:
// | section's id | its name | octets of an element | elements | what it holds |
var mapRow = regexp.MustCompile("(?m)^\\| (\\d+) \\| `[^`]+` \\| ([\\d,]+) \\| ([\\d,]+) \\|")

// drawn returns the map that stands behind a heading of ARCHITECTURE.md.
func drawn(t *testing.T, heading string) []shm.Spec {
	t.Helper()
	text := load(t).texts["ARCHITECTURE.md"]
	_, section, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("ARCHITECTURE.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	section, _, _ = strings.Cut(section, "\n### ")
	var specs []shm.Spec
	for _, m := range mapRow.FindAllStringSubmatch(section, -1) {
		specs = append(specs, shm.Spec{ID: uint32(number(t, m[1])), Elem: uint32(number(t, m[2])), Count: number(t, m[3])})
	}
	return specs
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func rows(specs []shm.Spec) string {
	var b strings.Builder
	for _, s := range specs {
		fmt.Fprintf(&b, "| %d | %d | %d |\n", s.ID, s.Elem, s.Count)
	}
	return b.String()
}

func TestMapOfTheSegmentIsTrue(t *testing.T) {
	want := half.Specs(append(ring.Specs(), nic.Specs()...))
	if *update {
		redraw(t, want)
	}
	if got := drawn(t, "## Map of the segment"); rows(got) != rows(want) {
		t.Errorf("ARCHITECTURE.md says (id, octets, elements)\n%s, the code\n%s(go test ./internal/tidy -update corrects the figures)", rows(got), rows(want))
	}
}

// redraw puts the figures of specs into the rows of the segment's map that have
// their ids; what a section is called and holds is for people to write.
func redraw(t *testing.T, specs []shm.Spec) {
	t.Helper()
	path := filepath.Join(root, "ARCHITECTURE.md")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const heading = "\n## Map of the segment\n"
	before, rest, ok := strings.Cut(string(b), heading)
	section, after, ok2 := strings.Cut(rest, "\n## ")
	if !ok || !ok2 {
		t.Fatal("ARCHITECTURE.md has no map of the segment")
	}
	for _, s := range specs {
		row := regexp.MustCompile(fmt.Sprintf("(?m)^(\\| %d \\| `[^`]+`) \\| [\\d,]+ \\| [\\d,]+ \\|", s.ID))
		section = row.ReplaceAllString(section, fmt.Sprintf("$1 | %s | %s |", thousands(int(s.Elem)), thousands(s.Count)))
	}
	if err := os.WriteFile(path, []byte(before+heading+section+"\n## "+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A circuit's memory does not tell what its sections are, but where they lie.
func TestMapOfACircuitIsTrue(t *testing.T) {
	segment, err := shm.Create("tidy", half.Version, half.Specs(ring.Specs())...)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	driver, err := ring.NewDriver(segment, wire.NewVCI(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := driver.NewMemory(wire.NewVCI(2, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	const page = 4096
	at := page
	for _, s := range drawn(t, "## The circuit's memory") {
		if off := int(memory.Offset(s.ID)); off != at {
			t.Errorf("section %d begins at octet %d, by ARCHITECTURE.md at %d", s.ID, off, at)
		}
		at += (int(s.Elem)*s.Count + page - 1) / page * page
	}
	if at != memory.Size() {
		t.Errorf("a circuit's memory has %d octets, by ARCHITECTURE.md %d", memory.Size(), at)
	}
	for _, n := range []int{ring.Slots, ring.PDUs, ring.Buffers, ring.BufferSize, pool.MaxPDU} {
		if text := load(t).texts["ARCHITECTURE.md"]; !strings.Contains(text, thousands(n)) {
			t.Errorf("ARCHITECTURE.md does not mention the limit %s", thousands(n))
		}
	}
}

// thousands writes n as the documents do.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
