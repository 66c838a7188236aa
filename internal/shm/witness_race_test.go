//go:build race

package shm

import (
	"sync/atomic"
	"testing"
	"time"
)

// What goroutines of a half do with the lock is seen to be one behind the other, also by who
// seizes it from the other half, though the lock lies where the race detector does not look:
// it fails this test otherwise.
func TestTheRaceDetectorKnowsTheLock(t *testing.T) {
	type shared struct {
		lock LockWord
		done atomic.Uint32 // here, so that it orders nothing for the race detector
	}
	seg, err := Create("test-witness", 1, SpecOf[shared](1, 1))
	if err != nil {
		t.Fatal(err)
	}
	s, err := One[shared](seg, 1)
	if err != nil {
		t.Fatal(err)
	}
	InitialiseLock(&s.lock, LockAdaptive, 0)
	top, err := NewLock(&s.lock, TopHalf, Semaphore{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewLock(&s.lock, BottomHalf, Semaphore{})
	if err != nil {
		t.Fatal(err)
	}
	guarded := 0
	for n := range uint32(3) {
		go func() {
			top.Lock(-1)
			guarded++
			top.Unlock()
			s.done.Store(n + 1)
		}()
		for s.done.Load() != n+1 {
			time.Sleep(time.Millisecond)
		}
	}
	other.Lock(-1) // and dies
	if !top.Seize() {
		t.Fatal("not to be seized")
	}
	if guarded != 3 {
		t.Errorf("%d times", guarded)
	}
	top.Unlock()
}
