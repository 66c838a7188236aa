package child

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/shm"
)

// ticker ticks by a timer of the kernel's that Go's poller waits for. A tick of a
// time.Ticker wakes three threads of the runtime, which look for work and go to sleep again,
// seven context switches in all; this one wakes one. That counts where a host has a hundred
// children of idle programs.
type ticker struct {
	file *os.File
	raw  syscall.RawConn

	mu     sync.Mutex
	period time.Duration // 0: it does not tick, or has been hurried
	slow   atomic.Bool   // there is something to hurry
}

// newTicker makes a ticker, which does not tick yet.
func newTicker() (*ticker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("ticker: %w", os.NewSyscallError("timerfd_create", err))
	}
	t := &ticker{file: os.NewFile(uintptr(fd), "ticker")}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, fmt.Errorf("ticker: %w", err)
	}
	return t, nil
}

// every has it tick each period from now on, unless it does; 0 ends that.
func (t *ticker) every(period time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if period == t.period && period != 0 {
		return nil
	}
	t.period = period
	t.slow.Store(period > half.RestTick)
	return t.set(period, period)
}

// hurry has it tick at once, if the next tick is not near, and then as often as for a busy
// program until every is called.
func (t *ticker) hurry() {
	if !t.slow.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slow.CompareAndSwap(true, false) && t.set(1, half.Tick) == nil {
		t.period = 0
	}
}

// set has it tick after first, and then each period.
func (t *ticker) set(first, period time.Duration) (err error) {
	spec := unix.ItimerSpec{Interval: unix.NsecToTimespec(int64(period)), Value: unix.NsecToTimespec(int64(first))}
	control := t.raw.Control(func(fd uintptr) { err = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
	if control != nil {
		return control
	}
	return os.NewSyscallError("timerfd_settime", err)
}

// wait waits for the next tick. Those that came meanwhile count as one.
func (t *ticker) wait() error {
	return t.raw.Read(func(fd uintptr) bool { return shm.TakeCount(int(fd)) > 0 })
}

func (t *ticker) close() { t.file.Close() }
