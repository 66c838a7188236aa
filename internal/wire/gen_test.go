package wire

import (
	"usertcp/internal/seq"

	"pgregory.net/rapid"
)

// drawAddr draws an address of one family.
func drawAddr(r *rapid.T, v4 bool, label string) Addr {
	var a Addr
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, label)
	copy(a[:], b)
	if v4 {
		copy(a[:12], []byte{10: 0xff, 11: 0xff})
	} else {
		a[0] |= 0x20 // not the mapped form
	}
	return a
}

// drawIP draws a header that has no field of the other family set.
func drawIP(r *rapid.T) IP {
	v4 := rapid.Bool().Draw(r, "v4")
	ip := IP{
		Src:   drawAddr(r, v4, "src"),
		Dst:   drawAddr(r, v4, "dst"),
		Proto: rapid.SampledFrom([]uint8{ProtoTCP, ProtoICMP, ProtoICMPv6, 17}).Draw(r, "proto"),
		TTL:   rapid.Byte().Draw(r, "ttl"),
		TOS:   rapid.Byte().Draw(r, "tos"),
	}
	if v4 {
		ip.ID = rapid.Uint16().Draw(r, "id")
		ip.DontFragment = rapid.Bool().Draw(r, "df")
		ip.MoreFragments = rapid.Bool().Draw(r, "mf")
		ip.FragOffset = rapid.Uint16().Draw(r, "offset") &^ 7
	} else {
		ip.FlowLabel = rapid.Uint32Range(0, 0xfffff).Draw(r, "flow")
	}
	return ip
}

func drawNumber(r *rapid.T, label string) seq.Number {
	return seq.Number(rapid.Uint32().Draw(r, label))
}

func drawTCP(r *rapid.T) TCP {
	return TCP{
		SrcPort:  rapid.Uint16().Draw(r, "sport"),
		DstPort:  rapid.Uint16().Draw(r, "dport"),
		Seq:      drawNumber(r, "seq"),
		Ack:      drawNumber(r, "ack"),
		Flags:    Flags(rapid.Uint16Range(0, flagsMask).Draw(r, "flags")),
		Window:   rapid.Uint16().Draw(r, "window"),
		Checksum: rapid.Uint16().Draw(r, "checksum"),
		Urgent:   rapid.Uint16().Draw(r, "urgent"),
		Options:  fitting(drawOptions(r)),
	}
}

// drawOptions draws options, also more than fit in a header.
func drawOptions(r *rapid.T) Options {
	o := Options{
		Present:     OptionSet(rapid.Uint16Range(0, uint16(HasAccECN)<<1-1).Draw(r, "present")),
		MSS:         rapid.Uint16().Draw(r, "mss"),
		WindowScale: rapid.Byte().Draw(r, "wscale"),
		SACKBlocks:  rapid.SampledFrom([]uint8{0, 0, 0, 1, 2, 3, 4}).Draw(r, "blocks"),
		TSVal:       rapid.Uint32().Draw(r, "tsval"),
		TSEcr:       rapid.Uint32().Draw(r, "tsecr"),
		UserTimeout: rapid.Uint16().Draw(r, "uto"),
		AccECNOrder: rapid.Uint8Range(0, 1).Draw(r, "order"),
		AccECNCount: rapid.Uint8Range(0, 3).Draw(r, "counters"),
		CookieLen:   rapid.SampledFrom([]uint8{0, 4, 6, 8, 10, 12, 14, 16}).Draw(r, "cookie"),
	}
	for i := range o.SACK {
		o.SACK[i] = Block{drawNumber(r, "start"), drawNumber(r, "end")}
	}
	for i := range o.AccECN {
		o.AccECN[i] = rapid.Uint32Range(0, 1<<24-1).Draw(r, "counter")
	}
	for i := range o.Cookie {
		o.Cookie[i] = byte(i + 1)
	}
	return o
}

// fitting returns o without what does not fit in a header, and with zeros in
// the fields of absent options, as Parse leaves them.
func fitting(o Options) Options {
	set, blocks, _ := o.layout()
	f := Options{Present: set, SACKBlocks: uint8(blocks)}
	copy(f.SACK[:blocks], o.SACK[:])
	if set.has(HasMSS) {
		f.MSS = o.MSS
	}
	if set.has(HasWindowScale) {
		f.WindowScale = o.WindowScale
	}
	if set.has(HasTimestamps) {
		f.TSVal, f.TSEcr = o.TSVal, o.TSEcr
	}
	if set.has(HasUserTimeout) {
		f.UserTimeout = o.UserTimeout
	}
	if set.has(HasAccECN) {
		f.AccECNOrder, f.AccECNCount = o.AccECNOrder, o.AccECNCount
		copy(f.AccECN[:o.AccECNCount], o.AccECN[:])
	}
	if set.has(HasFastOpen) {
		f.CookieLen = o.CookieLen
		copy(f.Cookie[:o.CookieLen], o.Cookie[:])
	}
	return f
}
