package shm

import "unsafe"

// None is the index that names nothing.
const None = ^uint32(0)

// FreeList allots the indices 0 … limit-1 of some array. Its state lies in
// shared memory and is guarded by the segment's lock; the links lie in an array
// beside it. Indices are reused last in, first out, so that what is warm in the
// cache is used again, and an index that never was in use costs no memory.
//
// It can be derived: Rebuild makes it anew from what is in use.
type FreeList struct {
	Head  uint32 // first free index that was in use before, None if none
	Fresh uint32 // indices from here on have never been in use
	Free  uint32 // number of free indices, fresh ones included
	Limit uint32 // number of indices in all
}

var (
	_ [16]byte = [unsafe.Sizeof(FreeList{})]byte{}
	_ [4]byte  = [unsafe.Offsetof(FreeList{}.Fresh)]byte{}
	_ [12]byte = [unsafe.Offsetof(FreeList{}.Limit)]byte{}
)

// Reset makes all of limit indices free.
func (f *FreeList) Reset(limit int) {
	*f = FreeList{Head: None, Free: uint32(limit), Limit: uint32(limit)}
}

// Alloc returns a free index, or None. links has at least Limit elements.
func (f *FreeList) Alloc(links []uint32) uint32 {
	i := f.Head
	switch {
	case i != None:
		f.Head = links[i]
	case f.Fresh < f.Limit:
		i = f.Fresh
		f.Fresh++
	default:
		return None
	}
	f.Free--
	return i
}

// Release gives index i back.
func (f *FreeList) Release(links []uint32, i uint32) {
	if i >= f.Fresh || i >= f.Limit || f.Free >= f.Limit {
		panic("BUG: release of an index that is not in use")
	}
	links[i] = f.Head
	f.Head = i
	f.Free++
}

// Rebuild makes the list anew: index i stays in use if used(i).
func (f *FreeList) Rebuild(links []uint32, used func(i uint32) bool) {
	fresh := min(f.Fresh, f.Limit)
	*f = FreeList{Head: None, Fresh: fresh, Limit: f.Limit, Free: f.Limit - fresh}
	for i := fresh; i > 0; i-- {
		if !used(i - 1) {
			f.Fresh = fresh
			links[i-1] = f.Head
			f.Head = i - 1
			f.Free++
		}
	}
}
