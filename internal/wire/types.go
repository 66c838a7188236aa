package wire

import (
	"net/netip"
	"strconv"
	"strings"

	"usertcp/internal/seq"
)

// Addr is an IP address, an IPv4 address in its mapped form (::ffff:a.b.c.d).
// Unlike netip.Addr it holds no pointer, so that it can lie in memory that two
// processes share.
type Addr [16]byte

// AddrFrom returns the address a, whose zone is dropped.
func AddrFrom(a netip.Addr) Addr {
	if !a.IsValid() {
		return Addr{}
	}
	return a.As16()
}

// Unspecified addresses, at which a listener takes what comes for any address of the
// host: of both families, of IPv4, of IPv6. The third looks like the first; here it is
// a group that does not exist (RFC 4291 section 2.7), so that no packet has it.
var (
	Any  = Addr{}
	Any4 = Addr{10: 0xff, 11: 0xff}
	Any6 = Addr{0: 0xff}
)

// Covers reports whether what comes for a is one for who is bound to w.
func (w *Addr) Covers(a *Addr) bool {
	return *w == *a || *w == Any || *w == Any4 && a.Is4() || *w == Any6 && !a.Is4()
}

// Netip returns the address as the net packages know it.
func (a Addr) Netip() netip.Addr {
	if a == Any6 {
		return netip.IPv6Unspecified()
	}
	return netip.AddrFrom16(a).Unmap()
}

// Is4 reports whether the address is an IPv4 address.
func (a *Addr) Is4() bool {
	return *(*[12]byte)(a[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// IsZero reports whether the address is absent or unspecified (0.0.0.0, ::).
func (a *Addr) IsZero() bool { return *a == Any || *a == Any4 || *a == Any6 }

func (a Addr) String() string { return a.Netip().String() }

// Endpoint is one end of a connection: 18 octets, no padding.
type Endpoint struct {
	Addr Addr
	Port uint16
}

// EndpointFrom returns ap as an Endpoint.
func EndpointFrom(ap netip.AddrPort) Endpoint {
	return Endpoint{Addr: AddrFrom(ap.Addr()), Port: ap.Port()}
}

// Netip returns the endpoint as the net packages know it.
func (e Endpoint) Netip() netip.AddrPort { return netip.AddrPortFrom(e.Addr.Netip(), e.Port) }

func (e Endpoint) String() string { return e.Netip().String() }

// Flow names a connection: both its ends, as this host sees them.
type Flow struct {
	Local, Remote Endpoint
}

func (f Flow) String() string { return f.Local.String() + "->" + f.Remote.String() }

// Flags are the control bits of a TCP header (RFC 9293 section 3.1), in their
// order on the wire; AE is RFC 9768's.
type Flags uint16

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE
)

var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"}

// Has reports whether all bits of x are set.
func (f Flags) Has(x Flags) bool { return f&x == x }

func (f Flags) String() string {
	var set []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if rest := f >> len(flagNames); rest != 0 {
		set = append(set, "0x"+strconv.FormatUint(uint64(rest)<<len(flagNames), 16))
	}
	return strings.Join(set, "|")
}

// OptionSet says which options of an Options are present.
type OptionSet uint16

// The options that a TCP header can carry and this package knows.
const (
	HasMSS           OptionSet = 1 << iota // RFC 9293 section 3.7.1
	HasWindowScale                         // RFC 7323 section 2
	HasSACKPermitted                       // RFC 2018 section 2
	HasTimestamps                          // RFC 7323 section 3
	HasFastOpen                            // RFC 7413 section 4.1.1
	HasUserTimeout                         // RFC 5482 section 3
	HasAccECN                              // RFC 9768 section 3.2.3
)

// Block is one block of a SACK option: Start is its first sequence number, End
// the one behind its last.
type Block struct {
	Start, End seq.Number
}

// Options are the options of one TCP header as a plain struct. Parse fills it
// and Emit writes it; each is the other's inverse.
type Options struct {
	Present     OptionSet
	MSS         uint16 // octets
	WindowScale uint8  // shift count as received; at most 14 is used
	SACKBlocks  uint8  // number of blocks in SACK, 0 to 4
	TSVal       uint32
	TSEcr       uint32
	SACK        [4]Block
	UserTimeout uint16 // as on the wire: granularity bit and 15 bits of time
	AccECNOrder uint8  // 0 or 1: which order the counters have on the wire
	AccECNCount uint8  // number of counters present, 0 to 3
	AccECN      [3]uint32
	CookieLen   uint8 // octets of Cookie; 0 with HasFastOpen is a request
	Cookie      [16]byte
}

// Has reports whether all options of x are present.
func (o *Options) Has(x OptionSet) bool { return o.Present&x == x }

// TCP is a TCP header as a plain struct.
type TCP struct {
	SrcPort, DstPort uint16
	Seq, Ack         seq.Number
	Flags            Flags
	Window           uint16 // as on the wire: not scaled
	Checksum         uint16
	Urgent           uint16
	Options          Options
}
