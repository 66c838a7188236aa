package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
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

// The test's own program, started again, is the children and some of the servers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "child":
			bridge()
		case "server":
			runServer(os.Args[2:])
		}
	}
	os.Exit(m.Run())
}

// bridge is a child that knows nothing: what the test sends over the user
// channel it passes on to the server, and back, so that the test speaks for it.
// The first octet says over which channel: c for control, f for frames. Others
// are for the child itself: x ends it, k closes its control channel, t makes it
// ignore SIGTERM.
func bridge() {
	control, err1 := message.FileChannel(3)
	frames, err2 := message.FileChannel(4)
	user, err3 := message.FileChannel(5)
	if err := errors.Join(err1, err2, err3); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	user.Send([]byte("a" + strings.Join(os.Args[2:], " ")))
	pump := func(from *message.Channel, tag byte) {
		buf := make([]byte, ring.MaxFrame+1)
		buf[0] = tag
		for {
			n, files, err := from.Recv(buf[1:])
			if err != nil {
				user.Send([]byte{'e', tag})
				return
			}
			user.Send(buf[:n+1], files...)
			message.CloseFiles(files)
		}
	}
	go pump(control, 'c')
	go pump(frames, 'f')
	buf := make([]byte, ring.MaxFrame+1)
	for {
		n, files, err := user.Recv(buf)
		if err != nil {
			os.Exit(0)
		}
		switch buf[0] {
		case 'c':
			control.Send(buf[1:n], files...)
			message.CloseFiles(files)
		case 'f':
			frames.Send(buf[1:n], files...)
			message.CloseFiles(files)
		case 'x':
			os.Exit(0)
		case 'k':
			control.Close()
		case 't':
			signal.Ignore(syscall.SIGTERM)
			user.Send([]byte("t"))
		}
	}
}

