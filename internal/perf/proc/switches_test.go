package proc

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestSwitchesCountSleeps(t *testing.T) {
	before, err := Switches(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		time.Sleep(time.Millisecond)
	}
	after, err := Switches(os.Getpid())
	if err != nil || after < before+10 {
		t.Errorf("%d, then %d after 20 sleeps, %v", before, after, err)
	}
	if _, err := Switches(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nobody: %v", err)
	}
}

func TestSwitchesOfBothKinds(t *testing.T) {
	if n := switchesIn("Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t30\n"); n != 42 {
		t.Errorf("%d", n)
	}
}
