package nic

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// The test binary is a server that can be killed, when its first argument says so.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == victimArg {
		os.Exit(victim(os.Args[2], strings.Split(os.Args[3], ",")))
	}
	os.Exit(m.Run())
}

const victimArg = "usertcp-nic-victim"

// victimLease is the first of two blocks that a victim has leased, victimPorts its ports
// of that block.
const (
	victimLease = 40064
	victimPorts = AllPorts &^ 3
)

// victim serves, makes a pool with a listener, a flow and leases, and a joiner, sends its descriptor
// over descriptor 3, and waits to be killed.
func victim(pins string, devices []string) int {
	m, err := Open(Config{Devices: devices, Pins: pins})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	p, err := m.NewPool(7)
	if err == nil {
		err = errors.Join(m.place.do(m.join), p.Listen(endpoint("10.9.0.1:80")), p.ListenShard(endpoint("10.9.0.1:81"), 0, 2), p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")), p.Lease(victimLease, victimPorts), p.Lease(victimLease+LeasePorts, AllPorts))
	}
	if err == nil {
		var rc interface{ Control(func(uintptr)) error }
		if rc, err = p.File().SyscallConn(); err == nil {
			rc.Control(func(fd uintptr) {
				err = unix.Sendmsg(3, []byte{1}, unix.UnixRights(int(fd)), nil, 0)
			})
		}
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	time.Sleep(time.Minute)
	return 0
}

// afterKill makes two namespaces joined by a veth pair, runs a victim in the first, and
// kills it. It returns its pins and its TAP's descriptor, too.
func afterKill(t *testing.T, devices string) (a, b *testnet.Namespace, pins string, tap *os.File) {
	t.Helper()
	a, b = testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	pins = filepath.Join(t.TempDir(), "bpf")
	return a, b, pins, killedAs(t, a, os.Args[0], nil, pins, devices)
}

// killedAs does so with the program and the rights that are given.
func killedAs(t *testing.T, in *testnet.Namespace, program string, rights *syscall.SysProcAttr, pins string, devices string) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "")
	cmd := exec.Command(program, victimArg, pins, devices)
	cmd.SysProcAttr = rights
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, t.Output()
	must(t, in.Start(cmd))
	theirs.Close()
	buf, oob := make([]byte, 1), make([]byte, 64)
	n, oobn, _, _, err := unix.Recvmsg(pair[0], buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		cmd.Wait()
		t.Fatalf("the server has died by itself: %v", err)
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	must(t, err)
	fds, err := unix.ParseUnixRights(&messages[0])
	must(t, err)
	must(t, unix.SetNonblock(fds[0], true))
	f := os.NewFile(uintptr(fds[0]), "tap")
	t.Cleanup(func() { f.Close() })
	return f
}

// A server is killed. Its pools go on, the next server has them, and what dies later is
// cleaned away.
func TestTheNextServerTakesOver(t *testing.T) {
	t.Parallel()
	a, b, pins, tap := afterKill(t, "va,lo")
	works := func(when string) {
		p := &Pool{file: tap}
		done := make(chan error, 1)
		go func() { done <- dialed(b, "10.9.0.1:80") }()
		answer(t, p, want(t, p, "SYN "+when, syn))
		if err := <-done; err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	works("without a server")
	m := open(t, a, Config{Devices: []string{"va"}, Pins: pins})
	all := m.Pools()
	if len(all) != 1 || all[0].VCI() != 7 || all[0].File() != nil {
		t.Fatalf("the next server has pools %v", all)
	}
	works("with the next")
	p := newPool(t, m, 8)
	if err := p.Listen(endpoint("10.9.0.1:80")); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("its listener is not known: %v", err)
	}
	if err := p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("its flow is not known: %v", err)
	}
	// What its processes still have can be confirmed, and all can be taken back.
	must(t, all[0].Listen(endpoint("10.9.0.1:80")))
	if err := all[0].Listen(endpoint("10.9.0.1:80")); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a listener is confirmed twice: %v", err)
	}
	must(t, all[0].Disconnect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
	if err := all[0].Disconnect(flow("10.9.0.1:1000", "10.9.0.2:2000")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a flow is taken back twice: %v", err)
	}
	works("confirmed")
	if !soon(func() bool { return slices.Equal(programs(t, a, "lo"), []string{"hear_errors"}) }) { // the kernel detaches the other when it comes to it
		t.Errorf("at lo, which the next server was not asked for, there are %v", programs(t, a, "lo"))
	}
	tap.Close()
	if !soon(func() bool { return len(m.Pools()) == 1 }) {
		t.Fatal("the pool outlives its processes")
	}
	must(t, p.Listen(endpoint("10.9.0.1:80")))
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
}

