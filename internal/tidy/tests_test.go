package tidy

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

var (
	testInText = regexp.MustCompile("`(?:[a-z]+\\.)?((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)")
	madeInText = regexp.MustCompile("(?m)(?:`|^ {4})make ([a-z]+)")
	targets    = regexp.MustCompile(`(?m)^([a-z][a-z ]*):`)
)

// A document that proves what it says by a test names one that there is.
func TestTestsInDocumentsExist(t *testing.T) {
	r := load(t)
	have := map[string]bool{}
	for _, s := range r.files {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
				have[f.Name.Name] = true
			}
		}
	}
	named := 0
	for path, text := range r.texts {
		for _, m := range testInText.FindAllStringSubmatch(text, -1) {
			if named++; !have[m[1]] {
				t.Errorf("%s names %s, which there is not", path, m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("%d tests are named: documents are not read as they are written", named)
	}
}

// Whatever the documents have made there is a rule for, and docs/tests.md or the
// README's section on development has all the rules.
func TestWhatCanBeMadeIsInDocuments(t *testing.T) {
	r := load(t)
	rules := map[string]bool{}
	for _, m := range targets.FindAllStringSubmatch(r.texts["Makefile"], -1) {
		for _, name := range strings.Fields(m[1]) {
			rules[name] = true
		}
	}
	if len(rules) < 10 {
		t.Fatalf("the Makefile has the rules %v", rules)
	}
	told := map[string]bool{}
	for path, text := range r.texts {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		for _, m := range madeInText.FindAllStringSubmatch(text, -1) {
			if !rules[m[1]] {
				t.Errorf("%s has make %s, which there is not", path, m[1])
			}
			told[m[1]] = told[m[1]] || path == "README.md" || path == "docs/tests.md"
		}
	}
	for name := range rules {
		if !told[name] {
			t.Errorf("make %s is neither in README.md nor in docs/tests.md", name)
		}
	}
}
