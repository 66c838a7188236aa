package half

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"runtime/debug"
	"strings"

	"usertcp/internal/shm"
)

// The application may write anything into its segment, at any time. Whatever the
// bottom half does there goes through slices, whose bounds Go checks, and through
// walks that are bounded; what it finds that cannot be is a panic. Here is the door
// where that ends: the panic becomes an error that says so, the segment is not
// touched any more, and whoever runs the bottom half ends it. Nobody else has
// mapped the segment, so nobody else is concerned.
//
// A walk may be bounded and long all the same, and a hostile program may change
// what is walked. So whoever runs the bottom half also looks at Section, and ends
// it if one section takes more of the CPU than any honest one can.

// ErrRuined is why a bottom half has given up: its segment holds what cannot be.
var ErrRuined = errors.New("the application has ruined its segment")

// Warden is an Outside that wants to be told when the segment is found ruined. To
// another one a panic is a panic: simulators and tests look for our own mistakes.
type Warden interface {
	// Ruined is called once, without the lock. The bottom half does nothing any more.
	Ruined(err error)
}

// Section returns a number that changes whenever the bottom half enters or leaves
// the segment, and is odd while it is in there.
func (b *Bottom) Section() uint64 { return b.section.Load() }

// enter takes the lock; it reports false if the application has it for too long, or
// the segment is ruined.
func (b *Bottom) enter() bool {
	b.mu.Lock()
	if b.ruined || !b.lock.Lock(b.bound) {
		b.mu.Unlock()
		return false
	}
	b.entered()
	return true
}

// entered is called when the lock has been taken, and before the segment is looked
// at.
func (b *Bottom) entered() {
	b.section.Add(1)
	if b.warden != nil {
		debug.SetPanicOnFault(true) // memory that the kernel can't give is no reason to crash
	}
	b.now = b.clock()
}

// leave is deferred by whoever has entered. It does what the turn has left to do,
// gives the lock back, and tells the world.
func (b *Bottom) leave() {
	if b.warden != nil {
		if p := recover(); p != nil {
			b.ruin(p, origin())
			return
		}
		if p, at := b.guarded(b.complete); p != nil {
			b.ruin(p, at)
			return
		}
	} else {
		b.complete()
	}
	rings := b.takeRings()
	frames, gone, moves := b.frames, b.gone, b.moves
	b.frames, b.gone, b.moves = nil, nil, nil
	b.section.Add(1)
	b.mu.Unlock()
	rings.Ring()
	for _, f := range frames {
		b.out.Send(f)
	}
	if m, ok := b.out.(Mover); ok {
		for _, d := range moves {
			m.Moved(d)
		}
	}
	for _, f := range gone {
		b.out.Gone(f.socket, f.what, f.flow, func() { b.forgotten(f) })
	}
}

func (b *Bottom) complete() {
	b.settle()
	b.work()
	b.settle()
	b.flush()
	b.lock.Unlock()
}

// guarded returns what f panics with, and where; nil if it does not.
func (b *Bottom) guarded(f func()) (p any, at string) {
	defer func() {
		if p = recover(); p != nil {
			at = origin()
		}
	}()
	f()
	return nil, ""
}

// ruin gives the segment up.
func (b *Bottom) ruin(p any, at string) {
	err := fmt.Errorf("%w: %v (%s)", ErrRuined, p, at)
	b.ruined = true
	b.frames, b.gone = nil, nil
	b.takeRings()
	if b.lock.Holder() == shm.BottomHalf {
		b.guarded(b.lock.Unlock)
	}
	b.section.Add(1)
	b.mu.Unlock()
	b.warden.Ruined(err)
}

// origin names the place of a panic that is being handled, if it can still be
// seen: the first function of ours below the runtime's.
func origin() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for panicked := false; ; {
		f, more := frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "runtime."):
			panicked = panicked || f.Function == "runtime.gopanic"
		case panicked:
			return fmt.Sprintf("%s:%d", path.Base(f.File), f.Line)
		}
		if !more {
			return "somewhere"
		}
	}
}
