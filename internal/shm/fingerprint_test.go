package shm

import "testing"

func TestAFingerprintTellsLayoutsApart(t *testing.T) {
	type a struct{ X, Y uint32 }
	type renamed struct{ X, Z uint32 }
	type wider struct {
		X uint32
		Y uint64
	}
	type inner struct{ A [2]a }
	type innerRenamed struct{ A [2]renamed }
	seen := map[uint32]string{}
	for name, s := range map[string]any{"a": a{}, "renamed": renamed{}, "wider": wider{}, "inner": inner{}, "inner renamed": innerRenamed{}} {
		f := Fingerprint(s)
		if f != Fingerprint(s) {
			t.Errorf("%s: not the same twice", name)
		}
		if other, ok := seen[f]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[f] = name
	}
}
