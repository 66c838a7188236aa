package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// slowSum is RFC 1071's definition, word for word.
func slowSum(b []byte) uint16 {
	var s uint32
	for i, x := range b {
		if i%2 == 0 {
			s += uint32(x) << 8
		} else {
			s += uint32(x)
		}
		if s > 0xffff {
			s -= 0xffff
		}
	}
	return uint16(s)
}

// sameSum reports whether a and b are equal in ones' complement, where 0 and
// 0xffff are the same number.
func sameSum(a, b uint16) bool { return a%0xffff == b%0xffff }

func TestSumOfEveryLength(t *testing.T) {
	b := make([]byte, 300)
	for i := range b {
		b[i] = 0xff - byte(i*i)
	}
	for from := range 9 {
		for to := from; to <= len(b); to++ {
			if got, want := Fold(Sum(0, b[from:to])), slowSum(b[from:to]); !sameSum(got, want) {
				t.Fatalf("sum of octets %d to %d is %04x, want %04x", from, to, got, want)
			}
		}
	}
}

// The example of RFC 1071 section 3.
func TestSumOfTheRFC(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := Fold(Sum(0, b)); got != 0xddf2 {
		t.Errorf("sum %04x, want ddf2", got)
	}
}

func TestSumOfAllOnes(t *testing.T) {
	// Every addition carries.
	for _, n := range []int{2, 8, 62, 64, 66, 128, 65534} {
		b := slices.Repeat([]byte{0xff}, n)
		if got := Fold(Sum(0xffffffff, b)); got != 0xffff {
			t.Errorf("sum of %d octets of ff is %04x, want ffff", n, got)
		}
	}
}

func TestSumKeepsItsBound(t *testing.T) {
	b := slices.Repeat([]byte{0xff}, 64)
	one, pieces := ^uint32(0), ^uint32(0)
	for range 1000 {
		one, pieces = Sum(one, b), SumPieces(pieces, [][]byte{b[:63], b[63:]})
		if one >= 1<<18 || pieces >= 1<<18 {
			t.Fatalf("partial sums %x and %x, documented to be below 2^18", one, pieces)
		}
	}
}

func TestPiecesSumLikeTheWhole(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 150), 0, 6).Draw(r, "pieces")
		acc := rapid.Uint32().Draw(r, "acc")
		whole := slices.Concat(pieces...)
		got, want := Fold(SumPieces(acc, pieces)), Fold(Sum(acc, whole))
		if !sameSum(got, want) {
			r.Fatalf("pieces sum up to %04x, the whole to %04x", got, want)
		}
		if !sameSum(want, Fold(acc%0xffff+uint32(slowSum(whole)))) {
			r.Fatalf("Sum is %04x, the definition says otherwise", want)
		}
	})
}

func TestPseudoHeader(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v4 := rapid.Bool().Draw(r, "v4")
		src, dst := drawAddr(r, v4, "src"), drawAddr(r, v4, "dst")
		proto := rapid.Byte().Draw(r, "proto")
		length := rapid.IntRange(0, 65535+IPv6Len).Draw(r, "length")
		var b []byte
		if v4 {
			length &= 0xffff
			b = append(append(b, src[12:]...), dst[12:]...)
			b = binary.BigEndian.AppendUint16(append(b, 0, proto), uint16(length))
		} else {
			b = append(append(b, src[:]...), dst[:]...)
			b = append(binary.BigEndian.AppendUint32(b, uint32(length)), 0, 0, 0, proto)
		}
		if got := Fold(PseudoSum(&src, &dst, proto, length)); !sameSum(got, slowSum(b)) {
			r.Fatalf("pseudo-header %x sums up to %04x, want %04x", b, got, slowSum(b))
		}
	})
}

func TestChecksumSeesEveryOctet(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		src, dst := drawAddr(r, true, "src"), drawAddr(r, true, "dst")
		h := drawTCP(r)
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 9), 1, 4).Draw(r, "pieces")
		b := make([]byte, MaxTCPLen)
		b = b[:h.Emit(b)]
		binary.BigEndian.PutUint16(b[16:], TCPChecksum(&src, &dst, b, pieces))
		if !TCPChecksumOK(&src, &dst, b, pieces) {
			r.Fatal("our own checksum is said to be wrong")
		}
		// Which octet changes, and into what: never 00 to ff, which is no change.
		at := slices.Concat([][]byte{b}, pieces)
		p := at[rapid.IntRange(0, len(at)-1).Draw(r, "piece")]
		if len(p) == 0 {
			return
		}
		p[rapid.IntRange(0, len(p)-1).Draw(r, "octet")] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
		if TCPChecksumOK(&src, &dst, b, pieces) {
			r.Fatal("a flipped bit was not seen")
		}
	})
}

func TestChecksumSeesTheAddresses(t *testing.T) {
	for _, name := range []string{"hello4", "hello6"} {
		ip, rest := mustParseIP(t, packets[name])
		if other := (Addr{15: 9}); TCPChecksumOK(&ip.Src, &other, rest[:20], [][]byte{rest[20:]}) {
			t.Errorf("%s: the segment passes with another destination", name)
		}
	}
}

// withoutVectors runs f as on a processor that has none.
func withoutVectors(f func()) {
	defer func(was bool) { hasVector = was }(hasVector)
	hasVector = false
	f()
}

// The sum by vectors and its twin in Go are the same number, at every length and
// alignment: not only in ones' complement, where 0 and 0xffff are.
func TestVectorsAndGoAgree(t *testing.T) {
	if !hasVector {
		t.Skip("this processor has no vectors that are used")
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "octets")
		if rapid.Bool().Draw(t, "all ones") {
			for i := range b {
				b[i] = 0xff
			}
		}
		from := rapid.IntRange(0, min(9, len(b))).Draw(t, "from")
		vector, plain := sumLittle(b[from:]), uint16(0)
		withoutVectors(func() { plain = sumLittle(b[from:]) })
		if vector != plain || !sameSum(bits.ReverseBytes16(plain), slowSum(b[from:])) {
			t.Fatalf("by vectors %04x, in Go %04x, by definition %04x (swapped)", vector, plain, slowSum(b[from:]))
		}
	})
	zeros := make([]byte, 4096)
	if s := sumLittle(zeros); s != 0 {
		t.Errorf("the sum of zeros is %04x", s)
	}
}

// Nothing behind the end is read, in whole blocks or not: the sum is that of the slice
// alone.
func TestVectorsKeepToTheirSlice(t *testing.T) {
	b := slices.Repeat([]byte{0xee}, 2048)
	for n := vectorMin; n <= 1024; n++ {
		copy(b, slices.Repeat([]byte{1}, n))
		if got, want := Fold(Sum(0, b[:n])), slowSum(b[:n]); !sameSum(got, want) {
			t.Fatalf("%d octets: %04x, want %04x", n, got, want)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 40, 256, vectorMin, 1460, 65536} {
		p := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Sum(0, p)
			}
		})
		if !hasVector || n < vectorMin {
			continue
		}
		b.Run(fmt.Sprint(n, "-pure-Go"), func(b *testing.B) {
			b.SetBytes(int64(n))
			withoutVectors(func() {
				for b.Loop() {
					Sum(0, p)
				}
			})
		})
	}
}
