// Package testnet gives tests network namespaces of their own, joined by veth
// pairs: hosts, routers and wires, without touching the machine's own network.
// It is for tests only: nothing of it belongs in a program.
package testnet

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"usertcp/internal/netns"
)

// Namespace is a host with a network of its own: lo is up, and nothing else
// there. It ends with its test, or with the last process in it.
type Namespace struct {
	t  testing.TB
	in *netns.Namespace
}

// New makes a namespace. Without the privileges that it takes the test is skipped.
func New(t testing.TB) *Namespace {
	t.Helper()
	in, err := netns.New()
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return &Namespace{t, in}
}

// Do runs f in the namespace, on the calling goroutine: sockets, devices and
// processes that f makes belong to the namespace, and stay there. Goroutines that
// f starts run elsewhere.
func (n *Namespace) Do(f func()) {
	n.t.Helper()
	if err := n.in.Do(func() error { f(); return nil }); err != nil {
		n.t.Fatal(err)
	}
}

// Start starts cmd in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	var err error
	n.Do(func() { err = cmd.Start() })
	return err
}

// Listen listens with the kernel's TCP until the test ends.
func (n *Namespace) Listen(network, address string) net.Listener {
	n.t.Helper()
	var l net.Listener
	var err error
	n.Do(func() { l, err = net.Listen(network, address) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	return l
}

// Dial connects by the kernel's TCP; address has no names.
func (n *Namespace) Dial(d *net.Dialer, network, address string) (net.Conn, error) {
	var c net.Conn
	var err error
	n.Do(func() { c, err = d.Dial(network, address) })
	return c, err
}

// Sysctl writes a setting of the namespace ("ipv4/ip_forward").
func (n *Namespace) Sysctl(name, value string) {
	n.t.Helper()
	n.Do(func() { write(n.t, name, value) })
}

// ReadSysctl reads one.
func (n *Namespace) ReadSysctl(name string) string {
	n.t.Helper()
	var b []byte
	var err error
	n.Do(func() { b, err = os.ReadFile(filepath.Join("/proc/sys/net", name)) })
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}
