package child_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/testhost"
	"usertcp/internal/wire"
)

func TestMain(m *testing.M) { testhost.Main(m) }

// application is one that does not use the library: it speaks to its child as it
// pleases.
type application struct {
	server *message.Channel
	child  *message.Caller
	init   message.Message
}

// patience bounds every wait for what must happen.
const patience = testhost.Patience

func attach(t *testing.T, h *testhost.Host) *application {
	t.Helper()
	server, err := message.Dial(h.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	mine, theirs, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	hello := make(chan message.Message, 1)
	a := &application{server: server}
	a.child = message.NewCaller(mine, message.User, message.Child, func(m *message.Message) {
		select {
		case hello <- *m:
		default: // of a successor, for the same segment
			message.CloseFiles(m.Files)
		}
	})
	t.Cleanup(func() { a.child.Close() })
	m := message.Message{Type: message.Spawn, N: message.Version, Files: []int{int(theirs.Fd())}}
	if err := server.SendMessage(&m); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	select {
	case a.init = <-hello:
	case <-time.After(patience):
		t.Fatal("no Init_Reply")
	}
	t.Cleanup(func() { message.CloseFiles(a.init.Files) })
	return a
}

func (a *application) call(t *testing.T, m message.Message) message.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := a.child.Call(ctx, &m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestInitReplyBringsASealedSegment(t *testing.T) {
	a := attach(t, testhost.Ring(t, 1)[0])
	if a.init.Type != message.InitReply || a.init.Errno != 0 || len(a.init.Files) != 4 {
		t.Fatalf("%+v", a.init)
	}
	for i, fd := range a.init.Files[:2] {
		seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		if err != nil {
			t.Fatal(err)
		}
		if all := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW; seals&all != all {
			t.Errorf("segment %d has seals %#x", i, seals)
		}
		if err := unix.Ftruncate(fd, 0); err == nil {
			t.Errorf("segment %d could be cut off", i)
		}
	}
}

func TestRequestsForWhatIsNotThere(t *testing.T) {
	h := testhost.Ring(t, 1)[0]
	a := attach(t, h)
	end := wire.Endpoint{Addr: wire.AddrFrom(h.Addr), Port: 4000}
	alien := wire.Endpoint{Addr: wire.Addr{10: 0xff, 11: 0xff, 12: 9}, Port: 4000}
	for _, c := range []struct {
		name  string
		m     message.Message
		errno unix.Errno
	}{
		{"a socket that was not made", message.Message{Type: message.Bind, Socket: 0, Local: end}, unix.EBADF},
		{"a socket beyond all", message.Message{Type: message.Bind, Socket: 1 << 30, Local: end}, unix.EBADF},
		{"the last index", message.Message{Type: message.Bind, Socket: ^uint32(0), Local: end}, unix.EBADF},
		{"an address of another host", message.Message{Type: message.Bind, Local: alien}, unix.EADDRNOTAVAIL},
		{"a connection of no socket", message.Message{Type: message.Connect, Socket: 77, Remote: end}, unix.EBADF},
		{"a connection to port 0", message.Message{Type: message.Connect, Remote: wire.Endpoint{Addr: end.Addr}}, unix.EINVAL},
		{"listening without binding", message.Message{Type: message.ListenChild, Socket: 5, Local: end}, unix.EINVAL},
		{"a circuit that is not there", message.Message{Type: message.NewSocket, Op: message.OpLink, N: 3}, unix.ENOENT},
		{"a circuit beyond all", message.Message{Type: message.NewSocket, Op: message.OpLink, N: ^uint32(0)}, unix.ENOENT},
		{"no Rx buffers", message.Message{Type: message.SetRxBufs}, unix.EINVAL},
		{"no Tx buffers", message.Message{Type: message.SetTxBufs}, unix.EINVAL},
	} {
		if r := a.call(t, c.m); unix.Errno(r.Errno) != c.errno {
			t.Errorf("%s: %v, want %v", c.name, unix.Errno(r.Errno), c.errno)
		}
	}
	// What was refused is not kept.
	info := h.Server.Snapshot().Children[0]
	if info.Ports != 0 || info.Flows != 0 {
		t.Errorf("the server has %d ports and %d connections for it", info.Ports, info.Flows)
	}
}

// wantChildren waits until the host has n children.
func wantChildren(t *testing.T, h *testhost.Host, n int) {
	t.Helper()
	for end := time.Now().Add(patience); len(h.Server.Snapshot().Children) != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d children, want %d", len(h.Server.Snapshot().Children), n)
		}
	}
}

