package usertcp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// echoed sends a block to a relay of quiet's, and returns when that has echoed it: it
// lies in the relay's send buffer and on its way, and nobody has read it. The relay has
// read all, so that its death ends the connection with FIN: RST, which comes if something
// is unread, would take the block along.
func echoed(t *testing.T, p *testhost.Process, c net.Conn) (block []byte) {
	t.Helper()
	block = make([]byte, 1<<20)
	fill(block, 20)
	if _, err := c.Write(block); err != nil {
		t.Fatal(err)
	}
	all, line := strconv.Itoa(len("before")+len(block)), ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		p.Say("echoed")
		if line = p.Line(); line == all {
			return block
		}
	}
	t.Fatalf("the relay has echoed %s octets of %s", line, all)
	return nil
}

// wantBlock reads block.
func wantBlock(t *testing.T, c net.Conn, block []byte) {
	t.Helper()
	got := make([]byte, len(block))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, block) {
		t.Fatalf("%d of %d octets came, the same %v: %v", n, len(block), bytes.Equal(got[:n], block[:n]), err)
	}
}

// A program is killed at random moments while it hands over some sockets: all that its
// Write has accepted comes, and then either its end or what the next process says.
func TestKilledWhileItHandsOverSome(t *testing.T) {
	rng := seeded(t)
	l, socket := peers(t)
	l.Close()
	rounds := 16
	if testing.Short() {
		rounds = 3
	}
	killed := make([]killedHand, rounds)
	for n := range killed {
		killed[n] = killHand(t, socket, fmt.Sprint("some", n), rng.IntN(25_000))
	}
	offered := 0
	for _, k := range killed {
		if k.end(t) {
			offered++
		}
	}
	t.Logf("%d of %d had offered", offered, rounds)
}

// killedHand is a connection whose program was killed while it handed it over, and a program that
// tries to take it: for 3 s if it was not offered, which several of them wait side by side.
type killedHand struct {
	c     net.Conn
	block []byte // lies in the dead program's buffers
	next  *testhost.Process
}

// killHand kills a program us microseconds after it was told to hand over.
func killHand(t *testing.T, socket, name string, us int) killedHand {
	t.Helper()
	p, c, _ := quiet(t, socket)
	block := echoed(t, p, c)
	p.Say(fmt.Sprintf("kill%dsome %s", us, name))
	p.Wait()
	return killedHand{c, block, testhost.Run(t, socket, "relay", "try", name)}
}

// end checks what comes, and says whether the program had offered its sockets.
func (k *killedHand) end(t *testing.T) (offered bool) {
	t.Helper()
	if line := k.next.Line(); strings.HasPrefix(line, "failed") {
		wantBlock(t, k.c, k.block)
		wantEOF(t, k.c)
		k.c.Close()
		k.next.Wait()
		return false
	}
	k.next.Want("taken")
	write(t, k.c, "after")
	wantBlock(t, k.c, k.block)
	want(t, k.c, "after")
	finish(t, k.c)
	k.next.Want("end")
	return true
}

// The old child, or the new one, is killed at random moments while sockets go from one
// to the other: nobody notices.
func TestChildrenKilledWhileSomeMove(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for _, which := range []string{"old", "new"} {
		t.Run(which, func(t *testing.T) {
			rng := seeded(t)
			_, socket := peers(t)
			handed := 0
			for n := range rounds {
				p, c, child := quiet(t, socket)
				block := echoed(t, p, c)
				name := fmt.Sprint(which, n)
				before := testhost.Children(testhost.Parent(child))
				p.Say("some " + name)
				if which == "new" {
					child = youngest(t, child, before)
				}
				time.Sleep(time.Duration(rng.IntN(20_000)) * time.Microsecond)
				killChild(t, child)
				next := p
				if line := p.Line(); line == "handed" {
					next = take(t, socket, name)
					handed++
				} else if which == "old" || !strings.HasPrefix(line, "failed") {
					t.Fatalf("it says %q", line) // a child that has only begun has no successor
				}
				write(t, c, "after")
				wantBlock(t, c, block)
				want(t, c, "after")
				finish(t, c)
				next.Want("end")
				p.Kill(syscall.SIGKILL)
			}
			t.Logf("%d of %d went", handed, rounds)
		})
	}
}

// youngest returns the first process that has the parent of child and is not in
// before.
func youngest(t *testing.T, child int, before []int) int {
	t.Helper()
	known := map[int]bool{}
	for _, p := range before {
		known[p] = true
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		for _, p := range testhost.Children(testhost.Parent(child)) {
			if !known[p] && testhost.Running(p) {
				children = append(children, p)
				return p
			}
		}
	}
	t.Fatal("no other child")
	return 0
}
