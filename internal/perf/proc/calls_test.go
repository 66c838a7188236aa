package proc

import (
	"errors"
	"os"
	"testing"
)

// Writes are seen, one for one and whatever they write.
func TestCallsCountWrites(t *testing.T) {
	before, err := Calls(os.Getpid())
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	}
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 500 {
		f.Write([]byte{1})
	}
	after, err := Calls(os.Getpid())
	if err != nil || after-before < 500 || after-before > 700 {
		t.Errorf("%d calls, want 500 and the few of looking: %v", after-before, err)
	}
}

func TestCallsOfNobody(t *testing.T) {
	p := start(t, "quick")
	<-p.Done()
	if n, err := Calls(p.PID()); err == nil {
		t.Errorf("%d of a process that is gone", n)
	}
}

func TestCallsIn(t *testing.T) {
	if got := callsIn("rchar: 7\nwchar: 8\nsyscr: 30\nsyscw: 12\nread_bytes: 1\n"); got != 42 {
		t.Errorf("%d", got)
	}
	if got := callsIn("nonsense"); got != 0 {
		t.Errorf("%d of nonsense", got)
	}
}
