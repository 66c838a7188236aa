package wire

import (
	"go/build"
	"slices"
	"testing"
)

// This package and seq import nothing of the operating system, so that they run
// wherever the engine does. x/sys/cpu tells what the processor can do.
func TestImports(t *testing.T) {
	allowed := []string{"encoding/binary", "errors", "golang.org/x/sys/cpu", "math/bits", "net/netip", "strconv", "strings", "usertcp/internal/seq"}
	for _, dir := range []string{".", "../seq"} {
		p, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range p.Imports {
			if !slices.Contains(allowed, path) {
				t.Errorf("package %s imports %s", p.Name, path)
			}
		}
	}
}
