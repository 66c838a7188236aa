package shm

import (
	"fmt"
	"testing"
)

// BenchmarkLock is taking a lock that nobody has and giving it back, of each kind.
func BenchmarkLock(b *testing.B) {
	for _, kind := range []LockKind{LockAdaptive, LockPeterson} {
		b.Run(fmt.Sprint(kind), func(b *testing.B) {
			l := benchLock(b, kind)
			b.ReportAllocs()
			for b.Loop() {
				l.Lock(-1)
				l.Unlock()
			}
		})
	}
}

func benchLock(t testing.TB, kind LockKind) Locker {
	t.Helper()
	w := new(LockWord)
	if kind == LockPeterson {
		return NewPeterson(w, TopHalf)
	}
	return NewAdaptive(w, TopHalf)
}

func TestLocksDoNotAllocate(t *testing.T) {
	for _, kind := range []LockKind{LockAdaptive, LockPeterson} {
		l := benchLock(t, kind)
		if n := testing.AllocsPerRun(100, func() { l.Lock(-1); l.Unlock() }); n != 0 {
			t.Errorf("%v: %v allocations", kind, n)
		}
	}
}

// BenchmarkCopy is memory to memory through a segment: one copy in and one out, as a
// message takes, in one process. It is the limit of the ring.
func BenchmarkCopy(b *testing.B) {
	for _, n := range []int{64, 1448, 16 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Create("bench", 1, SpecOf[byte](1, 8<<20))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			shared, err := Slice[byte](s, 1)
			if err != nil {
				b.Fatal(err)
			}
			out, in := make([]byte, n), make([]byte, n)
			clear(shared) // its pages are there
			b.SetBytes(int64(n))
			for at := 0; b.Loop(); at = (at + n) % (4 << 20) {
				copy(shared[at:], out)
				copy(in, shared[at:])
			}
		})
	}
}

// BenchmarkDoorbell is a ring and its hearing: what waking a sleeper costs at least, two
// system calls of which are the ringer's and the sleeper's.
func BenchmarkDoorbell(b *testing.B) {
	d, err := NewDoorbell()
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	for b.Loop() {
		d.Ring()
		d.Clear()
	}
}
