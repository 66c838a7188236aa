package main

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// size is a flag's number of octets, with K, M, G or T for powers of 1,024.
type size uint64

const sizeUnits = "KMGT"

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if k := strings.IndexByte(sizeUnits, text[n-1]&^0x20); k >= 0 {
			digits, shift = text[:n-1], 10*(k+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || bits.Len64(n)+shift > 63 {
		return fmt.Errorf("%q is no size: octets, or with K, M, G or T", text)
	}
	*s = size(n << shift)
	return nil
}

// String implements pflag.Value: nothing for the default.
func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return octets(uint64(*s))
}

// Type implements pflag.Value.
func (s *size) Type() string { return "SIZE" }

// octets writes a number of octets with one decimal at most, as flags take whole ones.
func octets(n uint64) string {
	unit := -1
	v := float64(n)
	for v >= 1024 && unit < len(sizeUnits)-1 {
		v /= 1024
		unit++
	}
	if unit < 0 {
		return strconv.FormatUint(n, 10)
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + sizeUnits[unit:unit+1]
}
