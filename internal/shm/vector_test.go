package shm

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
	return p[0], p[1]
}

func TestVectorWritesAndReadsItsRuns(t *testing.T) {
	r, w := pipe(t)
	var out, in Vector
	for _, s := range []string{"one ", "", "two ", "three"} {
		out.Add([]byte(s))
	}
	if n, e := out.Write(w); n != 13 || e != 0 {
		t.Fatalf("wrote %d octets: %v", n, e)
	}
	a, b := make([]byte, 6), make([]byte, 20)
	in.Add(a)
	in.Add(b)
	if n, e := in.Read(r); n != 13 || e != 0 {
		t.Fatalf("read %d octets: %v", n, e)
	}
	if !bytes.Equal(a, []byte("one tw")) || !bytes.Equal(b[:7], []byte("o three")) {
		t.Errorf("read %q and %q", a, b)
	}
	out.Reset()
	out.Add([]byte("again"))
	if n, e := out.Write(w); n != 5 || e != 0 {
		t.Errorf("after Reset %d octets: %v", n, e)
	}
}

func TestVectorDoesNotWait(t *testing.T) {
	r, w := pipe(t)
	var v Vector
	v.Add(make([]byte, 4096))
	if _, e := v.Read(r); e != unix.EAGAIN {
		t.Errorf("reading an empty pipe: %v, want EAGAIN", e)
	}
	for {
		if _, e := v.Write(w); e != 0 {
			if e != unix.EAGAIN {
				t.Errorf("writing to a full pipe: %v, want EAGAIN", e)
			}
			break
		}
	}
	if _, e := v.Read(-1); e != unix.EBADF {
		t.Errorf("reading nothing: %v, want EBADF", e)
	}
}

func TestVectorTakesNoMoreThanItHolds(t *testing.T) {
	var v Vector
	for range MaxVector {
		v.Add([]byte{1})
	}
	defer func() {
		if recover() == nil {
			t.Error("a run too many was taken")
		}
	}()
	v.Add([]byte{1})
}

func TestVectorDoesNotAllocate(t *testing.T) {
	r, w := pipe(t)
	v := new(Vector)
	b := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		v.Reset()
		v.Add(b)
		v.Write(w)
		v.Read(r)
		Ready(r)
		Await(r, w, 0)
	}); n != 0 {
		t.Errorf("%v allocations in a round", n)
	}
}

func TestReady(t *testing.T) {
	r, w := pipe(t)
	if Ready(r) {
		t.Error("an empty pipe is ready")
	}
	if _, err := unix.Write(w, []byte{1}); err != nil {
		t.Fatal(err)
	}
	if !Ready(r) {
		t.Error("a pipe with something in it is not ready")
	}
}

func TestAwaitSaysWhich(t *testing.T) {
	r1, w1 := pipe(t)
	r2, w2 := pipe(t)
	if a, b := Await(r1, r2, 0); a || b {
		t.Error("an empty pipe is ready")
	}
	unix.Write(w2, []byte{1})
	if a, b := Await(r1, r2, time.Minute); a || !b {
		t.Errorf("ready: %v, %v; it is the second", a, b)
	}
	unix.Write(w1, []byte{1})
	if a, b := Await(r1, r2, time.Minute); !a || !b {
		t.Errorf("ready: %v, %v; it is both", a, b)
	}
}

// Who sleeps holds nobody up who needs the processor.
func TestAwaitLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r, w := pipe(t)
	go func() {
		time.Sleep(10 * time.Millisecond)
		unix.Write(w, []byte{1})
	}()
	const limit = time.Minute
	began := time.Now()
	for time.Since(began) < limit { // a signal ends it, too
		if a, _ := Await(r, r, limit-time.Since(began)); a {
			break
		}
	}
	if d := time.Since(began); d > limit/2 {
		t.Errorf("who would have ended the sleep had to wait %v", d)
	}
}
