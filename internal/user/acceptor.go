package user

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// MaxShards is how many stacks can listen together.
const MaxShards = message.MaxShards

// Acceptor takes connections from listeners with the same local end in several stacks.
// Its methods may be called by any number of goroutines.
//
// A connection stays with its listener until somebody takes it, so that none is lost
// with the Acceptor: what waits in each stack is a goroutine that takes nothing, and only
// while somebody waits in Accept.
type Acceptor struct {
	socks []*half.Socket

	mu       sync.Mutex // guards the rest
	turn     int        // listener that is asked first
	change   *sync.Cond
	news     uint64  // times that there may have been something
	waits    []bool  // a goroutine waits in this stack
	gone     []error // why no connection can come in this stack any more
	closed   bool
	timer    *time.Timer
	passed   bool   // the deadline has
	deadline uint64 // times that it was set
}

// ListenAll listens at local, whose port 0 means any, in all the stacks.
func ListenAll(ctx context.Context, stacks []*Stack, local wire.Endpoint, backlog int, reuse bool, setup ...Setup) (*Acceptor, wire.Endpoint, error) {
	a := &Acceptor{waits: make([]bool, len(stacks)), gone: make([]error, len(stacks))}
	a.change = sync.NewCond(&a.mu)
	for i, s := range stacks {
		how := message.BindShard(i, len(stacks))
		if reuse {
			how |= message.BindReuse
		}
		sock, bound, err := s.listenAs(ctx, local, backlog, how, setup)
		if err != nil {
			return nil, local, errors.Join(err, a.Close())
		}
		local, a.socks = bound, append(a.socks, sock)
	}
	return a, local, nil
}

// Sockets returns the listeners, one of each stack.
func (a *Acceptor) Sockets() []*half.Socket { return a.socks }

// Accept waits for a connection in any of the stacks. A stack whose child has ended for
// good is passed over, as long as there is another.
func (a *Acceptor) Accept() (*half.Socket, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		switch {
		case a.closed:
			return nil, os.ErrClosed
		case a.passed: // also if there is a connection, as in package net
			return nil, os.ErrDeadlineExceeded
		}
		news := a.news
		if s, err := a.try(); err != syscall.EAGAIN {
			return s, err
		}
		a.watch()
		for a.news == news && !a.closed && !a.passed {
			a.change.Wait()
		}
	}
}

// try looks into each stack once; mu is held.
func (a *Acceptor) try() (*half.Socket, error) {
	err := a.gone[0]
	for range a.socks {
		i := a.turn % len(a.socks)
		a.turn = i + 1
		if a.gone[i] != nil {
			continue
		}
		s, e := a.socks[i].TryAccept()
		switch e {
		case nil:
			return s, nil
		case syscall.EAGAIN:
			err = e
		default:
			a.gone[i] = e
			if err == nil {
				err = e
			}
		}
	}
	return nil, err
}

// watch has somebody wait in each stack where nobody does.
func (a *Acceptor) watch() {
	for i := range a.socks {
		if a.waits[i] || a.gone[i] != nil {
			continue
		}
		a.waits[i] = true
		go func() {
			_ = a.socks[i].AwaitAccept() // try finds out what it was
			a.mu.Lock()
			defer a.mu.Unlock()
			a.waits[i] = false
			a.tell()
		}()
	}
}

// tell wakes those who wait; mu is held.
func (a *Acceptor) tell() {
	a.news++
	a.change.Broadcast()
}

// SetDeadline sets the deadline of Accept; the zero time means none.
func (a *Acceptor) SetDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return os.ErrClosed
	}
	if a.timer != nil {
		a.timer.Stop()
	}
	a.deadline++
	a.timer, a.passed = nil, !t.IsZero() && !time.Now().Before(t)
	if !t.IsZero() && !a.passed {
		which := a.deadline
		a.timer = time.AfterFunc(time.Until(t), func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.deadline == which { // not replaced meanwhile
				a.passed = true
				a.tell()
			}
		})
	}
	a.tell()
	return nil
}

// Close closes all the listeners.
func (a *Acceptor) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return os.ErrClosed
	}
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.tell()
	a.mu.Unlock()
	var errs []error
	for _, s := range a.socks {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
