package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

func TestAnApplicationGetsAChild(t *testing.T) {
	s := start(t, t.TempDir(), addr1, addr6)
	a := spawn(t, s)
	if a.vci.Ring() != s.RingID() || a.vci.IsWellKnown() {
		t.Errorf("VCI %v", a.vci)
	}
	if want := fmt.Sprintf("a-vci %d -addr 10.1.0.1 -addr fd00::1 -program 7", a.vci); a.args != want {
		t.Errorf("the child's arguments are %q, want %q", a.args, want)
	}
	snap := s.Snapshot()
	if len(snap.Children) != 1 {
		t.Fatalf("%+v", snap)
	}
	info := snap.Children[0]
	if info.VCI != a.vci || info.AppPID != os.Getpid() || info.UID != os.Getuid() {
		t.Errorf("%+v", info)
	}
	sid, err := unix.Getsid(info.PID)
	if err != nil || sid != info.PID {
		t.Errorf("the child's session is %d, %v; want its own, %d", sid, err, info.PID)
	}
	a.close()
	eventually(t, "the child to end", func() bool { return len(s.Snapshot().Children) == 0 })
	if c := s.Snapshot().Counters; c.Spawned != 1 || c.Exited != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestStreamsAreNotUsedAgainAtOnce(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, b := spawn(t, s), spawn(t, s)
	a.kill(s)
	c := spawn(t, s)
	if a.vci.Stream() != 1 || b.vci.Stream() != 2 || c.vci.Stream() != 3 {
		t.Errorf("streams %v, %v, %v, want 1, 2, 3", a.vci, b.vci, c.vci)
	}
	var all streams
	for i := range wire.MaxStream {
		if n, ok := all.take(); !ok || n != i+1 {
			t.Fatalf("stream %d is %d, %v", i+1, n, ok)
		}
	}
	if n, ok := all.take(); ok {
		t.Errorf("stream %d where there is none", n)
	}
	all.give(500)
	if n, ok := all.take(); !ok || n != 500 {
		t.Errorf("stream %d, %v; want 500", n, ok)
	}
}

// request sends one message as an application would, and returns the reply.
func request(t *testing.T, s *Server, m message.Message) (unix.Errno, error) {
	t.Helper()
	ch, err := message.Dial(s.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	c := message.NewCaller(ch, message.User, message.Server, nil)
	defer c.Close()
	r, err := c.Call(t.Context(), &m)
	return unix.Errno(r.Errno), err
}

func TestBadSpawnsAreRefused(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, c := range []struct {
		name string
		m    message.Message
		want unix.Errno
	}{
		{"another version", message.Message{N: message.Version + 1, Files: []int{int(w.Fd())}}, unix.EPROTONOSUPPORT},
		{"no channel", message.Message{N: message.Version}, unix.EINVAL},
		{"a pipe", message.Message{N: message.Version, Files: []int{int(w.Fd())}}, unix.EINVAL},
	} {
		c.m.Type = message.Spawn
		if errno, err := request(t, s, c.m); err != nil || errno != c.want {
			t.Errorf("%s: %v, %v; want %v", c.name, errno, err, c.want)
		}
	}
	if n := len(s.Snapshot().Children); n != 0 {
		t.Errorf("%d children", n)
	}
}

func TestAnApplicationGetsOneChildOnly(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a := spawn(t, s)
	user, end, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	defer end.Close()
	r, err := a.server.Call(t.Context(), &message.Message{Type: message.Spawn, N: message.Version, Files: []int{int(end.Fd())}})
	if err != nil || unix.Errno(r.Errno) != unix.EALREADY {
		t.Errorf("errno %d, %v; want EALREADY", r.Errno, err)
	}
}

func TestAMessageOfAnotherVersionIsAnswered(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	ch, err := message.Dial(s.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	m := message.Message{Type: message.Spawn, ID: 77}
	b := m.Append(nil)
	b[4] = 9
	ch.Send(b)
	var r message.Message
	if err := ch.RecvMessage(&r, message.Server, message.User); err != nil {
		t.Fatal(err)
	}
	if r.ID != 77 || unix.Errno(r.Errno) != unix.EPROTONOSUPPORT || r.N != message.Version {
		t.Errorf("reply %+v", r)
	}
}

func TestGarbageClosesOnlyItsOwnChannel(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a := spawn(t, s)
	before := openFiles(t)
	for _, b := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 100), make([]byte, 200000)} {
		ch, err := message.Dial(s.cfg.Socket)
		if err != nil {
			t.Fatal(err)
		}
		ch.Send(b)
		ch.SetDeadline(time.Now().Add(patience))
		if _, _, err := ch.Recv(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("garbage %.10q: %v, want end of file", b, err)
		}
		ch.Close()
	}
	if a.listen(1, "10.1.0.1:80").Port != 80 {
		t.Error("the other application has noticed")
	}
	eventually(t, "the channels to be closed", func() bool { return openFiles(t) <= before })
	if c := s.Snapshot().Counters; c.BadApplication != 3 {
		t.Errorf("counters %+v", c)
	}
}

func TestGarbageFromAChildEndsThatChild(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, b := spawn(t, s), spawn(t, s)
	a.raw('f', []byte("no frame"))
	a.listen(1, "10.1.0.1:81") // one bad frame is only counted
	a.raw('c', []byte("no message"))
	eventually(t, "the child to be killed", func() bool { return s.child(a.vci) == nil })
	b.listen(1, "10.1.0.1:81")
	if c := s.Snapshot().Counters; c.BadChild != 2 {
		t.Errorf("counters %+v", c)
	}
	<-a.server.Done() // the application learns of it
}

func TestTheDeathOfAChildReleasesAllItHad(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, addr1)
	a, b := spawn(t, s), spawn(t, s)
	a.listen(1, "0.0.0.0:80")
	if _, errno := a.open(2, "10.1.0.1:4000", "10.1.0.1:80"); errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := b.call(message.Message{Type: message.Listen, Op: message.OpBind, Local: ep("10.1.0.1:80")}); errno != unix.EADDRINUSE {
		t.Errorf("%v, want EADDRINUSE", errno)
	}
	if info := s.Snapshot().Children[0]; info.Ports != 1 || info.Flows != 1 {
		t.Errorf("%+v", info)
	}
	a.kill(s)
	b.listen(1, "10.1.0.1:80")
	if _, errno := b.open(2, "10.1.0.1:4000", "10.1.0.1:80"); errno != 0 {
		t.Errorf("the dead child's connection is still there: %v", errno)
	}
}

