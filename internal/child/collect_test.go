package child

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// A child that has much to remember collects garbage when a part of that has come, and not
// all the time. With a limit of 8 MiB, which it once had, the children of programs with
// 16,000 connections did little else.
func TestAChildWithMuchToRememberCollectsSeldom(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	limit := debug.SetMemoryLimit(-1) // the environment's, if any
	defer debug.SetMemoryLimit(limit)
	collectOften()
	const live, garbage, piece = 64 << 20, 128 << 20, 64 << 10
	var kept [][]byte
	for range live / piece {
		kept = append(kept, make([]byte, piece))
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var last []byte
	for range garbage / piece {
		last = make([]byte, piece)
	}
	runtime.ReadMemStats(&after)
	n := after.NumGC - before.NumGC
	if most := uint32(2 * garbage / (live / 5)); n < 2 || n > most {
		t.Errorf("%d MiB of garbage beside %d MiB are collected %d times, want 2 to %d", garbage>>20, live>>20, n, most)
	}
	if debug.SetMemoryLimit(-1) != limit {
		t.Error("there is a limit of memory")
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(last)
}
