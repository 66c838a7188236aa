package nic

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mountNamespace runs functions one after the other in a mount namespace of its own.
func mountNamespace(t *testing.T) (do func(func())) {
	t.Helper()
	work, done := make(chan func()), make(chan error)
	var serve func()
	serve = func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread() // the process's first thread, which never ends
			ready := make(chan struct{})
			go func() { close(ready); serve() }() // on another, since this one is taken
			<-ready
			return
		}
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		done <- err
		for f := range work {
			f()
			done <- nil
		}
	}
	go serve()
	if err := <-done; err != nil {
		close(work)
		t.Skip("no mount namespaces here:", err)
	}
	t.Cleanup(func() { close(work) })
	return func(f func()) {
		work <- f
		<-done
	}
}

// A server that does not see another's bpffs, since it has a mount namespace of its own,
// is told who is there, and takes nothing away from it.
func TestPinsInAnotherMountNamespace(t *testing.T) {
	first, second := mountNamespace(t), mountNamespace(t)
	dir := filepath.Join(t.TempDir(), "made", "bpf")
	var p *pins
	var err error
	first(func() { p, err = openPins(dir) })
	must(t, err)
	second(func() {
		var q *pins
		if q, err = openPins(dir); err == nil {
			q.close()
		}
	})
	if own := "process " + strconv.Itoa(os.Getpid()) + " ("; !errors.Is(err, ErrServed) || !strings.Contains(err.Error(), own) {
		t.Errorf("%v, want %v and %q", err, ErrServed, own)
	}
	first(func() {
		if !isBPF(p.dir) {
			t.Error("the mount of the first has gone")
		}
		p.close()
	})
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first has left its directory: %v", err)
	}
	second(func() {
		if p, err = openPins(dir); err == nil {
			p.close()
		}
	})
	if err != nil {
		t.Error("when the first has gone:", err)
	}
}

// Who has taken over a mount removes the directory below it, too, unless somebody else
// has it meanwhile.
func TestPinsOfAMountThatWasTakenOver(t *testing.T) {
	first, second := mountNamespace(t), mountNamespace(t)
	for _, other := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "made", "bpf")
		var q *pins
		first(func() {
			p, err := openPins(dir)
			must(t, err)
			p.lock.Close() // it is killed
			p.under.Close()
		})
		if other {
			second(func() {
				var err error
				q, err = openPins(dir)
				must(t, err)
			})
		}
		first(func() {
			p, err := openPins(dir)
			must(t, err)
			p.close()
		})
		if _, err := os.Stat(dir); (err == nil) != other {
			t.Errorf("somebody else has the directory: %v; %v", other, err)
		}
		if other {
			second(func() {
				if !isBPF(q.dir) {
					t.Error("the mount of the other has gone")
				}
				q.close()
			})
		}
	}
}
