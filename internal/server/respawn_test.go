package server

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
)

// memfds returns n memfds, and the numbers by which their copies are known again.
func memfds(t *testing.T, n int) (files []int, inodes []uint64) {
	t.Helper()
	for range n {
		fd, err := unix.MemfdCreate("kept", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		files = append(files, fd)
	}
	return files, inodesOf(t, files)
}

func inodesOf(t *testing.T, files []int) (inodes []uint64) {
	t.Helper()
	for _, fd := range files {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		inodes = append(inodes, st.Ino)
	}
	return inodes
}

// keeper is a child that has left with the server what a successor needs.
func keeper(t *testing.T, s *Server) (a *app, inodes []uint64) {
	t.Helper()
	a = spawn(t, s)
	files, inodes := memfds(t, 4)
	a.send(message.Message{Type: message.Keep, N: message.KeepMemory, Files: files})
	c := s.child(a.vci)
	eventually(t, "the server to keep it", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.kept.memory) == 4
	})
	return a, inodes
}

// legacy returns what the successor gets, in the order of what it is.
func (a *app) legacy() (list []message.Message) {
	a.t.Helper()
	for {
		m := next(a.t, a.keeps, "a Keep")
		if m.N == message.KeepEnd {
			slices.SortStableFunc(list, func(x, y message.Message) int { return cmp.Compare(x.N, y.N) })
			return list
		}
		a.t.Cleanup(func() { message.CloseFiles(m.Files) })
		list = append(list, m)
	}
}

func TestAChildThatIsKilledIsReplaced(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, memory := keeper(t, s)
	circuit, circuitInodes := memfds(t, 5)
	peer := spawn(t, s)
	a.send(message.Message{Type: message.Keep, N: message.KeepCircuit, Socket: 3, VCI: peer.vci, Files: circuit})
	a.send(message.Message{Type: message.Keep, N: message.KeepCircuit, Socket: 4, VCI: peer.vci, Files: circuit})
	a.send(message.Message{Type: message.Keep, N: message.KeepCircuit, Socket: 4})
	a.listen(7, "10.1.0.1:80")
	if _, errno := a.open(8, "[::]:0", "10.1.0.1:81"); errno != 0 {
		t.Fatal(errno)
	}
	first := s.child(a.vci).pid()
	s.child(a.vci).signal(os.Kill)
	for a.args = a.other(); !strings.HasPrefix(a.args, "a"); a.args = a.other() {
	}
	if !strings.HasSuffix(a.args, " -successor -program 7") {
		t.Errorf("the next child's arguments: %s", a.args)
	}
	eventually(t, "the next child", func() bool { return s.child(a.vci).pid() != first })
	list := a.legacy()
	if len(list) != 5 {
		t.Fatalf("the successor gets %+v", list)
	}
	ring, mem, circ, bind, flow := list[0], list[1], list[2], list[3], list[4]
	if ring.N != message.KeepRing || len(ring.Files) != 1 {
		t.Errorf("the lock on the ring id: %+v", ring)
	}
	if mem.N != message.KeepMemory || !slices.Equal(inodesOf(t, mem.Files), memory) {
		t.Errorf("the memory: %+v", mem)
	}
	if circ.Socket != 3 || circ.VCI != peer.vci || !slices.Equal(inodesOf(t, circ.Files), circuitInodes) {
		t.Errorf("the circuit: %+v", circ)
	}
	if bind.N != message.KeepBind || bind.Socket != 7 || bind.Op != message.OpListen || bind.Local != ep("10.1.0.1:80") {
		t.Errorf("the listener: %+v", bind)
	}
	if flow.N != message.KeepFlow || flow.Socket != 8 || flow.Remote != ep("10.1.0.1:81") {
		t.Errorf("the connection: %+v", flow)
	}
	// It is served as its predecessor was.
	if _, errno := a.call(message.Message{Type: message.Listen, Op: message.OpClose, Socket: 7}); errno != 0 {
		t.Errorf("giving the port back: %v", errno)
	}
	if n := s.Snapshot().Counters.Restarted; n != 1 {
		t.Errorf("%d children were replaced", n)
	}
}

