// Package seq is the arithmetic of TCP sequence numbers (RFC 9293 section 3.4):
// a space of 2^32 that wraps, in which "before" and "after" make sense for
// numbers that lie less than 2^31 apart. Nothing but arithmetic belongs here.
package seq

import "strconv"

// Number is a sequence number, in octets, modulo 2^32.
type Number uint32

// Size is a distance between two sequence numbers, in octets.
type Size uint32

// Add returns the number that lies n octets after a.
func (a Number) Add(n Size) Number { return a + Number(n) }

// Minus returns the number that lies n octets before a.
func (a Number) Minus(n Size) Number { return a - Number(n) }

// From returns how many octets a lies after b. It is meaningful if a is not
// before b.
func (a Number) From(b Number) Size { return Size(a - b) }

// Before reports whether a comes before b.
func (a Number) Before(b Number) bool { return int32(a-b) < 0 }

// AtOrBefore reports whether a is b or comes before it.
func (a Number) AtOrBefore(b Number) bool { return int32(a-b) <= 0 }

// After reports whether a comes after b.
func (a Number) After(b Number) bool { return int32(a-b) > 0 }

// AtOrAfter reports whether a is b or comes after it.
func (a Number) AtOrAfter(b Number) bool { return int32(a-b) >= 0 }

// InWindow reports whether a lies in the window of n octets that starts at
// start: start =< a < start+n.
func (a Number) InWindow(start Number, n Size) bool { return Size(a-start) < n }

// Max returns the later of a and b.
func Max(a, b Number) Number {
	if a.After(b) {
		return a
	}
	return b
}

// Min returns the earlier of a and b.
func Min(a, b Number) Number {
	if a.Before(b) {
		return a
	}
	return b
}

func (a Number) String() string { return strconv.FormatUint(uint64(a), 10) }
