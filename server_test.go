package usertcp

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// distant is the test's host, and another one whose server is a process, with a
// program on it.
func distant(t *testing.T, program string) (server *testhost.Process, host *testhost.Host, address string) {
	t.Helper()
	t.Cleanup(func() { wantNoChildren(t) })
	dir := testhost.Dir(t)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)...).Socket)
	host, server = testhost.StartProcess(t, dir, testhost.Addrs(2)...)
	p := testhost.Run(t, host.Socket, program, "10.1.0.2:0")
	childOf(t, p)
	return server, host, p.Want("listening")
}

// finish closes a connection to an echo program in order, so that TIME-WAIT is at
// this end and the program's child has nothing left to wait for.
func finish(t *testing.T, c net.Conn) {
	t.Helper()
	c.(*Conn).CloseWrite()
	wantEOF(t, c)
	c.Close()
}

func TestDialTimesOutWhenThePeersServerIsStopped(t *testing.T) {
	server, _, address := distant(t, "echo")
	server.Kill(syscall.SIGSTOP)
	defer server.Kill(syscall.SIGCONT)
	for range 2 {
		within(t, func() {
			_, err := DialTimeout("tcp", address, 500*time.Millisecond)
			wantTimeout(t, err, "dial")
		})
	}
	// It is only late.
	time.AfterFunc(100*time.Millisecond, func() { server.Kill(syscall.SIGCONT) })
	c := dialed(t, address)
	write(t, c, "late")
	want(t, c, "late")
	finish(t, c)
}

func TestOwnServerStopped(t *testing.T) {
	dir := testhost.Dir(t)
	h, server := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	useServer(t, h.Socket)
	a, b := pair(t)
	defer a.Close()
	defer b.Close()
	server.Kill(syscall.SIGSTOP)
	defer server.Kill(syscall.SIGCONT)
	within(t, func() {
		_, err := DialTimeout("tcp", "10.1.0.1:80", 300*time.Millisecond)
		wantTimeout(t, err, "dial")
	})
	write(t, a, "established connections do not need it")
	want(t, b, "established connections do not need it")
}

func TestPeersServerKilled(t *testing.T) {
	server, _, address := distant(t, "echo")
	c := dialed(t, address)
	write(t, c, "before")
	want(t, c, "before")
	server.Kill(syscall.SIGKILL)
	server.Wait()
	c.SetDeadline(time.Now().Add(patience))
	for range 3 {
		write(t, c, "after")
		want(t, c, "after")
		time.Sleep(pause)
	}
	within(t, func() {
		_, err := DialTimeout("tcp", address, patience)
		wantError(t, err, "dial", syscall.EHOSTUNREACH)
	})
	finish(t, c)
	// The program gets the acknowledgement of its FIN before it is killed: if it is killed over
	// that, its child has no server that says that the peer has gone, and asks for minutes.
	time.Sleep(pause)
}

func TestOwnServerKilled(t *testing.T) {
	dir := testhost.Dir(t)
	h, server := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	useServer(t, h.Socket)
	a, b := pair(t)
	server.Kill(syscall.SIGKILL)
	server.Wait()
	child := process.shards[0].Pids()[1]
	a.SetDeadline(time.Now().Add(patience))
	b.SetDeadline(time.Now().Add(patience))
	for range 3 {
		write(t, a, "established connections go on")
		want(t, b, "established connections go on")
		time.Sleep(pause)
	}
	within(t, func() {
		_, err := DialTimeout("tcp", "10.1.0.1:80", patience)
		wantError(t, err, "dial", nil)
		_, lerr := Listen("tcp", "10.1.0.1:80")
		wantError(t, lerr, "listen", nil)
		for _, err := range []error{err, lerr} {
			if !errors.Is(err, syscall.EHOSTDOWN) && !strings.Contains(err.Error(), "connection server") {
				t.Errorf("%q does not say that the server is down", err)
			}
		}
	})
	// The child ends when its application and the connections are gone.
	a.(*Conn).SetLinger(0) // no TIME-WAIT
	a.Close()
	b.Close()
	process.shards[0].Close()
	testhost.WantGone(t, child)
}

// With USERTCP_WAIT calls wait until there is a server again, those of programs
// that have a child and those of programs that have none.
func TestDialWaitsForTheServer(t *testing.T) {
	dir := testhost.Dir(t)
	h, server := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	useServer(t, h.Socket)
	t.Setenv("USERTCP_WAIT", patience.String())
	a, b := pair(t)
	defer a.Close()
	defer b.Close()
	server.Kill(syscall.SIGKILL)
	server.Wait()
	e := testhost.Run(t, h.Socket, "echo", "10.1.0.1:81")
	listened := make(chan error, 1)
	go func() {
		l, err := Listen("tcp", "10.1.0.1:80")
		if err == nil {
			defer l.Close()
		}
		listened <- err
	}()
	select {
	case err := <-listened:
		t.Fatalf("Listen has not waited: %v", err)
	case <-time.After(pause):
	}
	testhost.Restart(t, dir, h, testhost.Addrs(1)...)
	if err := <-listened; err != nil {
		t.Fatal(err)
	}
	childOf(t, e)
	c := dialed(t, e.Want("listening"))
	write(t, c, "patience")
	want(t, c, "patience")
	finish(t, c)
}

// The listener of a program that knows nothing of it is the new server's, and so
// are its connections' ports.
func TestServerComesBack(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGUSR2} {
		t.Run(sig.String(), func(t *testing.T) { comesBack(t, sig) })
	}
}

func comesBack(t *testing.T, end syscall.Signal) {
	server, host, address := distant(t, "echo")
	c := dialed(t, address)
	write(t, c, "before")
	want(t, c, "before")
	server.Kill(end)
	server.Wait()
	testhost.Restart(t, filepath.Dir(host.Socket), host, testhost.Addrs(2)...)
	write(t, c, "after")
	want(t, c, "after")
	finish(t, c)
	c = dialed(t, address)
	write(t, c, "new server, old listener")
	want(t, c, "new server, old listener")
	finish(t, c)
	// The port is in use, for programs that come now.
	e := testhost.Run(t, host.Socket, "listen", address)
	e.Wait()
}