// stop stops process pid. A thread on another CPU runs on for a moment, and may read
// what must not be read: so all are waited for.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process to be stopped", func() bool {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return !slices.ContainsFunc(stats, func(f string) bool {
			b, err := os.ReadFile(f)
			_, state, ok := strings.Cut(string(b), ") ")
			return err == nil && ok && state[0] != 'T'
		})
	})
}

// What was sent to the dead child and not read is read by the next.
func TestFramesForAKilledChildReachTheNext(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, _ := keeper(t, s)
	b := spawn(t, s)
	c := s.child(a.vci)
	stop(t, c.pid())
	b.frame(ring.Frame{Type: ring.FrameDetach, Src: b.vci, Dst: a.vci})
	eventually(t, "the frame to be on its way", func() bool { return s.Snapshot().Counters.ToChild == 1 })
	c.signal(os.Kill)
	a.wantFrame(ring.FrameDetach, b.vci)
	for range a.legacy() {
	}
}

func TestAChildThatDiesAgainAndAgainIsGivenUp(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, _ := keeper(t, s)
	c := s.child(a.vci)
	go func() { // on a slow machine each of them lives long enough to say who it is
		for range a.others {
		}
	}()
	died := 0
	for ; ; died++ {
		pid := c.pid() // before it may be the next one's
		c.signal(os.Kill)
		ended := false
		eventually(t, "the next child, or the end", func() bool {
			select {
			case <-c.gone:
				ended = true
			default:
			}
			return ended || c.pid() != pid
		})
		if ended {
			break
		}
	}
	if died < maxRestarts/2 || died > maxRestarts {
		t.Errorf("given up after %d deaths, want up to %d", died, maxRestarts)
	}
	<-a.done // the application learns of it
	if n := len(s.Snapshot().Children); n != 0 {
		t.Errorf("%d children are left", n)
	}
}

func TestWhichEndsOfAChildAreFinal(t *testing.T) {
	for name, end := range map[string]func(s *Server, a *app){
		"it exits": func(_ *Server, a *app) { a.raw('x', nil) },
		"it has told that": func(s *Server, a *app) {
			a.send(message.Message{Type: message.Keep, N: message.KeepEnd})
			settle(a)
			s.child(a.vci).signal(os.Kill)
		},
		"it sends garbage": func(_ *Server, a *app) { a.raw('c', []byte("garbage")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, t.TempDir(), addr1)
			a, _ := keeper(t, s)
			c := s.child(a.vci)
			end(s, a)
			next(t, c.gone, "the child's end")
			<-a.done
			if n := s.Snapshot().Counters.Restarted; n != 0 {
				t.Errorf("%d children were replaced", n)
			}
		})
	}
	// And one that has left nothing has nothing to be taken over.
	s := start(t, t.TempDir(), addr1)
	a := spawn(t, s)
	c := s.child(a.vci)
	c.signal(os.Kill)
	next(t, c.gone, "the child's end")
}

// A child whose channel has ended and that takes longer to end itself than is usual may
// have been killed where nobody gets the CPU: it has a successor like others.
func TestAChildThatEndsSlowlyIsReplaced(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, _ := keeper(t, s)
	c := s.child(a.vci)
	first := c.pid()
	a.raw('k', nil)
	eventually(t, "the next child", func() bool { return c.pid() != first })
	for range a.legacy() {
	}
	if n := s.Snapshot().Counters.Restarted; n != 1 {
		t.Errorf("%d children were replaced", n)
	}
}

// settle waits until all that the child has sent has been read.
func settle(a *app) {
	a.call(message.Message{Type: message.Listen, Op: message.OpClose, Socket: 99})
}
