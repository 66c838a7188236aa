package shm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const testVersion = 7

type record struct {
	a, b uint32
	c    uint64
}

func create(t testing.TB, specs ...Spec) *Segment {
	t.Helper()
	s, err := Create("test", testVersion, specs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.mem != nil {
			s.Close()
		}
	})
	return s
}

func dup(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func isClosed(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == unix.EBADF
}

func TestBothSidesSeeTheSameMemory(t *testing.T) {
	s := create(t, SpecOf[record](1, 1000), SpecOf[byte](2, 3), SpecOf[uint64](3, 1), SpecOf[byte](4, 0))
	other, err := Attach(dup(t, s.Fd()), testVersion, true)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if s.Size() != 4096*(1+4+1+1) || other.Size() != s.Size() {
		t.Errorf("sizes %d and %d, want %d", s.Size(), other.Size(), 4096*7)
	}
	mine, err := Slice[record](s, 1)
	theirs, err2 := Slice[record](other, 1)
	if err != nil || err2 != nil || len(mine) != 1000 || len(theirs) != 1000 {
		t.Fatal(len(mine), len(theirs), err, err2)
	}
	for _, r := range theirs {
		if r != (record{}) {
			t.Fatalf("fresh segment holds %+v", r)
		}
	}
	mine[999] = record{1, 2, 3}
	if theirs[999] != (record{1, 2, 3}) {
		t.Errorf("the other side sees %+v", theirs[999])
	}
	b, err := Slice[byte](other, 2)
	if err != nil || len(b) != 3 || cap(b) != 3 {
		t.Errorf("octets: len %d, cap %d, %v", len(b), cap(b), err)
	}
	one, err := One[uint64](s, 3)
	if err != nil {
		t.Fatal(err)
	}
	*one = 5
	if got := *(*uint64)(unsafe.Pointer(&other.mem[other.Offset(3)])); got != 5 {
		t.Errorf("at the section's offset lies %d", got)
	}
	if e, err := Slice[byte](s, 4); err != nil || len(e) != 0 {
		t.Errorf("empty section: %d elements, %v", len(e), err)
	}
}

func TestMemoryThatNobodyTouchedCostsNothing(t *testing.T) {
	s := create(t, SpecOf[byte](1, 1<<30))
	if n, err := s.Resident(); err != nil || n > 64<<10 {
		t.Errorf("%d octets resident, %v", n, err)
	}
}

func TestSectionsAreChecked(t *testing.T) {
	s := create(t, SpecOf[record](1, 2))
	if _, err := Slice[uint32](s, 1); !errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), "16 octets, want 4") {
		t.Errorf("another element size: %v", err)
	}
	if _, err := Slice[record](s, 9); !errors.Is(err, ErrLayout) {
		t.Errorf("no such section: %v", err)
	}
	if _, err := One[record](s, 1); !errors.Is(err, ErrLayout) {
		t.Errorf("one of two: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("offset of no section")
		}
	}()
	s.Offset(9)
}

// forge makes a memfd with the header h, sealed with seals.
func forge(t testing.TB, h header, size int64, seals int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("forged", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h))
	if _, err := unix.Pwrite(fd, b[:min(int64(len(b)), size)], 0); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return fd
}

func good() header {
	h := header{magic: segmentMagic, version: testVersion, sections: 2, size: 3 * pageSize}
	h.table[0] = section{id: 1, elem: 16, count: 256, off: pageSize}
	h.table[1] = section{id: 2, elem: 1, count: 4096, off: 2 * pageSize}
	return h
}

func TestAttachChecksWhatItIsGiven(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *header)
		want   string // of the error; none if empty
	}{
		{"as it should be", func(h *header) {}, ""},
		{"no magic number", func(h *header) { h.magic++ }, "no magic number"},
		{"another version", func(h *header) { h.version = 8 }, "version 8, this program has version 7"},
		{"another size", func(h *header) { h.size += pageSize }, "sizes"},
		{"too many sections", func(h *header) { h.sections = maxSections + 1 }, "sizes"},
		{"a section in the header", func(h *header) { h.table[0].off = 0 }, "section 1 lies outside"},
		{"a section that is not on a page", func(h *header) { h.table[0].off += 8 }, "section 1 lies outside"},
		{"a section behind the end", func(h *header) { h.table[1].off = 4 * pageSize }, "section 2 lies outside"},
		{"a section one element too long", func(h *header) { h.table[1].count++ }, "section 2 lies outside"},
		{"a section whose length overflows", func(h *header) { h.table[1].count, h.table[1].elem = 1<<60, 16 }, "section 2 lies outside"},
		{"elements of no size", func(h *header) { h.table[0].elem, h.table[0].count = 0, 1<<63 }, "section 1 lies outside"},
		{"an empty section at the end", func(h *header) { h.table[1].off, h.table[1].count = 3*pageSize, 0 }, ""},
	} {
		h := good()
		c.change(&h)
		fd := forge(t, h, 3*pageSize, sizeSeals)
		s, err := Attach(fd, testVersion, true)
		if err == nil {
			s.Close()
		}
		switch {
		case (err == nil) != (c.want == ""), err != nil && (!errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case err != nil && !isClosed(fd):
			t.Errorf("%s: the descriptor stays open", c.name)
		}
	}
}

