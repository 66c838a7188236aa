package examples

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp"
	"usertcp/internal/testhost"
)

// requests is how many requests the load consists of; `make restart` has 100,000.
func requests() int {
	if n, err := strconv.Atoi(os.Getenv("USERTCP_REQUESTS")); err == nil {
		return n
	}
	return 5000
}

// restartEvery is how many requests are answered between two restarts, clients how
// many connections there are.
const (
	restartEvery = 500
	clients      = 8
)

// load is a number of requests over kept connections, and what became of them.
type load struct {
	dial           func() (net.Conn, error)
	begun, done    atomic.Int64
	failed, dialed atomic.Int64
}

// run makes n requests to addr.
func (l *load) run(addr string, n int) {
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			client := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				l.dialed.Add(1)
				return l.dial()
			}}}
			body := make([]byte, 3000)
			for l.begun.Add(1) <= int64(n) {
				if err := request(&client, addr, body); err != nil {
					l.failed.Add(1)
				}
				l.done.Add(1)
			}
		})
	}
	all.Wait()
}

// once is a body that can't be sent again: http.Client would hide a failure.
type once struct{ io.Reader }

func request(client *http.Client, addr string, body []byte) error {
	r, err := client.Post("http://"+addr+"/", "text/plain", once{bytes.NewReader(body)})
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && !bytes.HasSuffix(b, []byte("got 3000 octets\n")) {
		err = fmt.Errorf("answer %q", b)
	}
	return err
}

// each calls f after every restartEvery requests, while l runs n of them.
func (l *load) each(addr string, n int, f func()) (restarts int) {
	ended := make(chan struct{})
	go func() {
		l.run(addr, n)
		close(ended)
	}()
	for next := int64(restartEvery); next < int64(n); next += restartEvery {
		for l.done.Load() < next {
			select {
			case <-ended:
				return restarts
			case <-time.After(time.Millisecond):
			}
		}
		f()
		restarts++
	}
	<-ended
	return restarts
}

// A web server is replaced by its next version again and again under load: no request
// fails, and no connection is closed.
func TestRestart(t *testing.T) {
	p := build(t)
	t.Setenv("USERTCP_SERVER", p.host[0].Socket)
	first, _ := p.command(1, "restart", "-listen", "10.1.0.2:80")
	addr := p.start(first, first.StdoutPipe)
	l := &load{dial: func() (net.Conn, error) { return usertcp.Dial("tcp", addr) }}
	present := first
	restarts := l.each(addr, requests(), func() {
		next, _ := p.command(1, "restart")
		present.Process.Signal(syscall.SIGTERM)
		if again := p.start(next, next.StdoutPipe); again != addr {
			t.Errorf("the next version listens at %s, not %s", again, addr)
		}
		if err := present.Wait(); err != nil {
			t.Error(err)
		}
		present = next
	})
	t.Logf("handed over %d times: %d requests, %d failed, %d connections", restarts, l.done.Load(), l.failed.Load(), l.dialed.Load())
	if l.failed.Load() != 0 || l.dialed.Load() != clients || restarts == 0 {
		t.Errorf("%d requests failed; %d connections for %d clients; %d restarts", l.failed.Load(), l.dialed.Load(), clients, restarts)
	}
}

func init() { testhost.Programs["reuseport"] = reusePort }

// reusePort ADDR is net/http over the kernel's TCP as it is restarted there: the next
// version listens at the same port, and the old one shuts down.
func reusePort(args []string) int {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	l, err := lc.Listen(context.Background(), "tcp", args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("listening on", l.Addr())
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "process %d got %d octets\n", os.Getpid(), n)
	})}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go s.Serve(l)
	<-stop
	if err := s.Shutdown(context.Background()); err != nil {
		return 1
	}
	return 0
}

// The usual way over the kernel's TCP, for comparison: each restart closes all
// connections, and what is on its way to them fails.
func TestRestartWithReusePort(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &programs{t: t}
	program := func(addr string) (*exec.Cmd, string) {
		cmd := exec.CommandContext(t.Context(), exe, "usertcp-test-program", "reuseport", addr)
		cmd.Stderr = os.Stderr
		return cmd, p.start(cmd, cmd.StdoutPipe)
	}
	present, addr := program("127.0.0.1:0")
	l := &load{dial: func() (net.Conn, error) { return net.Dial("tcp", addr) }}
	restarts := l.each(addr, requests(), func() {
		next, _ := program(addr)
		present.Process.Signal(syscall.SIGTERM)
		present.Wait()
		present = next
	})
	t.Logf("restarted %d times: %d requests, %d failed, %d connections", restarts, l.done.Load(), l.failed.Load(), l.dialed.Load())
	if l.dialed.Load() <= clients {
		t.Errorf("%d connections for %d clients: were they not closed?", l.dialed.Load(), clients)
	}
}