// Server and pool die together: the kernel has its ports back at once, and the next
// server finds nothing to take over.
func TestWhatIsDeadIsCleaned(t *testing.T) {
	t.Parallel()
	a, b, pins, tap := afterKill(t, "va")
	tap.Close()
	if err := dialed(b, "10.9.0.1:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("port of a dead pool: %v, want the kernel's refusal", err)
	}
	if len(ours(a)) != 2 {
		t.Errorf("the devices that joined its segments are %v", ours(a))
	}
	m := open(t, a, Config{Devices: []string{"va"}, Pins: pins})
	if all := m.Pools(); len(all) != 0 {
		t.Errorf("the next server has %v", all)
	}
	if len(ours(a)) != 0 {
		t.Errorf("the next server leaves %v", ours(a))
	}
	p := newPool(t, m, 7)
	must(t, p.Listen(endpoint("10.9.0.1:80")))
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
}

// A program may ask its TAP to stay when it has gone: it goes with its descriptors
// nevertheless.
func TestAPoolCannotOutstay(t *testing.T) {
	t.Parallel()
	a, _, pins, tap := afterKill(t, "va")
	persist := func(f *os.File) {
		rc, err := f.SyscallConn()
		must(t, err)
		must(t, rc.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 1) }))
		must(t, err)
	}
	persist(tap)
	m := open(t, a, Config{Devices: []string{"va"}, Pins: pins})
	tap.Close()
	if !soon(func() bool { return len(m.Pools()) == 0 && len(a.Devices()) == 2 }) {
		t.Errorf("pools %v, devices %v", m.Pools(), a.Devices())
	}
	p := newPool(t, m, 1)
	persist(p.File())
	must(t, p.Close())
	if len(a.Devices()) != 2 {
		t.Errorf("devices %v after Close", a.Devices())
	}
}

// The capabilities that Check asks for are enough: root is not needed.
func TestCapabilitiesAreEnough(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	dir, err := os.MkdirTemp("/tmp", "usertcp-nic")
	must(t, err)
	t.Cleanup(func() {
		unix.Unmount(filepath.Join(dir, "bpf"), 0)
		os.RemoveAll(dir)
	})
	const nobody = 65534
	must(t, os.Chown(dir, nobody, nobody))
	program := filepath.Join(dir, "server")
	text, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(program, text, 0o755))
	var caps []uintptr
	for _, c := range needed {
		caps = append(caps, uintptr(c.bit))
	}
	if tun, err := os.Stat("/dev/net/tun"); err != nil || tun.Mode().Perm()&6 != 6 {
		t.Log("/dev/net/tun is not everybody's: with CAP_DAC_OVERRIDE")
		caps = append(caps, unix.CAP_DAC_OVERRIDE)
	}
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: caps}
	killedAs(t, a, program, attr, filepath.Join(dir, "bpf"), "va,lo").Close()
	must(t, unix.Unmount(filepath.Join(dir, "bpf"), 0))
	if !soon(func() bool { return len(programs(t, a, "va")) == 0 }) {
		t.Error("programs outlive their pins")
	}
}

// programs returns the numbers of the programs at a device's ingress.
func programs(t *testing.T, in *testnet.Namespace, device string) (names []string) {
	t.Helper()
	in.Do(func() {
		found, err := link.QueryPrograms(link.QueryOptions{Target: in.Index(device), Attach: ebpf.AttachTCXIngress})
		must(t, err)
		for _, p := range found.Programs {
			if program, err := ebpf.NewProgramFromID(p.ID); err == nil { // else it has gone meanwhile
				info, err := program.Info()
				must(t, err)
				names = append(names, info.Name)
				program.Close()
			}
		}
	})
	return names
}

// A server to which lo belongs leaves nothing of one to which it did not.
func TestTheNextServerServesLo(t *testing.T) {
	t.Parallel()
	a, _, pins, tap := afterKill(t, "va")
	defer tap.Close()
	if got := programs(t, a, "lo"); !slices.Equal(got, []string{"hear_errors"}) {
		t.Errorf("at lo there are %v", got)
	}
	open(t, a, Config{Devices: []string{"va", "lo"}, Pins: pins})
	if !soon(func() bool { return slices.Equal(programs(t, a, "lo"), []string{programPrefix + "demux"}) }) {
		t.Errorf("at lo, which is served now, there are %v", programs(t, a, "lo"))
	}
}

