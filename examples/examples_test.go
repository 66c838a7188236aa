// Package examples runs the example programs, each as a process of its own, over
// a ring of the test's own. The programs themselves do not belong here: each has
// a directory.
package examples

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

func TestMain(m *testing.M) { testhost.Main(m) }

// patience bounds everything that a test waits for.
const patience = time.Minute

// programs are the examples, built, and two hosts to run them on.
type programs struct {
	t    *testing.T
	ctx  context.Context
	dir  string
	host []*testhost.Host
}

func build(t *testing.T) *programs {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	dir := t.TempDir()
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "./...").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return &programs{t: t, ctx: ctx, dir: dir, host: testhost.Ring(t, 2)}
}

// command is an example that is about to run on a host.
func (p *programs) command(host int, name string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(p.ctx, filepath.Join(p.dir, name), args...)
	cmd.Env = append(os.Environ(), "USERTCP_SERVER="+p.host[host].Socket)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

// output runs an example to its end and returns what it wrote.
func (p *programs) output(host int, name string, in []byte, args ...string) string {
	p.t.Helper()
	cmd, stderr := p.command(host, name, args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr)
	}
	return string(out)
}

// start starts an example that says where it listens in its first line on the
// pipe that line makes, and returns that address. The example ends with the test.
func (p *programs) start(cmd *exec.Cmd, line func() (io.ReadCloser, error)) string {
	p.t.Helper()
	pipe, err := line()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	first := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(pipe).ReadString('\n')
		first <- s
	}()
	select {
	case s := <-first:
		addr, ok := strings.CutPrefix(strings.TrimSpace(s), "listening on ")
		if !ok {
			p.t.Fatalf("%s says %q, not where it listens\n%v", cmd.Path, s, cmd.Stderr)
		}
		return addr
	case <-time.After(patience):
		p.t.Fatalf("waited %v for %s to listen", patience, cmd.Path)
	}
	return ""
}

func TestExamples(t *testing.T) {
	p := build(t)

	t.Run("hello gets from echo what it said", func(t *testing.T) {
		p := *p
		p.t = t
		cmd, _ := p.command(1, "echo", "10.1.0.2:7")
		p.start(cmd, cmd.StdoutPipe)
		if got := p.output(0, "hello", nil); got != "hello, world\n" {
			t.Errorf("hello printed %q", got)
		}
	})

	t.Run("http gets from http with net/http at both ends", func(t *testing.T) {
		p := *p
		p.t = t
		cmd, _ := p.command(1, "http", "-listen", "10.1.0.2:80")
		addr := p.start(cmd, cmd.StdoutPipe)
		if got := p.output(0, "http", nil, "http://"+addr+"/"); !strings.HasPrefix(got, "hello, 10.1.0.1:") {
			t.Errorf("http printed %q", got)
		}
	})

	t.Run("sendfile delivers what it sent although it has ended", func(t *testing.T) {
		p := *p
		p.t = t
		data := make([]byte, 5<<20+1)
		rand.Read(data)
		cmd, _ := p.command(1, "sendfile", "-listen", "10.1.0.2:9000")
		cmd.Stderr = nil
		var got bytes.Buffer
		cmd.Stdout = &got
		addr := p.start(cmd, cmd.StderrPipe)
		p.output(0, "sendfile", data, addr)
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), data) {
			t.Errorf("received %d octets, want %d, or they differ", got.Len(), len(data))
		}
	})

	t.Run("a program without a server says how to start one", func(t *testing.T) {
		cmd, stderr := p.command(0, "hello", "10.1.0.2:7")
		cmd.Env = append(os.Environ(), "USERTCP_SERVER="+filepath.Join(t.TempDir(), "none"))
		if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), "usertcp server -ring DIR") {
			t.Errorf("hello: %v, %q", err, stderr)
		}
	})
}
