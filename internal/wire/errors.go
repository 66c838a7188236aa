package wire

import "errors"

// What can be wrong with a packet. All are static, so that a flood of bad
// packets costs no memory; whoever drops the packet counts them.
var (
	ErrShort          = errors.New("wire: packet ends inside a header")
	ErrVersion        = errors.New("wire: IP version is neither 4 nor 6")
	ErrHeaderLen      = errors.New("wire: header length is below the minimum or beyond the packet")
	ErrTotalLen       = errors.New("wire: total length is shorter than the headers")
	ErrHeaderChecksum = errors.New("wire: wrong IPv4 header checksum")
	ErrExtension      = errors.New("wire: IPv6 extension header that an end system cannot pass over")
	ErrMapped         = errors.New("wire: IPv4-mapped address in an IPv6 header")
	ErrOptionLen      = errors.New("wire: TCP option of impossible length")
	ErrICMPType       = errors.New("wire: not an ICMP error message")
	ErrQuote          = errors.New("wire: ICMP message does not quote the start of a TCP segment")
	ErrVCI            = errors.New("wire: VCI has more than 15 bits")
	ErrPDULen         = errors.New("wire: AAL-5 length is zero")
)
