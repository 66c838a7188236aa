package wire

import "golang.org/x/sys/cpu"

// hasVector says that the processor has AVX2, and the system keeps its registers.
var hasVector = cpu.X86.HasAVX2

// blockSize is the octets of a block of sumAVX2.
const blockSize = 128

// sumBlocks adds up the 32-bit little-endian words of the blocks that b begins with,
// and returns the rest of b.
func sumBlocks(b []byte) (sum uint64, rest []byte) {
	n := len(b) / blockSize
	if !hasVector || n == 0 {
		return 0, b
	}
	return sumAVX2(&b[0], n), b[n*blockSize:]
}

// sumAVX2 is sumBlocks for one block or more at p.
//
//go:noescape
func sumAVX2(p *byte, blocks int) uint64
