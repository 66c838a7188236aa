//go:build linux && amd64

package half

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool/nic"
)

// trace is a victim whose every instruction is seen. Only amd64: elsewhere a
// single step over a pair of load-exclusive and store-exclusive makes it fail, and
// the loop around it never ends.
type trace struct {
	t       testing.TB
	cmd     *exec.Cmd
	tid     int
	monitor int                    // a thread that is stopped, or 0
	system  uint64                 // where the thread's own stack ends: the scheduler's
	code    map[uint64]instruction // by address
}

// uint32Word is a word of a memory.
type uint32Word struct{ b []byte }

func (w *uint32Word) load() uint32 {
	return uint32(w.b[0]) | uint32(w.b[1])<<8 | uint32(w.b[2])<<16 | uint32(w.b[3])<<24
}

// startVictim starts a process that does case c at host h, and stops it where the
// step begins.
func startVictim(t testing.TB, c *crashCase, w *crashWorld, at []uint32) *trace {
	t.Helper()
	exe, err := os.Executable()
	check(t, err)
	v := &trace{t: t, cmd: exec.Command(exe), code: map[uint64]instruction{}}
	v.cmd.Env = append(os.Environ(), victimEnv+"="+victimSpec(c.name, w, at), "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=2")
	v.cmd.Stderr = os.Stderr
	fds := w.a.files(w.b)
	for _, fd := range fds {
		v.cmd.ExtraFiles = append(v.cmd.ExtraFiles, os.NewFile(uintptr(duplicate(t, fd)), "inherited"))
	}
	for _, fd := range fds[5:] {
		unix.Close(fd)
	}
	in, err := v.cmd.StdinPipe()
	check(t, err)
	out, err := v.cmd.StdoutPipe()
	check(t, err)
	check(t, v.cmd.Start())
	for _, f := range v.cmd.ExtraFiles {
		f.Close()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	word, isReady := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if v.tid, _ = strconv.Atoi(word); err != nil || !isReady || v.tid == 0 {
		v.end()
		t.Fatalf("the victim said %q: %v", line, err)
	}
	// On one CPU nobody has to be woken on another one.
	var one unix.CPUSet
	if unix.SchedGetaffinity(0, &one) == nil {
		keepOne(&one)
		unix.SchedSetaffinity(v.tid, &one)
		unix.SchedSetaffinity(0, &one)
	}
	if err := unix.PtraceSeize(v.tid); err != nil {
		v.end()
		t.Skipf("a process may not be traced here: %v", err)
	}
	v.freeze()
	v.system = v.systemStack()
	in.Write([]byte{1})
	if sig := v.wait(); sig != unix.SIGUSR1 {
		t.Fatalf("the victim stopped by %v", sig)
	}
	return v
}

// freeze stops the runtime's monitor, the second thread of a Go program: it would
// think that the goroutine takes too long and have it scheduled. That must be before
// the step begins, and while it sleeps: then it has none of the runtime's locks.
func (v *trace) freeze() {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", v.cmd.Process.Pid))
	check(v.t, err)
	if len(tasks) < 2 {
		return
	}
	tid, _ := strconv.Atoi(tasks[1].Name())
	if tid == v.tid || unix.PtraceSeize(tid) != nil {
		return
	}
	v.monitor = tid
	for range 1000 {
		check(v.t, unix.PtraceInterrupt(tid))
		var ws unix.WaitStatus
		for {
			if _, err := unix.Wait4(tid, &ws, unix.WALL, nil); err != unix.EINTR {
				break
			}
		}
		var r unix.PtraceRegs
		check(v.t, unix.PtraceGetRegs(tid, &r))
		if r.Orig_rax == unix.SYS_NANOSLEEP || r.Orig_rax == unix.SYS_FUTEX {
			return
		}
		check(v.t, unix.PtraceCont(tid, 0))
		time.Sleep(time.Millisecond)
	}
	v.t.Fatal("the runtime's monitor does not sleep")
}

// systemStack returns the end of the stack that the kernel has given the victim. The
// first thread's scheduler runs on it, goroutines do not.
func (v *trace) systemStack() uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", v.cmd.Process.Pid))
	check(v.t, err)
	for line := range strings.Lines(string(b)) {
		if strings.HasSuffix(line, "[stack]\n") {
			_, after, _ := strings.Cut(line, "-")
			end, _, _ := strings.Cut(after, " ")
			n, err := strconv.ParseUint(end, 16, 64)
			check(v.t, err)
			return n
		}
	}
	v.t.Fatal("the victim has no stack")
	return 0
}