func TestTheSocketIsTheServersAlone(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, addr1)
	cfg := config(dir, addr2)
	cfg.Socket = s.cfg.Socket
	_, err := Start(cfg)
	want := fmt.Sprintf("socket %s is in use by a live server (pid %d)", cfg.Socket, os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                                  "is not a socket",
		filepath.Join(file, "sock"):           "not a directory",
		"/" + strings.Repeat("x", 107):        "at most 107",
		filepath.Join(dir, "new", "dir", "s"): "",
	} {
		cfg.Socket = path
		s, err := Start(cfg)
		if err == nil {
			s.Close()
		}
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("a file was taken for a stale socket")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	dir := t.TempDir()
	good := config(dir, addr1)
	for want, change := range map[string]func(*Config){
		"neither a ring":    func(c *Config) { c.Ring = "" },
		"no address":        func(c *Config) { c.Addrs = nil },
		"no socket":         func(c *Config) { c.Socket = "" },
		"cannot be the":     func(c *Config) { c.Addrs = []netip.Addr{{}} },
		"not a directory":   func(c *Config) { c.Ring = os.Args[0] },
		"no lock":           func(c *Config) { c.Pools.Lock = "mutex" },
		"PDUs of 100":       func(c *Config) { c.Pools.PDU = 100 },
		"priority 100":      func(c *Config) { c.Pools.Realtime = 100 },
		"no CPU 9999":       func(c *Config) { c.Pools.CPU = 9999 },
		"Edwards' lock":     func(c *Config) { c.Pools.Lock = "edwards" },
		"name is too long:": func(c *Config) { c.Ring = filepath.Join(dir, strings.Repeat("x", 99)) },
	} {
		cfg := good
		change(&cfg)
		if s, err := Start(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
			if err == nil {
				s.Close()
			}
		}
	}
	if _, err := os.Stat(good.Socket); err == nil {
		t.Error("a server that did not start has left its socket")
	}
}

func TestAServerKilledLeavesNothingInTheWay(t *testing.T) {
	dir := t.TempDir()
	cfg := config(dir, addr1)
	cmd := startProcess(t, cfg)
	other := start(t, dir, addr2)
	if _, ok := other.station.Route(addr1); !ok {
		t.Error("no route to the server in another process")
	}
	_, err := Start(config(dir, addr1))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", cmd.Process.Pid)) {
		t.Errorf("%v, want the pid of the live server", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	s := start(t, dir, addr1)
	if s.RingID() != 0 {
		t.Errorf("ring id %d, want the dead one's", s.RingID())
	}
	spawn(t, s)
}

func TestAFullRingAndATakenAddress(t *testing.T) {
	dir := t.TempDir()
	cfg := config(dir, addr1)
	for i := range ring.MaxHosts {
		s, err := ring.Join(cfg.Ring, []netip.Addr{netip.AddrFrom4([4]byte{10, 2, 0, byte(i)})}, func(ring.Frame) {})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			cfg := config(dir, netip.MustParseAddr("10.2.0.0"))
			_, err := Start(cfg)
			if err == nil || !strings.Contains(err.Error(), "address 10.2.0.0 is taken by host 0") {
				t.Errorf("%v", err)
			}
		}
		defer s.Close()
	}
	if _, err := Start(cfg); err == nil || !strings.Contains(err.Error(), "the ring is full (16 hosts)") {
		t.Errorf("%v", err)
	}
}

