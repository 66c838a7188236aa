package nic

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
)

// place is a thread that stays in the network namespace that it was made in: what
// the kernel relates to the calling thread's namespace is done there, whatever
// thread asks.
type place struct {
	ns   netns.NsHandle
	work chan func()
	stop chan struct{}
}

// here makes the place of the calling thread's namespace.
func here() (*place, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	p := &place{ns: ns, work: make(chan func()), stop: make(chan struct{})}
	ready := make(chan error)
	go p.run(ready)
	if err := <-ready; err != nil {
		ns.Close()
		return nil, fmt.Errorf("enter the network namespace: %w", err)
	}
	return p, nil
}

// run keeps its lock on the thread, so that the thread ends with it.
func (p *place) run(ready chan<- error) {
	runtime.LockOSThread()
	err := netns.Set(p.ns)
	ready <- err
	if err != nil {
		return
	}
	for {
		select {
		case f := <-p.work:
			f()
		case <-p.stop:
			p.ns.Close()
			return
		}
	}
}

// do calls f on the thread and returns what it returns; after close, ErrClosed. f
// must not call do, nor may the caller hold a lock that somebody takes in an f.
func (p *place) do(f func() error) error {
	done := make(chan error)
	select {
	case p.work <- func() { done <- f() }:
		return <-done
	case <-p.stop:
		return os.ErrClosed
	}
}

func (p *place) close() { close(p.stop) }
