package exit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"usertcp"
	"usertcp/internal/testhost"
)

// stack is one of the two that a program may use.
type stack struct {
	dial   func(network, address string) (net.Conn, error)
	listen func(network, address string) (net.Listener, error)
}

var stacks = map[string]stack{
	"usertcp": {usertcp.Dial, usertcp.Listen},
	"kernel":  {net.Dial, net.Listen},
}

// ends are the ways in which a program ends. Each is called in a goroutine of its own,
// but for "return": then the main goroutine is done.
var ends = map[string]func(){
	"return": nil,
	"exit":   func() { os.Exit(1) },
	"panic": func() {
		os.Stderr.Close()
		panic("as the test wants it")
	},
	"SIGSEGV": func() { raise(unix.SIGSEGV) },
	"SIGABRT": func() { raise(unix.SIGABRT) },
	"SIGKILL": func() { raise(unix.SIGKILL) },
	"memory":  exhaust,
}

// raise sends this process a signal. Of those that Go's runtime catches it dies with
// SIGABRT, as any program with a core dump does.
func raise(sig unix.Signal) {
	os.Stderr.Close()
	debug.SetTraceback("crash")
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	unix.Kill(os.Getpid(), sig)
}

// exhaust ends for want of memory: the runtime gives up in the middle of whatever the
// other goroutines do.
func exhaust() {
	os.Stderr.Close()
	unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	var all [][]byte
	for {
		all = append(all, make([]byte, 16<<20))
		all[len(all)-1][0] = byte(len(all))
	}
}

// The programs: "leave" STACK SITUATION END ADDRESS gets its connections into a situation
// and ends when it is told to; "sink" ADDRESS reads what comes, and says what it was.
func init() {
	testhost.Programs["leave"] = func(args []string) int {
		s := stacks[args[0]]
		if err := situations[args[1]].program(s, args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "leave:", err)
			return 1
		}
		say("ready")
		if !stdin.Scan() {
			return 3
		}
		if end := ends[args[2]]; end != nil {
			go end()
			select {}
		}
		return 0
	}
	testhost.Programs["sink"] = func(args []string) int {
		err := sink(args[0])
		fmt.Fprintln(os.Stderr, "sink:", err)
		return 1
	}
}

var stdin = bufio.NewScanner(os.Stdin)

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func sink(address string) error {
	l, err := usertcp.Listen("tcp", address)
	if err != nil {
		return err
	}
	pids, err := usertcp.Helpers(context.Background())
	if err != nil {
		return err
	}
	say("child %d", pids[len(pids)-1])
	say("listening %s", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		say("accepted %s", c.RemoteAddr())
		got, err := io.ReadAll(c)
		say("read %d %x %v", len(got), sha256.Sum256(got), err)
		c.Close()
	}
}

// open are connections that must not be closed by a finaliser before the end.
var open []io.Closer

func dial(s stack, address string) (net.Conn, error) {
	c, err := s.dial("tcp", address)
	if err == nil {
		open = append(open, c)
	}
	return c, err
}

// writeUnsent writes more than the peer, who does not read, can take, and says how much
// was accepted.
func writeUnsent(s stack, address string) error {
	c, err := dial(s, address)
	if err != nil {
		return err
	}
	all, n := pattern(64<<20), 0
	for end := time.Now().Add(patience); n < 64<<10; { // a machine that has other work needs longer
		c.SetWriteDeadline(time.Now().Add(150 * time.Millisecond))
		k, err := c.Write(all[n:])
		if n += k; !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			return fmt.Errorf("the peer has taken %d octets: %v", n, err)
		}
	}
	say("wrote %d", n)
	return nil
}

// writeUnacknowledged connects, waits until it is told to, and writes what the peer's
// window has room for.
func writeUnacknowledged(s stack, address string) error {
	c, err := dial(s, address)
	if err != nil {
		return err
	}
	say("connected")
	stdin.Scan()
	_, err = c.Write(pattern(unacknowledged))
	return err
}

// readLess reads the first octet of what comes.
func readLess(s stack, address string) error {
	c, err := dial(s, address)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

func openMany(s stack, address string) error {
	for n := range many {
		c, err := dial(s, address)
		if err != nil {
			return err
		}
		if _, err := c.Write(pattern(1000 * (n + 1))); err != nil {
			return err
		}
	}
	return nil
}

// connect is in Dial when the program ends.
func connect(s stack, address string) error {
	go func() {
		_, err := dial(s, address)
		say("dialled: %v", err)
	}()
	return nil
}

// acceptOne accepts one connection of those that come.
func acceptOne(s stack, address string) error {
	l, err := s.listen("tcp", address)
	if err != nil {
		return err
	}
	open = append(open, l)
	say("listening %s", l.Addr())
	c, err := l.Accept()
	open = append(open, c)
	return err
}

// closeTwo has closed a connection whose octets nobody has read, and the sending half of
// another one.
func closeTwo(s stack, address string) error {
	a, err := dial(s, address)
	if err != nil {
		return err
	}
	b, err := dial(s, address)
	if err != nil {
		return err
	}
	if _, err := a.Write(pattern(closing)); err != nil {
		return err
	}
	type halfCloser interface{ CloseWrite() error }
	return errors.Join(a.Close(), b.(halfCloser).CloseWrite())
}

// Octets that programs write, and connections that they open.
const (
	unacknowledged = 30000
	closing        = 50000
	many           = 32
)

// pattern returns n octets that tell their places.
func pattern(n int) []byte {
	b := make([]byte, n)
	for k := range b {
		b[k] = byte(k*7 + k>>8*13 + k>>16)
	}
	return b
}

func atoi(t interface{ Fatal(...any) }, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
