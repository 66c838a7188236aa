package tidy

import (
	"go/ast"
	"slices"
	"testing"
)

// unsafeTests are test files outside internal/shm that need more of package
// unsafe than sizes: each with what for.
var unsafeTests = map[string]string{
	"tests/packetdrill/main.go":          "is called by C with pointers to C's memory",
	"internal/netns/ethtool_test.go":     "asks the kernel by ioctl, the way that the code under test does not go",
	"internal/pool/nic/uring_test.go":    "gives the kernel the addresses of what it is to write, as no code under test does",
	"internal/pool/ring/hostile_test.go": "is a peer that writes what it likes into its half of a circuit",
}

// Memory that another process writes is reached through internal/shm's checked
// views and nowhere else. Everybody else may ask the compiler for sizes and
// offsets, with which shared structs assert their layout.
func TestUnsafeIsInShmOnly(t *testing.T) {
	r := load(t)
	sizes := []string{"Sizeof", "Offsetof", "Alignof"}
	for _, s := range r.files {
		if s.pkg == "internal/shm" || unsafeTests[s.path] != "" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == "unsafe" && !slices.Contains(sizes, sel.Sel.Name) {
				t.Errorf("%s: unsafe.%s outside internal/shm", r.where(sel), sel.Sel.Name)
			}
			return true
		})
	}
}

// The compiler directive linkname would be another way around the type system.
func TestNoLinkname(t *testing.T) {
	r := load(t)
	for _, s := range r.files {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if len(c.Text) > 13 && c.Text[:13] == "//go:linkname" {
					t.Errorf("%s: go:linkname", r.where(c))
				}
			}
		}
	}
}
