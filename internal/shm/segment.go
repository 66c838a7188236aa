package shm

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A segment is a memfd: a header, a table of sections, and the sections. Every
// section is an array of elements of one size. There are no pointers in it:
// what refers to something is an index or an offset.
//
//	0        header, section table          one page
//	4096     section 1: Count × Elem octets, aligned to a page
//	…        section 2 …
//
// Memory that nobody touched costs nothing, so sections are as large as their
// limits allow.
const (
	segmentMagic = 0x5554_4350_5345_4731 // "UTCPSEG1"
	pageSize     = 4096
	maxSections  = 32
	maxSize      = 1 << 40
)

// ErrLayout is why a segment can't be attached: it isn't one, or it was made by
// a version whose layout differs.
var ErrLayout = errors.New("shared segment has another layout")

type section struct {
	id    uint32
	elem  uint32 // octets of an element
	count uint64 // elements
	off   uint64 // octets from the start of the segment
}

type header struct {
	magic    uint64
	version  uint32
	sections uint32
	size     uint64 // octets of the whole segment
	_        uint64
	table    [maxSections]section
}

var (
	_ [24]byte                    = [unsafe.Sizeof(section{})]byte{}
	_ [32 + 24*maxSections]byte   = [unsafe.Sizeof(header{})]byte{}
	_ [8]byte                     = [unsafe.Offsetof(section{}.count)]byte{}
	_ [16]byte                    = [unsafe.Offsetof(section{}.off)]byte{}
	_ [16]byte                    = [unsafe.Offsetof(header{}.size)]byte{}
	_ [32]byte                    = [unsafe.Offsetof(header{}.table)]byte{}
	_ [pageSize - 32 - 24*32]byte = [pageSize - unsafe.Sizeof(header{})]byte{}
)

// Spec describes a section to be made.
type Spec struct {
	ID    uint32
	Elem  uint32
	Count int
}

// SpecOf describes a section of count elements of type T.
func SpecOf[T any](id uint32, count int) Spec {
	var t T
	return Spec{ID: id, Elem: uint32(unsafe.Sizeof(t)), Count: count}
}

// Segment is a mapped segment. Its table was copied when it was attached: the
// other side can't change it afterwards.
type Segment struct {
	mem      []byte
	fd       int
	writable bool
	version  uint32
	table    []section
}

// Create makes a segment with the given sections, all zero, sealed so that
// nobody can change its size.
func Create(name string, version uint32, specs ...Spec) (*Segment, error) {
	h := header{magic: segmentMagic, version: version, sections: uint32(len(specs))}
	if len(specs) > maxSections {
		panic("BUG: too many sections")
	}
	at := uint64(pageSize)
	for i, s := range specs {
		h.table[i] = section{id: s.ID, elem: s.Elem, count: uint64(s.Count), off: at}
		at += (uint64(s.Elem)*uint64(s.Count) + pageSize - 1) &^ (pageSize - 1)
	}
	h.size = at
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create segment %s: %w", name, err)
	}
	s, err := initialise(fd, &h)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("create segment %s of %d octets: %w", name, h.size, err)
	}
	return s, nil
}

const sizeSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

func initialise(fd int, h *header) (*Segment, error) {
	if err := unix.Ftruncate(fd, int64(h.size)); err != nil {
		return nil, err
	}
	// Mode 0: nobody else opens it anew through /proc for more rights than the
	// descriptor that he was given has.
	if err := unix.Fchmod(fd, 0); err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sizeSeals|unix.F_SEAL_SEAL); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(fd, 0, int(h.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	*(*header)(unsafe.Pointer(&mem[0])) = *h
	return &Segment{mem: mem, fd: fd, writable: true, version: h.version, table: h.table[:h.sections:h.sections]}, nil
}

// Attach maps the segment behind fd and takes the descriptor over. It checks
// that the size is sealed, and that the table makes sense; whoever uses a
// section checks its type with Slice. A segment attached read-only can't be
// written to through its mapping.
func Attach(fd int, version uint32, writable bool) (*Segment, error) {
	s, err := attach(fd, version, writable)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("attach segment: %w", err)
	}
	return s, nil
}

