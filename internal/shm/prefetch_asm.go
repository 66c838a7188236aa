//go:build amd64 || arm64

package shm

import "unsafe"

// prefetch asks for the cache lines of the n octets at p. It reads nothing, so that
// no address is wrong.
//
//go:noescape
func prefetch(p unsafe.Pointer, n uintptr)