func TestTwoServersOnOneDevice(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	pins := filepath.Join(t.TempDir(), "bpf")
	open(t, a, Config{Devices: []string{"va"}, Pins: pins})
	own := "process " + strconv.Itoa(os.Getpid())
	for name, c := range map[string]Config{
		"the same pins": {Devices: []string{"va"}, Pins: pins},
		"other pins":    {Devices: []string{"va"}},
	} {
		m, err := tryOpen(t, a, c)
		if err == nil {
			m.Close()
		}
		if !errors.Is(err, ErrServed) || !strings.Contains(err.Error(), own+" (") {
			t.Errorf("%s: %v, want %v and %q", name, err, ErrServed, own)
		}
	}
	open(t, a, Config{Devices: []string{"lo"}})
	if n := len(programs(t, a, "va")); n != 1 {
		t.Errorf("%d programs at va", n)
	}
}

// state describes what a namespace has: devices with their settings, addresses, routes,
// rules, neighbours, programs, filters.
func state(t *testing.T, in *testnet.Namespace) string {
	t.Helper()
	var all strings.Builder
	in.Do(func() {
		for _, args := range [][]string{
			{"ip", "-d", "link"}, {"ip", "-d", "addr"}, {"ip", "-4", "route", "show", "table", "all"},
			{"ip", "-6", "route", "show", "table", "all"}, {"ip", "rule"}, {"ip", "-6", "rule"}, {"ip", "neigh"}, {"tc", "qdisc"},
			{"tc", "filter", "show", "dev", "va", "ingress"}, {"nft", "list", "ruleset"},
			{"sh", "-c", "cd /proc/sys/net && grep -r . ipv4/conf ipv6/conf ipv4/ip_forward core/bpf_jit_enable | sort"},
		} {
			cmd := exec.Command(args[0], args[1:]...)
			out, err := cmd.Output()
			if errors.Is(err, exec.ErrNotFound) {
				continue
			}
			all.WriteString(strings.Join(args, " ") + "\n" + string(out))
		}
	})
	return aging.ReplaceAllString(all.String()+filters(t, in), "")
}

// aging is what neighbours do by themselves.
var aging = regexp.MustCompile(` (REACHABLE|STALE|DELAY|PROBE)\b`)

// mounts returns the file systems of ours; other tests of the machine have theirs.
func mounts(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	all := strings.Split(string(b), "\n")
	return strings.Join(slices.DeleteFunc(all, func(l string) bool { return !strings.Contains(l, t.Name()) }), "\n")
}

// After Close the host is as it was, and what others have changed stays.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	must(t, dialed(b, net.JoinHostPort("10.9.0.1", strconv.Itoa(a.Listen("tcp", "10.9.0.1:0").Addr().(*net.TCPAddr).Port))))
	pins := filepath.Join(t.TempDir(), "made", "bpf")
	if filters(t, a) == "" { // the host has some, if it can
		t.Run("a table", func(t *testing.T) { addTable(t, a, "theirs") })
	}
	before, mounted := state(t, a), mounts(t)
	m := open(t, a, Config{Devices: []string{"va", "lo"}, Pins: pins})
	during := state(t, a)
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("[::]:80")))
	newPool(t, m, 2)
	if during != before {
		t.Errorf("Open has changed the configuration:\n%s", diff(before, during))
	}
	must(t, m.Close())
	must(t, m.Close())
	if after := state(t, a); after != before {
		t.Errorf("Close has left something:\n%s", diff(before, after))
	}
	if now := mounts(t); now != mounted {
		t.Errorf("mounts:\n%s", diff(mounted, now))
	}
	if _, err := os.Stat(filepath.Dir(pins)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pins' directory: %v", err)
	}
	if n := len(programs(t, a, "va")) + len(programs(t, a, "lo")); n != 0 {
		t.Errorf("%d programs left", n)
	}
	if _, err := m.NewPool(3); !errors.Is(err, os.ErrClosed) {
		t.Errorf("NewPool after Close: %v", err)
	}
}

// diff returns the lines that only one of two texts has; times and counts that pass by
// themselves are left out.
func diff(a, b string) string {
	was, is := strings.Split(a, "\n"), strings.Split(b, "\n")
	var out []string
	for _, l := range was {
		if !slices.Contains(is, l) {
			out = append(out, "-"+l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			out = append(out, "+"+l)
		}
	}
	return strings.Join(out, "\n")
}

// A failed start leaves nothing, either.
func TestFailedOpenLeavesNothing(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	before, mounted := state(t, a), mounts(t)
	for name, c := range map[string]Config{
		"a device that is not there": {Devices: []string{"va", "vx"}},
		"no device":                  {},
		"a bad rule":                 {Devices: []string{"va"}, Deny: []Rule{{}}},
	} {
		if m, err := tryOpen(t, a, c); err == nil {
			m.Close()
			t.Errorf("%s: no error", name)
		}
	}
	if after := state(t, a); after != before || mounts(t) != mounted || len(programs(t, a, "va")) != 0 {
		t.Errorf("left:\n%s%s", diff(before, after), diff(mounted, mounts(t)))
	}
}
