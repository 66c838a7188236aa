// Package testhost gives tests a ring of their own with connection servers on
// it, whose children are the test binary again. It is for tests only.
package testhost

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"usertcp/internal/child"
	"usertcp/internal/server"
	"usertcp/internal/user"
)

// Main is a TestMain for packages whose tests start children: the test binary is
// one when its first argument says so.
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		os.Exit(child.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

const childArg = "usertcp-test-child"

// Host is a connection server of a test's.
type Host struct {
	Server *server.Server
	Addr   netip.Addr
	Socket string
}

// Ring starts n hosts, 10.1.0.1 and on (and fd00::1 and on), on a ring of their
// own. They end with the test.
func Ring(t testing.TB, n int) []*Host {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "utcp") // t.TempDir's paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var hosts []*Host
	for i := 1; i <= n; i++ {
		h := &Host{
			Addr:   netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}),
			Socket: filepath.Join(dir, strconv.Itoa(i)),
		}
		h.Server, err = server.Start(server.Config{
			Ring: filepath.Join(dir, "ring"), Socket: h.Socket,
			Addrs:        []netip.Addr{h.Addr, netip.MustParseAddr("fd00::" + strconv.Itoa(i))},
			ChildCommand: []string{exe, childArg},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Server.Close() })
		hosts = append(hosts, h)
	}
	return hosts
}

// Attach attaches to the host: as an application of its own, though it lives in
// the test's process.
func (h *Host) Attach(t testing.TB) *user.Stack {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := user.Attach(ctx, h.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
