package usertcp

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/testhost"
)

func init() {
	testhost.Programs["compute"] = func(args []string) int {
		if err := programCompute(args[0], args[1], args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "compute:", err)
			return 1
		}
		return 0
	}
}

// The octets of the page that a computing program and its test share: the program has
// begun; it may end.
const (
	pageBegun = iota
	pageEnd
	pageSize
)

// programCompute ADDRESS PAGE WAY accepts a connection and computes, so that no other
// goroutine gets a CPU, until the page says that it is enough; then it reads.
func programCompute(address, name, way string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	l, err := Listen("tcp", address)
	if err == nil {
		err = sayPids()
	}
	if err != nil {
		return err
	}
	say("listening %s", l.Addr())
	c, err := l.Accept()
	if err != nil {
		return err
	}
	if way == "collects" {
		runtime.GOMAXPROCS(2)
		go compute(page)
		for page[pageBegun] == 0 {
			runtime.Gosched()
		}
		runtime.GC() // which stops the world when all goroutines have stopped
	} else {
		runtime.GOMAXPROCS(1)
		compute(page)
	}
	got, err := io.ReadAll(c)
	say("read %d %x %v", len(got), hash(got), err)
	return nil
}

// compute has no point at which the runtime could take the CPU from it: the test has
// switched off that it does so anywhere.
func compute(page []byte) {
	page[pageBegun] = 1
	for {
		if page[pageEnd] != 0 {
			return
		}
	}
}

// A program that computes and does not call, and one whose garbage collection takes
// long, lose nothing: the child acknowledges and completes handshakes meanwhile.
func TestProgramThatDoesNotCall(t *testing.T) {
	for _, way := range []string{"computes", "collects"} {
		t.Run(way, func(t *testing.T) {
			t.Setenv("GODEBUG", "asyncpreemptoff=1")
			_, socket := peers(t)
			name := filepath.Join(t.TempDir(), "page")
			if err := os.WriteFile(name, make([]byte, pageSize), 0o600); err != nil {
				t.Fatal(err)
			}
			p := testhost.Run(t, socket, "compute", "10.1.0.2:0", name, way)
			childOf(t, p)
			address := p.Want("listening")
			c, err := DialTimeout("tcp", address, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			wantPage(t, name, pageBegun)
			time.Sleep(pause)
			text := strings.Repeat("x", 1000)
			write(t, c, text)
			for end := time.Now().Add(patience); process.shards[0].Usage().Chunks > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("not acknowledged: %+v", process.shards[0].Usage())
				}
			}
			c2, err := DialTimeout("tcp", address, patience)
			if err != nil {
				t.Fatal(err)
			}
			c2.Close()
			letGo(t, name)
			write(t, c, text)
			c.(*Conn).CloseWrite()
			if got, want := p.Line(), fmt.Sprintf("read %d %x <nil>", 2*len(text), hash([]byte(text+text))); got != want {
				t.Errorf("the program says %q, want %q", got, want)
			}
		})
	}
}

// letGo ends what a program computes. The file is not truncated: the program has it mapped.
func letGo(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{1}, pageEnd)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantPage waits until an octet of a page is set.
func wantPage(t *testing.T, name string, at int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > at && b[at] != 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the program has not begun")
		}
	}
}
