//go:build !amd64 && !arm64

package shm

import "unsafe"

// prefetch does nothing here.
func prefetch(unsafe.Pointer, uintptr) {}
