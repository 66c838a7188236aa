package shm

import (
	"fmt"
	"runtime/debug"
	"testing"
)

// A prefetch changes nothing, and of elements that there are not it is nothing.
func TestPrefetchIsAHint(t *testing.T) {
	s := make([][100]byte, 3)
	for i := range s {
		for k := range s[i] {
			s[i][k] = byte(i + k)
		}
	}
	for _, i := range []uint32{0, 2, 3, ^uint32(0)} {
		Prefetch(s, i)
		Prefetch([]uint32(nil), i)
		Prefetch(make([]struct{}, 4), i)
	}
	for i := range s {
		for k := range s[i] {
			if s[i][k] != byte(i+k) {
				t.Fatalf("element %d has changed", i)
			}
		}
	}
}

// Whatever the address: memory that is not mapped is not touched.
func TestPrefetchOfNoMemory(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, n := range []uintptr{0, 1, 63, 64, 65, 4096} {
		prefetch(nil, n)
	}
}

func TestPrefetchDoesNotAllocate(t *testing.T) {
	s := make([][2048]byte, 10)
	if n := testing.AllocsPerRun(100, func() { Prefetch(s, 7) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// lines is as many cache lines as a connection has.
type lines [27][16]uint32

// BenchmarkWalk is the machine's part in what many connections cost: the lines of one
// of n elements in random order, one after the other as a list is walked (chase), all
// asked for at once (together), and asked for while the one before is at work (ahead).
func BenchmarkWalk(b *testing.B) {
	const most = 100_000
	all := make([]lines, most)
	for i := range all {
		for k := range all[i] {
			all[i][k][0] = 1 // memory that was never written to is one page of zeros
		}
	}
	for _, n := range []uint32{100, most} {
		s := all[:n]
		b.Run(fmt.Sprintf("chase/%d", n), func(b *testing.B) { walk(b, s, chase, false) })
		b.Run(fmt.Sprintf("together/%d", n), func(b *testing.B) { walk(b, s, together, false) })
		b.Run(fmt.Sprintf("ahead/%d", n), func(b *testing.B) { walk(b, s, chase, true) })
	}
}

func walk(b *testing.B, s []lines, visit func(*lines) uint32, ahead bool) {
	next := func(at uint32) uint32 { return at*1664525 + 1013904223 }
	at, sum := uint32(1), uint32(0)
	for b.Loop() {
		if ahead {
			Prefetch(s, next(at)>>8%uint32(len(s)))
		}
		sum += visit(&s[at>>8%uint32(len(s))])
		at = next(at)
	}
	if sum == 0 {
		b.Fatal("nothing was read")
	}
}

// chase reads a line only when it has the one before.
func chase(l *lines) (k uint32) {
	for range l {
		k = (k + l[k][0]) % uint32(len(l))
	}
	return k + 1
}

func together(l *lines) (sum uint32) {
	for k := range l {
		sum += l[k][0]
	}
	return sum
}
