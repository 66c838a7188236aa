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

// folders are where the packages that docs/rfc.md names lie.
var folders = map[string]string{
	"tcp": ".", "wire": "../wire", "half": "../half", "server": "../server", "usertcp": "../..",
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
	code, tests := map[string]map[string]bool{}, map[string]map[string]bool{}
	for pkg, dir := range folders {
		code[pkg], tests[pkg] = functions(t, dir)
	}
	rows := map[string]int{}
	for _, line := range strings.Split(string(page), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.Contains(cells[0], "-") {
			continue
		}
		id := strings.TrimPrefix(cells[0], "| ")
		rows[id]++
		where := codeName.FindAllStringSubmatch(cells[2], -1)
		departs := strings.Contains(cells[2], "Departure") || strings.HasPrefix(cells[2], "Not used")
		if len(where) == 0 && !departs {
			t.Errorf("%s: no function, and no departure", id)
		}
		for _, m := range where {
			if !code[m[1]][m[2]] {
				t.Errorf("%s: there is no function %s.%s", id, m[1], m[2])
			}
		}
		shown := codeName.FindAllStringSubmatch(cells[3], -1)
		if len(shown) == 0 {
			t.Errorf("%s: no test", id)
		}
		for _, m := range shown {
			if !strings.HasPrefix(m[2], "Test") || !tests[m[1]][m[2]] {
				t.Errorf("%s: there is no test %s.%s", id, m[1], m[2])
			}
		}
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