func attach(fd int, version uint32, writable bool) (*Segment, error) {
	size, err := sealedSize(fd)
	if err != nil {
		return nil, err
	}
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	mem, err := unix.Mmap(fd, 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	h := *(*header)(unsafe.Pointer(&mem[0])) // read once, then checked
	if err := h.check(uint64(size), version); err != nil {
		unix.Munmap(mem)
		return nil, err
	}
	return &Segment{mem: mem, fd: fd, writable: writable, version: version, table: append([]section(nil), h.table[:h.sections]...)}, nil
}

func sealedSize(fd int) (int64, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return 0, fmt.Errorf("%w: not a memfd: %w", ErrLayout, err)
	}
	if seals&sizeSeals != sizeSeals {
		return 0, fmt.Errorf("%w: its size is not sealed", ErrLayout)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if st.Size < pageSize || st.Size > maxSize || st.Size%pageSize != 0 {
		return 0, fmt.Errorf("%w: %d octets", ErrLayout, st.Size)
	}
	return st.Size, nil
}

func (h *header) check(size uint64, version uint32) error {
	switch {
	case h.magic != segmentMagic:
		return fmt.Errorf("%w: no magic number", ErrLayout)
	case h.version != version:
		return fmt.Errorf("%w: version %d, this program has version %d", ErrLayout, h.version, version)
	case h.size != size || h.sections > maxSections:
		return fmt.Errorf("%w: sizes do not fit", ErrLayout)
	}
	for _, s := range h.table[:h.sections] {
		if s.off < pageSize || s.off%pageSize != 0 || s.off > size ||
			s.elem == 0 || s.count > (size-s.off)/uint64(s.elem) {
			return fmt.Errorf("%w: section %d lies outside", ErrLayout, s.id)
		}
	}
	return nil
}

// Fd returns the segment's descriptor, which stays the segment's.
func (s *Segment) Fd() int { return s.fd }

// Size returns the segment's size in octets, touched or not.
func (s *Segment) Size() int { return len(s.mem) }

// Resident returns how many octets of the segment are backed by memory.
func (s *Segment) Resident() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return 0, err
	}
	return st.Blocks * 512, nil
}

// ReadOnly returns a new descriptor of the segment that can't be mapped for
// writing: what a peer is given.
func (s *Segment) ReadOnly() (int, error) {
	// The mode is 0 for everybody else; we have to lift it for a moment.
	if err := unix.Fchmod(s.fd, 0o400); err != nil {
		return -1, err
	}
	defer unix.Fchmod(s.fd, 0)
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// Close unmaps the segment and closes its descriptor. No view may be used
// afterwards.
func (s *Segment) Close() error {
	err := unix.Munmap(s.mem)
	s.mem, s.table = nil, nil
	return errors.Join(err, unix.Close(s.fd))
}

// Slice returns the section with the given id as a slice of T. It fails with
// ErrLayout if there is none or its elements are not of T's size.
func Slice[T any](s *Segment, id uint32) ([]T, error) {
	var t T
	for _, sec := range s.table {
		if sec.id != id {
			continue
		}
		if uintptr(sec.elem) != unsafe.Sizeof(t) {
			return nil, fmt.Errorf("%w: section %d has elements of %d octets, want %d", ErrLayout, id, sec.elem, unsafe.Sizeof(t))
		}
		if sec.count == 0 {
			return nil, nil
		}
		return unsafe.Slice((*T)(unsafe.Pointer(&s.mem[sec.off])), int(sec.count)), nil
	}
	return nil, fmt.Errorf("%w: no section %d", ErrLayout, id)
}

// One returns the only element of a section.
func One[T any](s *Segment, id uint32) (*T, error) {
	v, err := Slice[T](s, id)
	if err != nil {
		return nil, err
	}
	if len(v) != 1 {
		return nil, fmt.Errorf("%w: section %d has %d elements, want 1", ErrLayout, id, len(v))
	}
	return &v[0], nil
}

// Offset returns how far the section with the given id lies from the start of
// the segment, in octets.
func (s *Segment) Offset(id uint32) uint64 {
	for _, sec := range s.table {
		if sec.id == id {
			return sec.off
		}
	}
	panic("BUG: no such section")
}