// scheduling reports whether the runtime is at work for itself: it may take the CPU
// from a goroutine, and starts a thread then, for which a C library maps memory.
func (v *trace) scheduling(sp uint64) bool { return sp < v.system && v.system-sp < 8<<20 }

// wait waits until the traced thread stops, and returns by what.
func (v *trace) wait() unix.Signal {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(v.tid, &ws, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || !ws.Stopped():
			v.t.Fatalf("the victim ended: %v, %v", ws, err)
		}
		return ws.StopSignal()
	}
}

// keepOne leaves one CPU in s.
func keepOne(s *unix.CPUSet) {
	for i, found := 0, false; i < 1024; i++ {
		if found {
			s.Clear(i)
		}
		found = found || s.IsSet(i)
	}
}

// step lets the victim do one instruction; it reports false when the end of the
// crash case has come.
func (v *trace) step() bool {
	check(v.t, unix.PtraceSingleStep(v.tid))
	switch sig := v.wait(); sig {
	case unix.SIGTRAP:
		return true
	case unix.SIGUSR1:
		return false
	default:
		v.t.Fatalf("the victim stopped by %v in the middle of its step", sig)
		return false
	}
}

// instruction is what of an instruction matters here.
type instruction struct {
	writes bool // it may write to memory other than its stack
	calls  bool // a system call of the program's
}

// next returns the instruction that the next step does.
func (v *trace) next() instruction {
	var r unix.PtraceRegs
	check(v.t, unix.PtraceGetRegs(v.tid, &r))
	i, known := v.code[r.Rip]
	if !known {
		var b [16]byte
		_, err := unix.PtracePeekText(v.tid, uintptr(r.Rip), b[:])
		check(v.t, err)
		i.writes = mayWrite(b[:])
		// It is the same program, loaded to the same address.
		name := runtime.FuncForPC(uintptr(r.Rip)).Name()
		i.calls = b[0] == 0x0f && b[1] == 0x05 && !strings.HasPrefix(name, "runtime.")
		v.code[r.Rip] = i
	}
	i.calls = i.calls && !v.scheduling(r.Rsp)
	return i
}

// mayWrite reports whether an instruction may write to memory other than its
// stack. It need not know all: a write that it overlooks is seen with the next one.
func mayWrite(b []byte) bool {
	rexB := false
	for len(b) > 4 && (b[0]&0xf0 == 0x40 || b[0] == 0x66 || b[0] == 0xf0 || b[0] == 0xf2 || b[0] == 0xf3) {
		rexB = b[0]&0xf1 == 0x41
		b = b[1:]
	}
	op, operand := b[0], b[1]
	if op == 0x0f {
		op, operand = b[1], b[2]
		switch {
		case op&0xf0 == 0x80, op&0xf0 == 0x40, op == 0xb6, op == 0xb7, op == 0xbe, op == 0xbf,
			op == 0x10, op == 0x28, op == 0x6f, op == 0x1f, op == 0xaf, op == 0x2e, op == 0x2f, op == 0x05:
			return false
		}
		b = b[1:]
	} else {
		switch {
		case op < 0x40 && op&7 > 1, op == 0x38, op == 0x39, op&0xf0 == 0x50, op == 0x63, op&0xfc == 0x68, op&0xf0 == 0x70,
			op == 0x84, op == 0x85, op == 0x8a, op == 0x8b, op == 0x8d, op&0xf0 == 0x90, op&0xf0 == 0xb0, op == 0xc3,
			op == 0xe8, op == 0xe9, op == 0xeb, op == 0xff && operand>>3&7 > 1:
			return false
		case op == 0xc4, op == 0xc5, op == 0x62, op&0xf4 == 0xa4: // AVX and strings: no operand where others have it
			return true
		}
	}
	onStack := operand&7 == 4 && b[2]&7 == 4 && !rexB
	return operand>>6 != 3 && !onStack
}