func TestAttachWantsASealedSegment(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		name string
		fd   int
		want string
	}{
		{"not sealed", forge(t, good(), 3*pageSize, 0), "not sealed"},
		{"may shrink", forge(t, good(), 3*pageSize, unix.F_SEAL_GROW), "not sealed"},
		{"may grow", forge(t, good(), 3*pageSize, unix.F_SEAL_SHRINK), "not sealed"},
		{"truncated", forge(t, good(), 2*pageSize, sizeSeals), "sizes"},
		{"too short for a header", forge(t, good(), 100, sizeSeals), "100 octets"},
		{"empty", forge(t, good(), 0, sizeSeals), "0 octets"},
		{"part of a page", forge(t, good(), 3*pageSize-1, sizeSeals), "octets"},
		{"a file", dup(t, int(file.Fd())), "not a memfd"},
	} {
		if _, err := Attach(c.fd, testVersion, false); !errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if !isClosed(c.fd) {
			t.Errorf("%s: the descriptor stays open", c.name)
		}
	}
	if _, err := Attach(-1, testVersion, false); err == nil {
		t.Error("attached to no descriptor")
	}
}

func TestNobodyChangesTheSize(t *testing.T) {
	s := create(t, SpecOf[byte](1, 1))
	for _, size := range []int64{0, pageSize, int64(s.Size()) + pageSize} {
		if err := unix.Ftruncate(s.Fd(), size); err != unix.EPERM {
			t.Errorf("truncate to %d octets: %v, want EPERM", size, err)
		}
	}
	if _, err := unix.FcntlInt(uintptr(s.Fd()), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != unix.EPERM {
		t.Errorf("add a seal: %v, want EPERM", err)
	}
}

// What a peer is given can't be mapped for writing, nor written to, nor opened
// anew for writing.
func TestReadOnlyIsReadOnly(t *testing.T) {
	s := create(t, SpecOf[uint64](1, 1))
	fd, err := s.ReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Mmap(fd, 0, s.Size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != unix.EACCES && err != unix.EPERM {
		t.Errorf("mapped for writing: %v", err)
	}
	if _, err := unix.Pwrite(fd, []byte{1}, pageSize); err == nil {
		t.Error("written to")
	}
	if _, err := Attach(dup(t, fd), testVersion, true); err == nil {
		t.Error("attached for writing")
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.Fd(), &st); err != nil || st.Mode&0o777 != 0 {
		t.Errorf("mode %o, %v; want 0", st.Mode&0o777, err)
	}
	other, err := Attach(fd, testVersion, false)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Mprotect(other.mem, unix.PROT_READ|unix.PROT_WRITE); err != unix.EACCES {
		t.Errorf("mapping made writable: %v, want EACCES", err)
	}
	mine, _ := One[uint64](s, 1)
	theirs, err := One[uint64](other, 1)
	if err != nil {
		t.Fatal(err)
	}
	if *mine = 9; *theirs != 9 {
		t.Errorf("the reader sees %d", *theirs)
	}
}

const reopenEnv = "SHM_TEST_REOPEN"

// TestReopenHelper is the other uid of TestNobodyElseReopens.
func TestReopenHelper(t *testing.T) {
	if os.Getenv(reopenEnv) == "" {
		return
	}
	for _, mode := range []int{unix.O_RDWR, unix.O_RDONLY} {
		_, err := unix.Open("/proc/self/fd/3", mode, 0)
		fmt.Printf("open %d: %v\n", mode, err)
	}
}

// A peer of another uid that holds the read-only descriptor can't open the
// segment anew through /proc for more rights. Run as root another uid is tried;
// otherwise only what can be seen from our own.
func TestNobodyElseReopens(t *testing.T) {
	s := create(t, SpecOf[byte](1, 1))
	fd, err := s.ReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "segment")
	defer file.Close()
	cmd := helper(t)
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := fmt.Sprintf("open %d: permission denied\nopen %d: permission denied\n", unix.O_RDWR, unix.O_RDONLY)
	if !strings.HasPrefix(string(out), want) {
		t.Errorf("helper says:\n%s\nwant:\n%s", out, want)
	}
}

// helper returns a command that runs TestReopenHelper, as nobody if that is
// possible. The binary is copied to where everybody may run it.
func helper(t *testing.T) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "shm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	path := dir + "/helper"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-test.run=^TestReopenHelper$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), reopenEnv+"=1")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}

func TestTooManySectionsIsABug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Create("test", testVersion, make([]Spec, maxSections+1)...)
}

// Whatever a header says, attaching is an error or gives sections that lie inside.
func FuzzAttach(f *testing.F) {
	h := good()
	b := unsafe.Slice((*byte)(unsafe.Pointer(&h)), 32+3*24)
	f.Add(append([]byte(nil), b...), uint16(3))
	f.Add([]byte{}, uint16(1))
	f.Add(append(append([]byte(nil), b[:40]...), 255, 255, 255, 255), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, pages uint16) {
		var h header
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), b)
		s, err := Attach(forge(t, h, int64(pages%64)*pageSize, sizeSeals), testVersion, false)
		if err != nil {
			return
		}
		defer s.Close()
		for _, sec := range s.table {
			touch[byte](s, sec)
			touch[uint32](s, sec)
			touch[record](s, sec)
			touch[LockWord](s, sec)
		}
	})
}

var sink byte

// touch reads the first and the last octet of a section: outside of the segment
// that would be a fault.
func touch[T any](s *Segment, sec section) {
	v, err := Slice[T](s, sec.id)
	if err != nil || len(v) == 0 {
		return
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), uintptr(len(v))*unsafe.Sizeof(v[0]))
	sink += b[0] + b[len(b)-1]
}
