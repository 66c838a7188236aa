package child

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// A child that has much to remember collects garbage when a part of that has come, and not
// all the time. With a limit of 8 MiB, which it once had, the children of programs with
// 16,000 connections did little else.
//
// What is looked at is where the next collection is due. How many there were while garbage
// was made was counted once: on a busy machine the first of them can be waiting for a
// processor while all the garbage is made.
func TestAChildWithMuchToRememberCollectsSeldom(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	limit := debug.SetMemoryLimit(-1) // the environment's, if any
	defer debug.SetMemoryLimit(limit)
	collectOften()
	const live, piece = 64 << 20, 64 << 10
	var kept [][]byte
	for range live / piece {
		kept = append(kept, make([]byte, piece))
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.NextGC < m.HeapAlloc+live/10 || m.NextGC > m.HeapAlloc+live/3 {
		t.Errorf("with %d MiB in use the next collection comes at %d MiB, want a tenth to a third more", m.HeapAlloc>>20, m.NextGC>>20)
	}
	if debug.SetMemoryLimit(-1) != limit {
		t.Error("there is a limit of memory")
	}
	runtime.KeepAlive(kept)
}