func TestRunStopsInOrder(t *testing.T) {
	dir := t.TempDir()
	files, routines := openFiles(t), runtime.NumGoroutine() // of earlier tests some may end meanwhile
	cfg := config(dir, addr1)
	var log bytes.Buffer
	var mu sync.Mutex
	cfg.Log = slog.New(slog.NewTextHandler(writer(func(b []byte) { mu.Lock(); log.Write(b); mu.Unlock() }), nil))
	ready := make(chan *Server, 1)
	cfg.Ready = func(s *Server) { ready <- s }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	s := next(t, ready, "the server")
	a, b := spawn(t, s), spawn(t, s)
	a.raw('t', nil) // a child that is deaf to SIGTERM
	if got := a.other(); got != "t" {
		t.Fatalf("the child says %q", got)
	}
	pids := []int{s.child(a.vci).pid(), s.child(b.vci).pid()}
	begin := time.Now()
	cancel()
	if err := next(t, ended, "the server to stop"); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(begin); took < stopTimeout || took > stopTimeout+patience/2 {
		t.Errorf("it took %v with one child that does not end, want about %v", took, stopTimeout)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, 0); err != unix.ESRCH {
			t.Errorf("child %d is still there: %v", pid, err)
		}
	}
	<-a.server.Done()
	a.close()
	b.close()
	left, _ := filepath.Glob(filepath.Join(dir, "*.sock"))
	left2, _ := filepath.Glob(filepath.Join(cfg.Ring, "*.[js]*"))
	if len(left)+len(left2) != 0 {
		t.Errorf("left behind: %v %v", left, left2)
	}
	eventually(t, "the descriptors to be closed", func() bool { return openFiles(t) <= files })
	eventually(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= routines })
	for _, want := range []string{"msg=ready", "child started", "child killed", "msg=stopped"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestManyApplicationsLeakNothing(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	s.Snapshot()                                            // the ring is read, and what it looks at stays open
	files, routines := openFiles(t), runtime.NumGoroutine() // of earlier tests some may end meanwhile
	for range 3 {
		var apps []*app
		for range 5 {
			apps = append(apps, spawn(t, s))
		}
		for i, a := range apps {
			a.listen(1, fmt.Sprintf("10.1.0.1:%d", 100+i))
			switch i % 3 {
			case 0:
				a.close()
			case 1:
				a.raw('x', nil)
			default:
				a.kill(s)
			}
		}
		eventually(t, "the children to end", func() bool { return len(s.Snapshot().Children) == 0 })
		for _, a := range apps {
			a.close()
		}
	}
	eventually(t, "the descriptors to be closed", func() bool { return openFiles(t) <= files })
	eventually(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= routines })
}

func TestAChildThatCannotBeStarted(t *testing.T) {
	cfg := config(t.TempDir(), addr1)
	cfg.ChildCommand = []string{"/nowhere/usertcp", "child"}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := openFiles(t)
	user, end, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	errno, err := request(t, s, message.Message{Type: message.Spawn, N: message.Version, Files: []int{int(end.Fd())}})
	if err != nil || errno != unix.EAGAIN {
		t.Errorf("%v, %v; want EAGAIN", errno, err)
	}
	user.Close()
	end.Close()
	eventually(t, "the descriptors to be closed", func() bool { return openFiles(t) <= before })
	if n := len(s.Snapshot().Children); n != 0 {
		t.Errorf("%d children", n)
	}
}

func TestTooManyChildrenOfOneUser(t *testing.T) {
	s := startWith(t, func(c *Config) { c.MaxChildren = 3 }, t.TempDir(), addr1)
	s.mu.Lock()
	s.perUID[1000] = 3
	s.mu.Unlock()
	if _, errno := s.addChild(application{uid: 1000}); errno != unix.EMFILE {
		t.Errorf("%v, want EMFILE", errno)
	}
	for i := range maxChildren {
		if _, errno := s.addChild(application{ch: new(message.Channel), uid: 0}); errno != 0 {
			t.Fatalf("child %d: %v", i, errno)
		}
	}
	if _, errno := s.addChild(application{ch: new(message.Channel), uid: 0}); errno != unix.ENFILE {
		t.Errorf("%v, want ENFILE", errno)
	}
	s.mu.Lock()
	clear(s.children) // they were none
	s.mu.Unlock()
}

func TestTheTerminalDoesNotReachTheChild(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, addr1)
	a := spawn(t, s)
	pgid, err := unix.Getpgid(s.child(a.vci).pid())
	if err != nil || pgid == unix.Getpgrp() {
		t.Errorf("the child is in process group %d, %v, as the server", pgid, err)
	}
}

func TestSpawnCanBeReplaced(t *testing.T) {
	cfg := config(t.TempDir(), addr1)
	args := make(chan SpawnArgs, 1)
	cfg.Spawn = func(a SpawnArgs) (*exec.Cmd, error) {
		args <- a
		cmd := exec.Command(os.Args[0], append([]string{"child"}, a.Args()...)...)
		cmd.ExtraFiles = a.Files[:]
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd, cmd.Start()
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := spawn(t, s)
	if got := <-args; got.VCI != a.vci || got.Stderr != os.Stderr {
		t.Errorf("%+v", got)
	}
}