// runServer runs a server until it is killed: RING SOCKET ADDR.
func runServer(args []string) {
	err := Run(context.Background(), Config{
		Ring: args[0], Socket: args[1], Addrs: []netip.Addr{netip.MustParseAddr(args[2])},
		Ready: func(*Server) { fmt.Println("ready") },
	})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

var (
	addr1 = netip.MustParseAddr("10.1.0.1")
	addr2 = netip.MustParseAddr("10.1.0.2")
	addr6 = netip.MustParseAddr("fd00::1")
)

func ep(s string) wire.Endpoint { return wire.EndpointFrom(netip.MustParseAddrPort(s)) }

// start starts a server on the ring in dir.
func start(t *testing.T, dir string, addrs ...netip.Addr) *Server {
	t.Helper()
	return startWith(t, func(*Config) {}, dir, addrs...)
}

// startWith is start with a changed configuration.
func startWith(t *testing.T, change func(*Config), dir string, addrs ...netip.Addr) *Server {
	t.Helper()
	cfg := config(dir, addrs...)
	change(&cfg)
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func config(dir string, addrs ...netip.Addr) Config {
	return Config{
		Ring: filepath.Join(dir, "ring"), Addrs: addrs,
		Socket: filepath.Join(dir, addrs[0].String()+".sock"),
	}
}

// app is an application of the test, which speaks for its child too.
type app struct {
	t      *testing.T
	server *message.Caller
	user   *message.Channel
	vci    wire.VCI
	args   string // of the child
	lastID uint32

	replies chan message.Message // General_Reply
	syns    chan message.Message
	keeps   chan message.Message // Keep
	limits  chan message.Message // Limits
	frames  chan ring.Frame
	others  chan string
	done    chan bool
	once    sync.Once
}

// spawn makes an application with a child.
func spawn(t *testing.T, s *Server) *app {
	t.Helper()
	a := &app{
		t: t, replies: make(chan message.Message, 300), syns: make(chan message.Message, 300), keeps: make(chan message.Message, 300),
		limits: make(chan message.Message, 300),
		frames: make(chan ring.Frame, 300), others: make(chan string, 10), done: make(chan bool),
	}
	ch, err := message.Dial(s.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	a.server = message.NewCaller(ch, message.User, message.Server, nil)
	user, end, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	a.user = user
	t.Cleanup(a.close)
	defer a.dropKeep() // the lock on the ring id
	go a.receive()
	r, err := a.server.Call(t.Context(), &message.Message{
		Type: message.Spawn, N: message.Version, Files: []int{int(end.Fd())},
	})
	if err != nil || r.Errno != 0 {
		t.Fatalf("Spawn: errno %d, %v", r.Errno, err)
	}
	a.vci = r.VCI
	a.args = a.other()
	return a
}

// dropKeep closes what the server has given the child at its start.
func (a *app) dropKeep() { message.CloseFiles(next(a.t, a.keeps, "a Keep").Files) }

// close ends the application.
func (a *app) close() {
	a.once.Do(func() {
		a.server.Close()
		a.user.Close()
		<-a.done
	})
}

func (a *app) receive() {
	defer close(a.done)
	buf := make([]byte, ring.MaxFrame+1)
	for {
		n, files, err := a.user.Recv(buf)
		if err != nil {
			close(a.others)
			return
		}
		b := slices.Clone(buf[1:n])
		switch buf[0] {
		case 'c':
			var m message.Message
			if err := message.Decode(b, files, message.Server, message.Child, &m); err != nil {
				a.t.Errorf("message to the child: %v", err)
			}
			switch m.Type {
			case message.Syn:
				a.syns <- m
			case message.Sockets: // it has nothing to say
				message.CloseFiles(m.Files)
			case message.Keep:
				a.keeps <- m
			case message.Limits:
				select {
				case a.limits <- m:
				default: // nobody looks
				}
			default:
				a.replies <- m
			}
		case 'f':
			var f ring.Frame
			if err := ring.DecodeFrame(b, files, &f); err != nil {
				a.t.Errorf("frame to the child: %v", err)
			}
			a.frames <- f
		default:
			a.others <- string(buf[:n])
		}
	}
}

// patience is how long the tests wait for what must come.
const patience = time.Minute

func next[T any](t *testing.T, ch chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
		panic("not reached")
	}
}

func (a *app) other() string { return next(a.t, a.others, "the child") }

// nothing checks that nothing has come for the child, once all that was sent has.
func (a *app) nothing() {
	a.t.Helper()
	time.Sleep(20 * time.Millisecond)
	select {
	case f := <-a.frames:
		a.t.Errorf("unexpected frame %v from %v", f.Type, f.Src)
	case m := <-a.syns:
		a.t.Errorf("unexpected %v from %v", m.Type, m.VCI)
	default:
	}
}

func (a *app) wantFrame(typ ring.FrameType, src wire.VCI) ring.Frame {
	a.t.Helper()
	f := next(a.t, a.frames, fmt.Sprintf("a frame %v from %v", typ, src))
	if f.Type != typ || f.Src != src || f.Dst != a.vci {
		a.t.Fatalf("frame %v %v->%v, want %v %v->%v", f.Type, f.Src, f.Dst, typ, src, a.vci)
	}
	return f
}

// raw sends the server octets over the child's channel tag.
func (a *app) raw(tag byte, b []byte, files ...int) {
	a.t.Helper()
	if err := a.user.Send(append([]byte{tag}, b...), files...); err != nil {
		a.t.Fatal(err)
	}
}

// send sends the server a message of the child's.
func (a *app) send(m message.Message) { a.t.Helper(); a.raw('c', m.Append(nil), m.Files...) }

// frame sends the server a frame of the child's.
func (a *app) frame(f ring.Frame) { a.t.Helper(); a.raw('f', f.Append(nil), f.Files...) }

// call makes a request of the child's.
func (a *app) call(m message.Message) (wire.Endpoint, unix.Errno) {
	a.t.Helper()
	a.lastID++
	m.ID = a.lastID
	a.send(m)
	r := next(a.t, a.replies, "the reply to "+m.Type.String())
	if r.ID != m.ID || r.Type != message.GeneralReply {
		a.t.Fatalf("reply %+v to %+v", r, m)
	}
	return r.Local, unix.Errno(r.Errno)
}

// listen binds and listens.
func (a *app) listen(socket uint32, local string) wire.Endpoint {
	a.t.Helper()
	e, errno := a.call(message.Message{Type: message.Listen, Op: message.OpBind, Socket: socket, Local: ep(local)})
	if errno != 0 {
		a.t.Fatalf("bind %s: %v", local, errno)
	}
	if _, errno := a.call(message.Message{Type: message.Listen, Op: message.OpListen, Socket: socket, Local: e}); errno != 0 {
		a.t.Fatalf("listen %s: %v", local, errno)
	}
	return e
}

// open forwards a connection.
func (a *app) open(socket uint32, local, remote string) (wire.Endpoint, unix.Errno) {
	a.t.Helper()
	return a.call(message.Message{
		Type: message.Forward, Op: message.OpOpen, Socket: socket, Local: ep(local), Remote: ep(remote),
	})
}

// kill kills the child.
func (a *app) kill(s *Server) {
	a.t.Helper()
	c := s.child(a.vci)
	if c == nil {
		a.t.Fatal("the child is not there")
	}
	c.kill()
	next(a.t, c.gone, "the child's end")
}

// segmentTo returns a packet with a TCP segment.
func packet(src, dst wire.Endpoint, flags wire.Flags, payload string) []byte {
	h := wire.TCP{SrcPort: src.Port, DstPort: dst.Port, Seq: 1000, Flags: flags, Window: 100}
	ip := wire.IP{Src: src.Addr, Dst: dst.Addr, Proto: wire.ProtoTCP, TTL: 64}
	b := make([]byte, 100)
	n := ip.Emit(b, h.Len()+len(payload))
	n += h.Emit(b[n:])
	return append(b[:n], payload...)
}

// sendSegment sends a segment from the child to whichever host has its destination.
func (a *app) sendSegment(src, dst wire.Endpoint, flags wire.Flags) {
	a.t.Helper()
	a.frame(ring.NewPDU(a.vci, 0, packet(src, dst, flags, "")))
}

// wantReset wants the RST that a host sends for its well-known VCI.
func (a *app) wantReset(from wire.VCI, src, dst wire.Endpoint) wire.TCP {
	a.t.Helper()
	f := a.wantFrame(ring.FramePDU, from)
	var s segment
	if !s.parse(&f) || !s.tcp.Flags.Has(wire.RST) {
		a.t.Fatalf("not a RST: %v", wire.SegmentString(&s.ip, &s.tcp, s.len))
	}
	if flow := s.flow(); flow.Remote != src || flow.Local != dst {
		a.t.Errorf("RST %v->%v, want %v->%v", flow.Remote, flow.Local, src, dst)
	}
	if !wire.TCPChecksumOK(&s.ip.Src, &s.ip.Dst, f.Packet()[s.ip.HeaderLen:], nil) {
		a.t.Error("the RST's checksum is wrong")
	}
	return s.tcp
}

func (a *app) wantSyn(socket uint32, from wire.VCI) message.Message {
	a.t.Helper()
	m := next(a.t, a.syns, "a Syn")
	if m.VCI != from || m.Socket != socket {
		a.t.Fatalf("Syn from %v for socket %d, want %v, %d", m.VCI, m.Socket, from, socket)
	}
	return m
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// startProcess starts a server in a process of its own.
func startProcess(t *testing.T, cfg Config) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "server", cfg.Ring, cfg.Socket, cfg.Addrs[0].String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	buf := make([]byte, 10)
	if n, err := out.Read(buf); string(buf[:n]) != "ready\n" {
		t.Fatalf("the server says %q, %v", buf[:n], err)
	}
	return cmd
}
