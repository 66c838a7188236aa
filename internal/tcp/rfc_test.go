package tcp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// folders are where the packages that docs/rfc.md and docs/rfcs.md name lie.
var folders = map[string]string{
	"tcp": ".", "wire": "../wire", "half": "../half", "server": "../server", "usertcp": "../..",
	"nic": "../../tests/nic",
}

// functions returns the names of all functions and methods of a package; those
// of its tests apart.
func functions(t *testing.T, dir string) (code, tests map[string]bool) {
	t.Helper()
	code, tests = map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		into := code
		if strings.HasSuffix(name, "_test.go") {
			into = tests
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				into[fn.Name.Name] = true
			}
		}
	}
	return code, tests
}

var codeName = regexp.MustCompile("`([a-z]+)\\.([A-Za-z0-9_]+)`")

// names are those of functions, by package.
type names map[string]map[string]bool

func allNames(t *testing.T) (code, tests names) {
	t.Helper()
	code, tests = names{}, names{}
	for pkg, dir := range folders {
		code[pkg], tests[pkg] = functions(t, dir)
	}
	return code, tests
}

// checkRow checks that a row names functions that exist, or a departure, and tests that
// exist.
func checkRow(t *testing.T, id, where, shown string, code, tests names) {
	t.Helper()
	named := codeName.FindAllStringSubmatch(where, -1)
	departs := strings.Contains(where, "Departure") || strings.HasPrefix(where, "Not used")
	if len(named) == 0 && !departs {
		t.Errorf("%s: no function, and no departure", id)
	}
	for _, m := range named {
		if !code[m[1]][m[2]] {
			t.Errorf("%s: there is no function %s.%s", id, m[1], m[2])
		}
	}
	by := codeName.FindAllStringSubmatch(shown, -1)
	if len(by) == 0 {
		t.Errorf("%s: no test", id)
	}
	for _, m := range by {
		if !strings.HasPrefix(m[2], "Test") || !tests[m[1]][m[2]] {
			t.Errorf("%s: there is no test %s.%s", id, m[1], m[2])
		}
	}
}

// TestRequirementsOfRFC9293 holds docs/rfc.md to its promise: each identifier of
// the appendix has one row, which names functions that exist, or a departure and
// its reason, and tests that exist.
func TestRequirementsOfRFC9293(t *testing.T) {
	ids, err := os.ReadFile("testdata/rfc9293-ids.txt")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/rfc.md")
	if err != nil {
		t.Fatal(err)
	}
	code, tests := allNames(t)
	rows := map[string]int{}
	for _, line := range strings.Split(string(page), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.Contains(cells[0], "-") {
			continue
		}
		id := strings.TrimPrefix(cells[0], "| ")
		rows[id]++
		checkRow(t, id, cells[2], cells[3], code, tests)
	}
	want := strings.Fields(string(ids))
	if len(want) != 119 {
		t.Errorf("%d identifiers in the list", len(want))
	}
	for _, id := range want {
		if rows[id] != 1 {
			t.Errorf("%s: %d rows", id, rows[id])
		}
		delete(rows, id)
	}
	for id := range rows {
		if !slices.Contains(want, id) {
			t.Errorf("%s is no requirement", id)
		}
	}
}

// others are the RFCs that docs/rfcs.md is to have a row of.
const others = "1122 1191 1337 2018 2883 3042 3168 3522 4015 4821 4987 5461 5482 5681 5682 5961 6191 6298 6528 6675 6928 " +
	"7323 7413 8201 8305 8899 8985 9406 9438 9768 9937"

// TestTheOtherRFCs holds docs/rfcs.md to the same.
func TestTheOtherRFCs(t *testing.T) {
	page, err := os.ReadFile("../../docs/rfcs.md")
	if err != nil {
		t.Fatal(err)
	}
	code, tests := allNames(t)
	rows := map[string]int{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, " | ")
		number, ok := strings.CutPrefix(cells[0], "| RFC ")
		if !ok {
			continue
		}
		if len(cells) != 4 {
			t.Errorf("%d columns: %s", len(cells), line)
			continue
		}
		number, _, _ = strings.Cut(number, " ")
		rows[number]++
		checkRow(t, cells[0], cells[2], cells[3], code, tests)
	}
	for _, n := range strings.Fields(others) {
		if rows[n] == 0 {
			t.Errorf("RFC %s has no row", n)
		}
		delete(rows, n)
	}
	for n := range rows {
		t.Errorf("RFC %s is not in the list", n)
	}
}
