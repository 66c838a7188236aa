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

// The queue that the kernel has before each device would only cost: the TAP has its own.
func TestTAPHasNoQueueInFront(t *testing.T) {
	t.Parallel()
	m, _, _ := pair(t, Config{})
	p := newPool(t, m, 1)
	l, err := m.routes.LinkByName(p.Device())
	must(t, err)
	all, err := m.routes.QdiscList(l)
	must(t, err)
	if len(all) != 1 || all[0].Type() != "noqueue" {
		t.Errorf("%v", all)
	}
	if n := l.Attrs().TxQLen; n != tapQueue {
		t.Errorf("the TAP's own has room for %d frames, want %d", n, tapQueue)
	}
}
