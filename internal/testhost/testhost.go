// Package testhost gives tests a ring of their own with connection servers on
// it, whose children are the test binary again, and programs that are the test
// binary too. It is for tests only: nothing of it belongs in a program.
package testhost

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"usertcp/internal/child"
	"usertcp/internal/server"
	"usertcp/internal/user"
)

// Main is a TestMain for packages whose tests start children or programs: the
// test binary is one when its first argument says so.
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildArg {
		os.Exit(child.Main(os.Args[2:]))
	}
	if len(os.Args) > 2 && os.Args[1] == programArg {
		os.Exit(runProgram(os.Args[2], os.Args[3:]))
	}
	hurryRaceDetector()
	os.Exit(m.Run())
}

// hurryRaceDetector spares the processes that a test starts, if they have the race
// detector, the second that it sleeps in each of them before it exits: a hundred of them
// are most of a run. What it has found by then it has printed. A GORACE of the user's stays.
func hurryRaceDetector() {
	if _, ok := os.LookupEnv("GORACE"); !ok {
		os.Setenv("GORACE", "atexit_sleep_ms=10")
	}
}

// ChildArg is the argument with which a test binary is a child.
const ChildArg = "usertcp-test-child"

// Host is a connection server of a test's.
type Host struct {
	Server *server.Server // nil if it is a process of its own
	Addr   netip.Addr     // the first of its addresses
	Socket string
}

// Ring starts n hosts, 10.1.0.1 and on (and fd00::1 and on), on a ring of their
// own. They end with the test.
func Ring(t testing.TB, n int) []*Host {
	t.Helper()
	dir := Dir(t)
	var hosts []*Host
	for i := 1; i <= n; i++ {
		hosts = append(hosts, Start(t, dir, Addrs(i)...))
	}
	return hosts
}

// Addrs are the addresses that host i of a ring has unless a test wants others.
func Addrs(i int) []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}),
		netip.MustParseAddr("fd00::" + strconv.FormatInt(int64(i), 16)),
	}
}

// Dir makes a directory for a ring and its sockets. t.TempDir's paths are too
// long for those.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "utcp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Start starts a host on the ring in dir, in this process.
func Start(t testing.TB, dir string, addrs ...netip.Addr) *Host {
	t.Helper()
	return StartWith(t, dir, func(*server.Config) {}, addrs...)
}

// StartWith is Start with a changed configuration.
func StartWith(t testing.TB, dir string, change func(*server.Config), addrs ...netip.Addr) *Host {
	t.Helper()
	h := newHost(dir, addrs)
	cfg, err := config(dir, h.Socket, addrs)
	if err == nil {
		change(&cfg)
		h.Server, err = server.Start(cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Server.Close() })
	return h
}

func newHost(dir string, addrs []netip.Addr) *Host {
	return &Host{Addr: addrs[0], Socket: filepath.Join(dir, addrs[0].String())}
}

func config(dir, socket string, addrs []netip.Addr) (server.Config, error) {
	exe, err := os.Executable()
	return server.Config{
		Ring: filepath.Join(dir, "ring"), Socket: socket, Addrs: addrs,
		ChildCommand: []string{exe, ChildArg},
	}, err
}

// Attach attaches to the host: as an application of its own, though it lives in
// the test's process.
func (h *Host) Attach(t testing.TB) *user.Stack {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s, err := user.Attach(ctx, h.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
