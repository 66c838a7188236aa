package usertcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// stream sends octets through an echo program until it is told to stop, and compares what
// comes back.
func stream(c net.Conn, seed uint64, stop <-chan struct{}) (octets int, err error) {
	block := make([]byte, 100_003) // fits no buffer
	fill(block, seed)
	written := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				written <- c.(*Conn).CloseWrite()
				return
			default:
				if _, err := c.Write(block); err != nil {
					written <- err
					return
				}
			}
		}
	}()
	for got := make([]byte, len(block)); ; {
		n, err := io.ReadFull(c, got)
		if !bytes.Equal(got[:n], block[:n]) {
			return octets, fmt.Errorf("octets %d to %d are not those that were sent", octets, octets+n)
		}
		if octets += n; err == io.EOF {
			return octets, <-written
		} else if err != nil {
			return octets, errors.Join(err, <-written)
		}
	}
}

// Both hosts' servers are killed and started again, while octets flow both ways over
// several connections. All of them stay.
func TestServersKilledUnderLoad(t *testing.T) {
	t.Cleanup(func() { wantNoChildren(t) })
	dir := testhost.Dir(t)
	var hosts [2]*testhost.Host
	var servers [2]*testhost.Process
	for i := range hosts {
		hosts[i], servers[i] = testhost.StartProcess(t, dir, testhost.Addrs(i+1)...)
	}
	useServer(t, hosts[0].Socket)
	_, address, _ := listening(t, hosts[1].Socket, "echo")
	stop := make(chan struct{})
	var load sync.WaitGroup
	var total [4]int
	for k := range total {
		c := dialed(t, address)
		load.Go(func() {
			n, err := stream(c, uint64(k), stop)
			if total[k] = n; err != nil || n == 0 {
				t.Errorf("connection %d after %d octets: %v", k, n, err)
			}
			c.Close()
		})
	}
	for n := range 4 {
		time.Sleep(pause)
		servers[n%2].Kill(syscall.SIGKILL)
		servers[n%2].Wait()
		time.Sleep(pause) // without
		servers[n%2] = testhost.Restart(t, dir, hosts[n%2], testhost.Addrs(n%2+1)...)
	}
	time.Sleep(pause)
	close(stop)
	load.Wait()
	t.Logf("%d octets came back over the connections", total)
	c := dialed(t, address)
	write(t, c, "a new connection")
	want(t, c, "a new connection")
	finish(t, c)
}

// A program and its child die at the same moment, in both orders: the child's successor
// finds a segment whose program is dead.
func TestProgramAndChildKilledAtOnce(t *testing.T) {
	l, socket := peers(t)
	const size = 1 << 20
	data := make([]byte, size)
	fill(data, 20)
	for n := range 6 {
		p := testhost.Run(t, socket, "send", l.Addr().String(), strconv.Itoa(size), "wait")
		child := childOf(t, p)
		c := accept(t, l)
		p.Want("written")
		victims := [2]int{p.Pid(), child}
		syscall.Kill(victims[n%2], syscall.SIGKILL)
		syscall.Kill(victims[1-n%2], syscall.SIGKILL)
		p.Wait()
		got, err := io.ReadAll(c)
		if err := errors.Join(err, same(got, data)); err != nil {
			t.Fatalf("after %d times: %d octets, %v", n, len(got), err)
		}
		c.Close()
	}
}

// Nobody is left who has the descriptors of the segment but the program, whose calls fail;
// it can begin anew when there is a server.
func TestServerAndChildKilled(t *testing.T) {
	t.Cleanup(func() { wantNoChildren(t) })
	dir := testhost.Dir(t)
	h, server := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	other := testhost.Start(t, dir, testhost.Addrs(2)...)
	useServer(t, h.Socket)
	_, address, _ := listening(t, other.Socket, "echo")
	c := dialed(t, address)
	write(t, c, "before")
	want(t, c, "before")
	child := ourChild()
	server.Kill(syscall.SIGKILL) // first: it would start another child
	server.Wait()
	killChild(t, child)
	_, err := c.Read(make([]byte, 1))
	wantError(t, err, "read", syscall.ECONNABORTED)
	testhost.Restart(t, filepath.Dir(h.Socket), h, testhost.Addrs(1)...)
	c = dialed(t, address)
	write(t, c, "after")
	want(t, c, "after")
	finish(t, c)
}

// The peer of such a program learns of it when it sends something.
func TestPeerOfServerAndChildKilled(t *testing.T) {
	t.Cleanup(func() { wantNoChildren(t) })
	dir := testhost.Dir(t)
	h, server := testhost.StartProcess(t, dir, testhost.Addrs(2)...)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)...).Socket)
	p := testhost.Run(t, h.Socket, "echo", "10.1.0.2:0")
	child := childOf(t, p)
	c := dialed(t, p.Want("listening"))
	write(t, c, "before")
	want(t, c, "before")
	server.Kill(syscall.SIGKILL)
	server.Wait()
	killChild(t, child)
	p.Kill(syscall.SIGKILL)
	p.Wait()
	testhost.Restart(t, dir, h, testhost.Addrs(2)...)
	var err error
	for ; err == nil; time.Sleep(pause) {
		_, err = c.Write([]byte("is anybody there?"))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_, err = c.Read(make([]byte, 1))
	}
	wantError(t, err, "write", syscall.ECONNRESET)
}
