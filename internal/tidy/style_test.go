package tidy

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// Limits that the network code that reads best has in common.
const (
	maxFileLines    = 700
	maxFuncLines    = 70
	medianFileLines = 200
	p90FuncLines    = 30
	maxExampleLines = 60
)

func TestFilesAreFormatted(t *testing.T) {
	for _, s := range load(t).files {
		want, err := format.Source(s.text)
		if err != nil {
			t.Errorf("%s: %v", s.path, err)
		} else if !bytes.Equal(want, s.text) {
			t.Errorf("%s: gofmt would change it; everybody's diffs stay small if nobody's editor does", s.path)
		}
	}
}

// A file that fits into a head has one subject.
func TestFilesAreSmall(t *testing.T) {
	var all []int
	for _, s := range load(t).files {
		n := s.lines()
		if n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", s.path, n, maxFileLines)
		}
		if strings.HasPrefix(s.path, "examples/") && !s.test && n >= maxExampleLines {
			t.Errorf("%s has %d lines: an example has under %d, or nobody reads it to its end", s.path, n, maxExampleLines)
		}
		if !s.test {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	if m := all[len(all)/2]; m > medianFileLines {
		t.Errorf("half of the files have %d lines or more; %d is the aim", m, medianFileLines)
	}
}

// A function that fits on a screen can be checked by looking at it. A test may be
// a long table, which is read row by row.
func TestFunctionsAreSmall(t *testing.T) {
	r := load(t)
	var all []int
	for _, s := range r.files {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := r.fset.Position(f.End()).Line - r.fset.Position(f.Pos()).Line + 1
			if n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, more than %d", r.where(f), f.Name.Name, n, maxFuncLines)
			}
			all = append(all, n)
		}
	}
	slices.Sort(all)
	if p := all[len(all)*9/10]; p > p90FuncLines {
		t.Errorf("a tenth of the functions have %d lines or more; %d is the aim", p, p90FuncLines)
	}
}

// Who opens a package reads first what it is for.
func TestPackagesHaveComments(t *testing.T) {
	r := load(t)
	has := map[string]int{}
	for _, s := range r.files {
		if s.test || s.file.Doc == nil {
			continue
		}
		has[s.pkg]++
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command "
		}
		if text := s.file.Doc.Text(); !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment begins %.30q, want %q", s.path, text, want)
		}
	}
	for _, pkg := range r.packages() {
		if has[pkg] != 1 {
			t.Errorf("%s: %d files have a package comment, want one", pkg, has[pkg])
		}
	}
}

// What another package may use says what it does, in which units and with which
// errors; the name alone does not.
func TestExportedNamesAreDocumented(t *testing.T) {
	r := load(t)
	for _, s := range r.files {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no comment", r.where(d), name)
			}
		}
	}
}

// undocumented returns the exported names of a declaration that has no comment.
func undocumented(d ast.Decl) []string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !obvious(d) {
			return []string{d.Name.Name}
		}
	case *ast.GenDecl:
		if d.Doc != nil {
			return nil // a comment above a group speaks for the group
		}
		var names []string
		for _, spec := range d.Specs {
			names = append(names, undocumentedSpec(spec)...)
		}
		return names
	}
	return nil
}

func undocumentedSpec(spec ast.Spec) []string {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
			return []string{s.Name.Name}
		}
	case *ast.ValueSpec:
		if s.Doc != nil || s.Comment != nil {
			return nil
		}
		var names []string
		for _, n := range s.Names {
			if n.IsExported() {
				names = append(names, n.Name)
			}
		}
		return names
	}
	return nil
}

// obvious reports whether a method only satisfies a well-known interface, which
// has said what it does.
func obvious(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "String", "Unwrap", "Is", "Timeout", "Temporary", "Write"}, d.Name.Name)
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

func TestUndocumentedNamesAreFound(t *testing.T) {
	const text = `package p

type A int
type a int

// B is.
type B int

const (
	C = 1 // is
	D = 2
	d = 3
)

func E()    {}
func (A) F()   {}
func (*A) String() string { return "" }
func (a) G()   {}

var H, h int
`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range f.Decls {
		got = append(got, undocumented(d)...)
	}
	if want := []string{"A", "D", "E", "F", "H"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