func TestGarbageCostsTheApplicationItsChildAndNobodyElse(t *testing.T) {
	h := testhost.Ring(t, 1)[0]
	good, bad := attach(t, h), attach(t, h)
	wantChildren(t, h, 2)
	if err := bad.child.Channel().Send([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-bad.child.Done():
	case <-time.After(patience):
		t.Fatal("the child goes on after garbage")
	}
	wantChildren(t, h, 1)
	good.call(t, message.Message{Type: message.SetTxBufs, N: 10})
}

func TestSegmentFullOfGarbageCostsTheApplicationItsChildAndNobodyElse(t *testing.T) {
	h := testhost.Ring(t, 1)[0]
	good, bad := attach(t, h), attach(t, h)
	var st unix.Stat_t
	if err := unix.Fstat(bad.init.Files[0], &st); err != nil {
		t.Fatal(err)
	}
	seg, err := unix.Mmap(bad.init.Files[0], 0, int(min(st.Size, 1<<20)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(seg)
	for i := range seg {
		seg[i] = byte(i*7 + i>>8)
	}
	bad.child.Close()
	bad.server.Close()
	good.call(t, message.Message{Type: message.SetTxBufs, N: 10})
	wantChildren(t, h, 1)
}

func TestChildEndsWithItsApplication(t *testing.T) {
	h := testhost.Ring(t, 1)[0]
	a := attach(t, h)
	wantChildren(t, h, 1)
	pid := h.Server.Snapshot().Children[0].PID
	a.child.Close()
	testhost.WantGone(t, pid)
	wantChildren(t, h, 0)
}

func TestChildIsNotForTheCommandLine(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{},
		{"-vci", "0", "-addr", "10.1.0.1"},
		{"-vci", "99999", "-addr", "10.1.0.1"},
		{"-vci", "1025", "-addr", "nowhere"},
		{"-vci", "1025", "-addr", "10.1.0.1"}, // without its descriptors
		{"-what"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, err := exec.CommandContext(ctx, exe, append([]string{"usertcp-test-child"}, args...)...).CombinedOutput()
		cancel()
		if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 1 {
			t.Errorf("%q: %v, want exit status 1", args, err)
		}
		if s := string(out); !strings.HasPrefix(s, "usertcp child: ") || strings.Count(s, "\n") != 1 {
			t.Errorf("%q: says %q", args, s)
		}
	}
}

// The child can't be traced, nor looked into, by others than root, and never gets
// more rights than it has.
func TestTheChildIsHardened(t *testing.T) {
	h := testhost.Ring(t, 1)[0]
	attach(t, h)
	wantChildren(t, h, 1)
	pid := h.Server.Snapshot().Children[0].PID
	proc := func(name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
	b, err := os.ReadFile(proc("status"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\nNoNewPrivs:\t1\n") {
		t.Error("it can get new privileges")
	}
	if comm, _ := os.ReadFile(proc("comm")); string(comm) != "usertcp-child\n" {
		t.Errorf("ps calls it %s", comm)
	}
	if os.Geteuid() != 0 {
		t.Skip("its user is the test's: only root runs children as another")
	}
	// What belongs to a process that may not be dumped is root's.
	var files unix.Stat_t
	if err := unix.Stat(proc("fd"), &files); err != nil {
		t.Fatal(err)
	}
	if files.Uid != 0 {
		t.Errorf("its descriptors are user %d's", files.Uid)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Uid:" && f[1] == "0" {
			t.Error("it runs as root")
		}
	}
}
