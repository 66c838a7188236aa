package shm

import "unsafe"

// Prefetch asks for element i of s to be brought into the caches, all of it, and does
// not wait for that. It is a hint: it changes nothing, and an element that there is
// not is nobody's.
func Prefetch[T any](s []T, i uint32) {
	if uint64(i) < uint64(len(s)) {
		prefetch(unsafe.Pointer(&s[i]), unsafe.Sizeof(s[i]))
	}
}

// PrefetchFirst is Prefetch for the first octets of the element alone: a cache line.
func PrefetchFirst[T any](s []T, i uint32) {
	if uint64(i) < uint64(len(s)) {
		prefetch(unsafe.Pointer(&s[i]), min(unsafe.Sizeof(s[i]), 1))
	}
}
