package netns

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	n, err := New()
	if errors.Is(err, unix.EPERM) {
		t.Skip(err)
	}
	check(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func devices(t *testing.T, n *Namespace) (names []string) {
	t.Helper()
	check(t, n.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	}))
	return names
}

func inode(t *testing.T, n *Namespace) uint64 {
	t.Helper()
	i, err := n.Inode()
	check(t, err)
	return i
}

// here returns the inode of the namespace that the goroutine is in.
func here(t *testing.T) uint64 {
	t.Helper()
	f, err := current()
	check(t, err)
	defer f.Close()
	return inode(t, &Namespace{f})
}

var (
	addrA = netip.MustParsePrefix("10.1.0.1/24")
	addrB = netip.MustParsePrefix("10.1.0.2/24")
)

func joined(t *testing.T, mtu int) (a, b *Namespace) {
	t.Helper()
	a, b = newNamespace(t), newNamespace(t)
	check(t, Join(Wire{A: End{a, "v0", []netip.Prefix{addrA}}, B: End{b, "v0", []netip.Prefix{addrB}}, MTU: mtu}))
	return a, b
}

// Sockets made inside talk over the wire; the goroutine comes back, and what it makes
// then is the machine's own again.
func TestKernelsTalkOverTheWire(t *testing.T) {
	before := here(t)
	a, b := joined(t, 1400)
	if inode(t, a) == inode(t, b) || inode(t, a) == before {
		t.Error("two namespaces are one")
	}
	var l net.Listener
	check(t, b.Do(func() (err error) { l, err = net.Listen("tcp", "10.1.0.2:0"); return err }))
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	var c net.Conn
	check(t, a.Do(func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return err }))
	defer c.Close()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if here(t) != before {
		t.Error("the goroutine has stayed in another namespace")
	}
}

// A panic in Do takes the goroutine out of the namespace, too.
func TestDoComesBack(t *testing.T) {
	n := newNamespace(t)
	before := here(t)
	wrong := errors.New("wrong")
	if err := n.Do(func() error { return wrong }); !errors.Is(err, wrong) {
		t.Error(err)
	}
	func() {
		defer func() { recover() }()
		_ = n.Do(func() error { panic("on purpose") })
	}()
	if here(t) != before {
		t.Error("the goroutine has stayed in the namespace")
	}
}

// What can't be done is an error that says what of.
func TestErrors(t *testing.T) {
	a, b := joined(t, 0)
	err := Join(Wire{A: End{a, "v0", nil}, B: End{b, "v1", nil}})
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "veth pair") {
		t.Errorf("a name twice: %v", err)
	}
	err = Join(Wire{A: End{a, "v2", []netip.Prefix{addrA, addrA}}, B: End{b, "v2", nil}})
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "v2: address 10.1.0.1/24") {
		t.Errorf("an address twice: %v", err)
	}
	if err := a.SetOffloads("v9", false); err == nil || !strings.Contains(err.Error(), "features of v9") {
		t.Errorf("a device that is not there: %v", err)
	}
	if err := a.SetOffloads("v0", false, "no-such-feature"); err == nil {
		t.Error("a feature that is not there")
	}
	gone := newNamespace(t)
	check(t, gone.Close())
	if err := gone.Do(func() error { t.Error("it ran"); return nil }); err == nil || !strings.Contains(err.Error(), "entering") {
		t.Errorf("a closed namespace: %v", err)
	}
	if err := (&Namespace{}).Close(); err != nil {
		t.Errorf("one that never was: %v", err)
	}
}

// A wire goes with either of its ends, by itself.
func TestWireGoesWithItsEnd(t *testing.T) {
	a, b := joined(t, 0)
	if got := strings.Join(devices(t, a), " "); got != "lo v0" {
		t.Errorf("devices %s", got)
	}
	check(t, b.Link("v0", netlink.LinkDel))
	if got := strings.Join(devices(t, a), " "); got != "lo" {
		t.Errorf("devices %s after the other end has gone", got)
	}
}

// Offloads are off when they are said to be off: ethtool's ioctls say so, too.
func TestOffloads(t *testing.T) {
	a, _ := joined(t, 0)
	for _, on := range []bool{false, true} {
		check(t, a.SetOffloads("v0", on))
		check(t, a.Do(func() error {
			for name, cmd := range map[string]uint32{"TSO": unix.ETHTOOL_GTSO, "GSO": unix.ETHTOOL_GGSO, "GRO": unix.ETHTOOL_GGRO, "tx checksum": unix.ETHTOOL_GTXCSUM} {
				got, err := offloaded("v0", cmd)
				if err != nil {
					return err
				}
				if got != on {
					t.Errorf("%s is %v, want %v", name, got, on)
				}
			}
			return nil
		}))
	}
}
