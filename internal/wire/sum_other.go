//go:build !amd64

package wire

// hasVector says that sumBlocks does something.
var hasVector = false

// sumBlocks leaves all of b to the loop in Go.
func sumBlocks(b []byte) (sum uint64, rest []byte) { return 0, b }
