package usertcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/server"
	"usertcp/internal/testhost"
)

func init() {
	testhost.Register(map[string]func(args []string) error{"visit": programVisit})
}

// programVisit ADDRESS N END makes N connections, one after the other, and closes each
// first. If END is "keep" there are more than a block has ports, all at once, and then one
// to which it writes as much as is taken before it kills itself.
func programVisit(args []string) error {
	n, _ := strconv.Atoi(args[1])
	for i := range n {
		c, err := DialTimeout("tcp", args[0], patience)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if i == 0 {
			if err := sayPids(); err != nil {
				return err
			}
		}
		c.(*Conn).CloseWrite()
		if _, err := io.Copy(io.Discard, c); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		c.Close()
	}
	if args[2] == "keep" {
		if err := visitAtOnce(args[0], 3*256); err != nil { // more than a block's ports
			return err
		}
		c, err := DialTimeout("tcp", args[0], patience)
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(time.Second))
		data := make([]byte, 8<<20)
		fill(data, 20)
		took, err := c.Write(data)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("wrote %d: %w", took, err)
		}
		say("kept %d", took)
		hear()
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	say("visited")
	return nil
}

// visitAtOnce makes n connections before it closes the first.
func visitAtOnce(address string, n int) error {
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := DialTimeout("tcp", address, patience)
		if err != nil {
			return fmt.Errorf("connection %d at once: %w", i, err)
		}
		conns[i] = c
	}
	for _, c := range conns {
		c.(*Conn).CloseWrite()
		if _, err := io.Copy(io.Discard, c); err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

// visited is a listener whose connections end at once, but for one that sends something.
type visited struct {
	l    net.Listener
	kept chan net.Conn
	mu   sync.Mutex
	from map[string]int // how often each end came
}

func visitedAt(t *testing.T, address string) *visited {
	t.Helper()
	l, err := Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	v := &visited{l: l, kept: make(chan net.Conn, 1), from: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go v.visit(c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return v
}

func (v *visited) visit(c net.Conn) {
	v.mu.Lock()
	v.from[c.RemoteAddr().String()]++
	v.mu.Unlock()
	var first [1]byte
	if n, _ := c.Read(first[:]); n == 1 {
		v.kept <- c
		return
	}
	c.Close()
}

func (v *visited) times(from net.Addr) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.from[from.String()]
}

// Programs that come one after the other connect to the same end more often than there
// are ports, each as fast as the first: its ports are lent again although the former
// program's connections are in TIME-WAIT, and the servers are hardly asked.
func TestProgramsOneAfterAnotherHavePorts(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("tens of thousands of connections")
	}
	t.Cleanup(func() { wantNoChildren(t) })
	h := testhost.Ring(t, 2)
	h[0], h[1] = h[1], h[0] // 10.1.0.1 has the programs, since fd00::2 may be the machine's, and nothing is leased then
	useServer(t, h[0].Socket)
	v := visitedAt(t, "10.1.0.2:0")
	const each = 10000 // three times that is more than there are ports
	asked := h[0].Server.Snapshot().Counters.Syns
	for n := range 3 {
		p := testhost.Run(t, h[1].Socket, "visit", v.l.Addr().String(), strconv.Itoa(each), "exit")
		childOf(t, p)
		p.WantMuch("visited")
		p.Wait()
		now := h[0].Server.Snapshot().Counters.Syns
		if now-asked > each/20 {
			t.Errorf("program %d has asked for %d of its %d connections", n, now-asked, each)
		}
		t.Logf("program %d has asked for %d", n, now-asked)
		asked = now
	}
}

// leases returns how many blocks of ports the child with a pid has, -1 if there is none.
func leases(t *testing.T, socket string, pid int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	snap, err := server.Status(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range snap.Children {
		if c.PID == pid {
			return c.Leases
		}
	}
	return -1
}

// A connection whose program was killed, and whose child sends still, keeps its four
// numbers whoever comes after it, also with another connection server; the rest of what
// the program had leased goes back meanwhile.
func TestAnOrphanKeepsItsPort(t *testing.T) {
	for name, restart := range map[string]bool{"": false, "another server": true} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { wantNoChildren(t) })
			dir := testhost.Dir(t)
			useServer(t, testhost.Start(t, dir, testhost.Addrs(2)...).Socket)
			h, process := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
			v := visitedAt(t, "10.1.0.2:0")
			visits := scaled(4000)
			p := testhost.Run(t, h.Socket, "visit", v.l.Addr().String(), strconv.Itoa(visits), "keep")
			child := childOf(t, p)
			size, err := strconv.Atoi(p.WantMuch("kept"))
			if err != nil {
				t.Fatal(err)
			}
			orphan := <-v.kept
			had := leases(t, h.Socket, child)
			p.Say("die")
			p.Wait()
			for end := time.Now().Add(patience); leases(t, h.Socket, child) != 1; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d blocks stay leased", leases(t, h.Socket, child))
				}
			}
			if had < 2 {
				t.Errorf("the program had %d blocks: one would have been kept anyhow", had)
			}
			if restart {
				process.Kill(syscall.SIGKILL)
				process.Wait()
				testhost.Restart(t, dir, h, testhost.Addrs(1)...)
			}
			before := v.times(orphan.RemoteAddr())
			for range 3 {
				p := testhost.Run(t, h.Socket, "visit", v.l.Addr().String(), strconv.Itoa(visits), "exit")
				childOf(t, p)
				p.WantMuch("visited")
				p.Wait()
			}
			if n := v.times(orphan.RemoteAddr()); n != before {
				t.Errorf("%d connections from %v beside the orphan's", n-before, orphan.RemoteAddr())
			}
			orphan.SetDeadline(time.Now().Add(patience))
			got, err := io.ReadAll(orphan)
			data := make([]byte, 8<<20)
			fill(data, 20)
			if err := errors.Join(err, same(got, data[1:size])); err != nil {
				t.Errorf("of what was written %d octets, %v", len(got), err)
			}
			orphan.Close()
		})
	}
}
