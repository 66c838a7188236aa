package nic

import (
	"testing"
	"time"
)

// A TAP says nothing of its own: each frame would wake the program.
func TestTAPIsSilent(t *testing.T) {
	t.Parallel()
	m, _, _ := pair(t, Config{})
	p := newPool(t, m, 1)
	if got := read(t, p, 1500*time.Millisecond); got != nil {
		t.Errorf("got %v", got.packet)
	}
}
