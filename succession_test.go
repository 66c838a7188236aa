package usertcp

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// killChild kills the child of a program of this test's, and waits until there is
// another one.
func killChild(t *testing.T, pid int) {
	t.Helper()
	syscall.Kill(pid, syscall.SIGKILL)
	testhost.WantGone(t, pid)
}

func ourChild() int { return process.shards[0].Pids()[1] }

// wantSuccessor waits until this process has another child than pid.
func wantSuccessor(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); ourChild() == pid; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no other child after 5 s")
		}
	}
	if !testhost.Running(ourChild()) {
		t.Fatalf("child %d does not run", ourChild())
	}
	children = append(children, ourChild())
}

func TestKilledChildHasASuccessor(t *testing.T) {
	_, socket := peers(t)
	_, address, theirs := listening(t, socket, "echo")
	c := dialed(t, address)
	write(t, c, "before")
	want(t, c, "before")
	first := ourChild()
	killChild(t, first)
	killChild(t, theirs)
	write(t, c, "while there is none, perhaps")
	want(t, c, "while there is none, perhaps")
	wantSuccessor(t, first)
	// The listener listens, and new connections use the circuit that is there.
	for range 3 {
		c := dialed(t, address)
		write(t, c, "after")
		want(t, c, "after")
		finish(t, c)
	}
	finish(t, c)
}

// echoes sends data through an echo program, and checks what comes back.
func echoes(t *testing.T, c net.Conn, data []byte) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := c.Write(data); err != nil {
			t.Errorf("write: %v", err)
		}
		c.(*Conn).CloseWrite()
	})
	got, err := io.ReadAll(c)
	if err := errors.Join(err, same(got, data)); err != nil {
		t.Errorf("%d octets came back of %d: %v", len(got), len(data), err)
	}
	all.Wait()
}

// Both children are killed again and again at random moments, while octets flow
// both ways over old and new connections.
func TestChildrenKilledUnderLoad(t *testing.T) {
	rng := seeded(t)
	l, socket := peers(t)
	l.Close()
	_, address, theirs := listening(t, socket, "echo")
	data := make([]byte, 4<<20)
	fill(data, 20)
	end := load(t, 3, func() error {
		c, err := DialTimeout("tcp", address, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		echoes(t, c, data)
		return nil
	})
	repairs := process.shards[0].Usage().Counters.Repairs
	for n := range 16 {
		time.Sleep(time.Duration(20+rng.IntN(130)) * time.Millisecond)
		if n%2 == 0 {
			pid := ourChild()
			killChild(t, pid)
			wantSuccessor(t, pid)
		} else {
			theirs = killTheirs(t, theirs)
		}
	}
	t.Logf("%d connections; our lock was held at death %d times", end(), process.shards[0].Usage().Counters.Repairs-repairs)
	testIdle(t)
}

// testIdle waits until no octet of a payload is left in our segment.
func testIdle(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		u := process.shards[0].Usage()
		if u.Idle() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not all was given back: %+v", u)
		}
	}
}

// killTheirs kills the child of another program, and returns the next one: the
// youngest child of the same parent.
func killTheirs(t *testing.T, pid int) (next int) {
	t.Helper()
	parent := testhost.Parent(pid)
	before := testhost.Children(parent)
	killChild(t, pid)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, p := range testhost.Children(parent) {
			if !slices.Contains(before, p) && testhost.Running(p) {
				children = append(children, p)
				return p
			}
		}
	}
	t.Fatal("no other child after 5 s")
	return 0
}
