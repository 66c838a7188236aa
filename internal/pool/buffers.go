package pool

import (
	"iter"
	"unsafe"

	"usertcp/internal/shm"
)

// Buffers is a set of equal buffers in one region and the state that goes with
// them. The state lies in the segment, guarded by its lock.
//
// A limit bounds how many of them may be in use: the paper's "resource limits
// … with their pools" (section 3).
type Buffers struct {
	list  *List
	refs  []uint32
	links []uint32
	size  uint32
	base  uint32
	cache *Cache // of this half; nil: there is none
}

// List is the part of a Buffers that lies in shared memory.
type List struct {
	Free  shm.FreeList
	Limit uint32 // buffers that may be in use
	_     [3]uint32
	Fails uint64 // allocations refused
	_     uint64

	Caches [2]Cache // of the halves
}

var (
	_ [128]byte = [unsafe.Sizeof(List{})]byte{}
	_ [40]byte  = [unsafe.Sizeof(Cache{})]byte{}
	_ [16]byte  = [unsafe.Offsetof(List{}.Limit)]byte{}
	_ [32]byte  = [unsafe.Offsetof(List{}.Fails)]byte{}
)

// NewBuffers returns the buffers whose state is list, refs and links (as many
// elements as buffers); buffer 0 starts at octet base of its region.
func NewBuffers(list *List, refs, links []uint32, size, base int) Buffers {
	if len(refs) != len(links) {
		panic("BUG: refs and links of different lengths")
	}
	return Buffers{list: list, refs: refs, links: links, size: uint32(size), base: uint32(base)}
}

// Reset makes all buffers free; limit is how many may be used.
func (b *Buffers) Reset(limit int) {
	clear(b.refs[:min(len(b.refs), int(b.list.Free.Fresh))])
	*b.list = List{Limit: uint32(limit)}
	b.list.Free.Reset(len(b.refs))
}

// Size returns the octets in a buffer.
func (b *Buffers) Size() int { return int(b.size) }

// Used returns the number of buffers in use; those in caches are not.
func (b *Buffers) Used() int { return len(b.refs) - int(b.list.Free.Free) - b.cached() }

// Available returns how many buffers Alloc would give.
func (b *Buffers) Available() int { return max(0, int(b.list.Limit)-b.Used()) }

// Fails returns how often a buffer was refused because of the limit.
func (b *Buffers) Fails() uint64 { return b.list.Fails }

// SetLimit changes the limit; it can't go beyond the number of buffers. Buffers
// in use stay in use.
func (b *Buffers) SetLimit(n int) { b.list.Limit = uint32(min(max(n, 0), len(b.refs))) }

// Limit returns how many buffers may be in use.
func (b *Buffers) Limit() int { return int(b.list.Limit) }

// Alloc takes a buffer, with one reference; it returns None if there is none.
func (b *Buffers) Alloc() (buf, off uint32) {
	if b.Used() >= int(b.list.Limit) {
		b.list.Fails++
		return None, 0
	}
	i := None
	if b.cache != nil {
		i = b.allocCached()
	} else {
		i = b.list.Free.Alloc(b.links)
	}
	if i == None {
		b.list.Fails++
		return None, 0
	}
	b.refs[i] = 1
	return i, b.Offset(i)
}

// Offset returns where buffer i begins in its region, in octets.
func (b *Buffers) Offset(i uint32) uint32 { return b.base + i*b.size }

// Index returns the buffer that octet off of the region lies in.
func (b *Buffers) Index(off uint32) uint32 { return (off - b.base) / b.size }

// End returns where the buffer that octet off of the region lies in ends.
func (b *Buffers) End(off uint32) uint32 { return b.Offset(b.Index(off)) + b.size }

// Ref adds a reference to a buffer in use.
func (b *Buffers) Ref(i uint32) { b.refs[i]++ }

// Unref takes a reference away and reports whether it was the last: then the
// buffer is free.
func (b *Buffers) Unref(i uint32) bool {
	if b.refs[i] == 0 {
		panic("BUG: a buffer was freed twice")
	}
	b.refs[i]--
	if b.refs[i] == 0 {
		b.giveBack(i)
		return true
	}
	return false
}

// Refs returns the references of buffer i.
func (b *Buffers) Refs(i uint32) uint32 { return b.refs[i] }

// Rebuild makes references and free list anew; refs(i) says how many references
// buffer i has.
func (b *Buffers) Rebuild(refs func(i uint32) uint32) {
	for k := range b.list.Caches {
		b.list.Caches[k].Count = 0 // what lay there is free
	}
	b.list.Free.Rebuild(b.links, func(i uint32) bool {
		b.refs[i] = refs(i)
		return b.refs[i] > 0
	})
}

// All returns the buffers in use with their references.
func (b *Buffers) All() iter.Seq2[int, uint32] {
	return func(yield func(int, uint32) bool) {
		for i, n := range b.refs {
			if n != 0 && !yield(i, n) {
				return
			}
		}
	}
}
