package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from this package's directory.
const root = "../.."

// module is the module's name in import paths.
const module = "usertcp"

// source is one Go file of the repository.
type source struct {
	path string // from the repository's root
	pkg  string // its directory: "." for the root
	test bool
	text []byte
	file *ast.File
}

func (s *source) lines() int { return strings.Count(string(s.text), "\n") }

// imports returns the import paths of the file.
func (s *source) imports() []string {
	var all []string
	for _, i := range s.file.Imports {
		all = append(all, strings.Trim(i.Path.Value, `"`))
	}
	return all
}

// repository is the working tree, as far as the rules look at it.
type repository struct {
	fset  *token.FileSet
	files []*source
	texts map[string]string // Markdown and scripts, by path
}

// load reads the working tree.
func load(t *testing.T) *repository {
	t.Helper()
	r := &repository{fset: token.NewFileSet(), texts: map[string]string{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipDir(rel) {
				return filepath.SkipDir
			}
			return nil
		}
		return r.add(rel, path)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.files) == 0 || len(r.texts) == 0 {
		t.Fatalf("found %d Go files and %d documents: is %s the repository?", len(r.files), len(r.texts), root)
	}
	return r
}

// skipDir reports whether a directory holds nothing of ours: git's own, and what
// commands leave behind (.gitignore).
func skipDir(rel string) bool {
	return rel == ".git" || rel == "out" || rel == "usertcp-demo" || strings.HasSuffix(rel, "testdata")
}

func (r *repository) add(rel, path string) error {
	switch {
	case strings.HasSuffix(rel, ".go"):
	case strings.HasSuffix(rel, ".md"), rel == "Makefile", rel == filepath.Join(".ci", "run"):
		b, err := os.ReadFile(path)
		r.texts[rel] = string(b)
		return err
	default:
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(r.fset, rel, b, parser.ParseComments)
	if err != nil {
		return err
	}
	r.files = append(r.files, &source{
		path: rel, pkg: filepath.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), text: b, file: f,
	})
	return nil
}

// packages returns the directories that hold Go files which are not tests.
func (r *repository) packages() []string {
	var all []string
	for _, s := range r.files {
		if !s.test && !slices.Contains(all, s.pkg) {
			all = append(all, s.pkg)
		}
	}
	slices.Sort(all)
	return all
}

// where returns the place of a node for an error message.
func (r *repository) where(n ast.Node) string {
	p := r.fset.Position(n.Pos())
	p.Column = 0
	return p.String()
}
