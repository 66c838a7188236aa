package perf

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startLink makes a link between programs of the test binary. Its servers only say
// that they listen, and every program has the kernel's TCP.
func startLink(t *testing.T, behaviour string, o LinkOptions) (*Runner, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	r := newTestRunner(t, behaviour, Free)
	err := r.StartLink(t.Context(), o)
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	return r, err
}

func TestLinkCarriesEveryPairing(t *testing.T) {
	for _, o := range []LinkOptions{{}, {MTU: 9000, NoOffloads: true}} {
		r, err := startLink(t, "good", o)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range Pairings {
			setup := short(Tests[i%len(Tests)], 1000, 2)
			report := wantReport(t, setup, func(s Setup) (*Report, error) { return r.MeasurePair(t.Context(), p, s) })
			if report != nil && report.Peer != "kernel" {
				t.Errorf("%v: the server says that its stack is %q", p, report.Peer)
			}
		}
	}
}

// The baseline has hosts of its own, where no server has been.
func TestBaselineIsApart(t *testing.T) {
	r, err := startLink(t, "good", LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Pairings {
		h, err := r.place(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []Host{h.Client, h.Server} {
			if served := host.Socket != ""; served == (p == Baseline) || host.within == nil {
				t.Errorf("%v runs at %+v", p, host)
			}
			if (len(host.env()) == 0) != (p == Baseline) {
				t.Errorf("%v has the environment %q", p, host.env())
			}
		}
	}
}

func TestLinkIsGoneAfterClose(t *testing.T) {
	r, err := startLink(t, "good", LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, children := r.link, directChildren(t)
	if len(children) != 2 || len(l.spaces) != 4 {
		t.Errorf("children %v and %d namespaces", children, len(l.spaces))
	}
	// A server that was killed leaves a mount.
	if err := os.Mkdir(l.pins("1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("test", l.pins("1"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", l.dir, err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), l.dir) {
		t.Error("something is still mounted there")
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
	for _, n := range l.spaces {
		if n.Do(func() error { return nil }) == nil {
			t.Error("a namespace is still held")
		}
	}
	r.link = nil // Close has been called
}

func TestLinkSaysWhatFailed(t *testing.T) {
	r, err := startLink(t, "broken", LinkOptions{})
	if err == nil || !strings.Contains(err.Error(), "the connection server of 10.1.0.1: server is broken") {
		t.Errorf("a broken server: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(r.link.pins("1"))); err != nil {
		t.Errorf("the directory is there until Close: %v", err)
	}
	_, err = r.MeasurePair(t.Context(), Pairing{"user", "kernel"}, short(RR, 1, 1))
	if err == nil || !strings.HasPrefix(err.Error(), "measuring rr from the user to the kernel stack: the listening program: perf is broken") {
		t.Errorf("a broken program: %v", err)
	}
	_, err = newTestRunner(t, "good", Free).MeasurePair(t.Context(), Pairing{"kernel", "user"}, short(RR, 1, 1))
	if err == nil || !strings.Contains(err.Error(), "two stacks do not meet without network devices") {
		t.Errorf("mixed over nothing: %v", err)
	}
	_, err = startLink(t, "good", LinkOptions{MTU: 10})
	if err == nil || !strings.Contains(err.Error(), "making a veth pair") {
		t.Errorf("an MTU of 10: %v", err)
	}
}

func TestLinkEndsWithItsContext(t *testing.T) {
	r, err := startLink(t, "good", LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	setup := short(Stream, 1024, 1)
	setup.Time = time.Minute
	if _, err := r.MeasurePair(ctx, Baseline, setup); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if left := directChildren(t); len(left) != 2 {
		t.Errorf("processes %v: want the two servers", left)
	}
}