func (v *trace) end() {
	v.cmd.Process.Kill()
	if v.monitor != 0 {
		unix.Wait4(v.monitor, nil, unix.WALL, nil) // who traces a thread has to see its end
	}
	v.cmd.Wait()
}

// shadow knows what the parts of a memory looked like that say something: all but
// payloads, of which a connection says which octets count.
type shadow struct {
	m    *memory
	skip func(page int64) bool
	old  map[int64][]byte
	list []int64
}

func newShadow(m *memory, skip func(int64) bool) *shadow {
	s := &shadow{m: m, skip: skip, old: map[int64][]byte{}}
	s.changed()
	return s
}

// changed reports whether the memory has changed since the last call.
func (s *shadow) changed() bool {
	did := false
	if s.m.scan() || s.list == nil {
		s.list = s.list[:0]
		for _, p := range s.m.pages {
			if !s.skip(p) {
				s.list = append(s.list, p)
			}
		}
	}
	for _, p := range s.list {
		old, now := s.old[p], s.m.page(p)
		switch {
		case old == nil:
			s.old[p] = bytes.Clone(now)
			did = true
		case !bytes.Equal(old, now):
			copy(old, now)
			did = true
		}
	}
	return did
}

// course is what was seen of a step.
type course struct {
	moments, instructions int
	calls                 []string // that were made with the lock held, and may not be
}

// cuts runs case c, and calls die for each moment at which the memory of host a
// has changed, or a system call was made: with what there is at that moment a process
// that dies leaves the world.
func (w *crashWorld) cuts(t testing.TB, c *crashCase, at []uint32, die func(n int)) (seen course) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	v := startVictim(t, c, w, at)
	defer v.end()
	defer time.AfterFunc(2*time.Minute, func() { v.cmd.Process.Kill() }).Stop()
	shadows := w.shadows()
	lock := &uint32Word{w.a.mem[0].octets[w.a.seg.Offset(secLock):]}
	for i := v.next(); v.step(); i = v.next() {
		seen.instructions++
		if i.calls && lock.load() != 0 && (!w.devices || w.a.top.journal.active != 0) {
			seen.calls = append(seen.calls, fmt.Sprintf("after %d instructions; half changed: %v", seen.instructions, w.a.top.journal.active != 0))
		}
		if !i.writes && !i.calls {
			continue
		}
		did := i.calls && w.devices
		for _, s := range shadows {
			did = s.changed() || did
		}
		if did {
			die(seen.moments)
			seen.moments++
		}
	}
	return seen
}

// Sections of payloads over devices, as internal/pool/nic numbers them.
const (
	nicTxOctets = 121
	nicRxOctets = 124
)

// shadows returns those of host a.
func (w *crashWorld) shadows() []*shadow {
	octets := func(id uint32, size int) func(int64) bool {
		from := int64(w.a.seg.Offset(id)) / page
		return func(p int64) bool { return p >= from && p < from+int64(size)/page }
	}
	own, tx, rx := octets(secRxOctets, rxBuffers*rxSize), octets(nicTxOctets, nic.Buffers*nic.BufferSize), octets(nicRxOctets, nic.Slots*nic.SlotSize)
	all := []*shadow{
		newShadow(w.a.mem[0], func(p int64) bool { return own(p) || tx(p) || rx(p) }),
		newShadow(w.a.mem[1], func(int64) bool { return false }),
	}
	if !w.devices {
		buffers := int64(w.a.own.Offset(4)) / page
		all = append(all, newShadow(w.a.mem[2], func(p int64) bool { return p >= buffers }))
	}
	return all
}
