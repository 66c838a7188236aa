package usertcp

import (
	"bytes"
	"math/rand/v2"
)

// fill fills b with octets that a seed determines.
func fill(b []byte, seed uint64) {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	rand.NewChaCha8(key).Read(b)
}

func equal(a, b []byte) bool { return bytes.Equal(a, b) }
