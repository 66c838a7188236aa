package server

import (
	"errors"
	"os/exec"
	"testing"
	"time"
)

// A process of the server before is known to have ended, even if nobody waits for it: who
// is process 1 may have other things to do.
func TestAnAdoptedProcessEndsThoughNobodyWaitsForIt(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	p, err := adopted(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.ended() {
		t.Error("it has ended, who has just been started")
	}
	cmd.Process.Kill()
	control, result := make(chan struct{}), make(chan error, 1)
	close(control)
	go func() { result <- p.wait(control) }()
	select {
	case err := <-result:
		if !errors.Is(err, errEnded) {
			t.Errorf("it has ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("its end is not seen")
	}
}
