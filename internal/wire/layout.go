package wire

import "encoding/binary"

// The layout of a header's options is Linux's (tcp_options_write), so that we
// look like any other host, every option starts on a 32-bit boundary, and the
// ones that a firewall or a fast path looks for stand where it looks:
//
//	SYN       mss | sackOK,TS | nop,wscale
//	          mss | nop,nop,sackOK | nop,wscale        (without timestamps)
//	others    nop,nop,TS | nop,nop,sack
//	last      fast-open cookie, padded with nop

// layout returns the options of o that fit in a header, how many SACK blocks do,
// and the octets they take. Options that come later in the order give way.
func (o *Options) layout() (set OptionSet, blocks, n int) {
	if o.SACKBlocks == 0 {
		switch o.Present {
		case 0:
			return 0, 0, 0
		case HasTimestamps:
			return HasTimestamps, 0, lenTimestamps + 2
		}
	}
	add := func(x OptionSet, size int) {
		if o.Has(x) && n+size <= MaxOptionsLen {
			set |= x
			n += size
		}
	}
	add(HasMSS, lenMSS)
	add(HasTimestamps, lenTimestamps+2)
	if o.Has(HasSACKPermitted | HasTimestamps) {
		set |= HasSACKPermitted // in the place of the two nops
	} else {
		add(HasSACKPermitted, lenSACKPermitted+2)
	}
	add(HasWindowScale, lenWindowScale+1)
	if room := (MaxOptionsLen - n - 4) / lenSACKBlock; o.SACKBlocks > 0 && room > 0 {
		blocks = min(int(o.SACKBlocks), room) // room is at most len(o.SACK)
		n += 4 + blocks*lenSACKBlock
	}
	add(HasUserTimeout, lenUserTimeout)
	add(HasAccECN, align(2+o.counters()*lenAccECNCounter))
	add(HasFastOpen, align(2+o.cookieLen()))
	return set, blocks, n
}

func align(n int) int { return (n + 3) &^ 3 }

func (o *Options) counters() int  { return min(int(o.AccECNCount), len(o.AccECN)) }
func (o *Options) cookieLen() int { return min(int(o.CookieLen), len(o.Cookie)) }

// Len returns how many octets of options Emit will write, padding included: a
// multiple of 4, at most MaxOptionsLen. Options that do not fit are left out, of
// SACK blocks those at the end.
func (o *Options) Len() int {
	_, _, n := o.layout()
	return n
}

// emit writes the options and returns their length.
func (o *Options) emit(b []byte) int {
	set, blocks, n := o.layout()
	if n == 0 {
		return 0
	}
	if set == HasTimestamps && blocks == 0 {
		o.putTimestamps(b, nopNopTS)
		return n
	}
	o.emitAll(b[:n], set, blocks)
	return n
}

func (o *Options) emitAll(b []byte, set OptionSet, blocks int) {
	if set.has(HasMSS) {
		b = put32(b, kindMSS<<24|lenMSS<<16|uint32(o.MSS))
	}
	if set.has(HasTimestamps | HasSACKPermitted) {
		b = o.putTimestamps(b, kindSACKPermitted<<24|lenSACKPermitted<<16|kindTimestamps<<8|lenTimestamps)
	} else if set.has(HasTimestamps) {
		b = o.putTimestamps(b, nopNopTS)
	} else if set.has(HasSACKPermitted) {
		b = put32(b, kindNop<<24|kindNop<<16|kindSACKPermitted<<8|lenSACKPermitted)
	}
	if set.has(HasWindowScale) {
		b = put32(b, kindNop<<24|kindWindowScale<<16|lenWindowScale<<8|uint32(o.WindowScale))
	}
	if blocks > 0 {
		b = o.putSACK(b, blocks)
	}
	if set.has(HasUserTimeout) {
		b = put32(b, kindUserTimeout<<24|lenUserTimeout<<16|uint32(o.UserTimeout))
	}
	if set.has(HasAccECN) {
		b = o.putAccECN(b)
	}
	if set.has(HasFastOpen) {
		b = putPadded(b, kindFastOpen, o.Cookie[:o.cookieLen()])
	}
	if len(b) != 0 {
		panic("BUG: TCP options are not as long as their layout says")
	}
}

func (s OptionSet) has(x OptionSet) bool { return s&x == x }

func put32(b []byte, v uint32) []byte {
	binary.BigEndian.PutUint32(b, v)
	return b[4:]
}

func (o *Options) putTimestamps(b []byte, head uint32) []byte {
	h := (*[12]byte)(b)
	binary.BigEndian.PutUint32(h[0:], head)
	binary.BigEndian.PutUint32(h[4:], o.TSVal)
	binary.BigEndian.PutUint32(h[8:], o.TSEcr)
	return b[12:]
}

func (o *Options) putSACK(b []byte, blocks int) []byte {
	b = put32(b, kindNop<<24|kindNop<<16|kindSACK<<8|uint32(2+blocks*lenSACKBlock))
	for _, s := range o.SACK[:blocks] {
		b = put32(b, uint32(s.Start))
		b = put32(b, uint32(s.End))
	}
	return b
}

func (o *Options) putAccECN(b []byte) []byte {
	var v [3 * lenAccECNCounter]byte
	n := o.counters()
	for i, c := range o.AccECN[:n] {
		v[3*i], v[3*i+1], v[3*i+2] = byte(c>>16), byte(c>>8), byte(c)
	}
	kind := uint8(kindAccECN0)
	if o.AccECNOrder != 0 {
		kind = kindAccECN1
	}
	return putPadded(b, kind, v[:n*lenAccECNCounter])
}

// putPadded writes an option of any length and nops up to the next boundary.
func putPadded(b []byte, kind uint8, v []byte) []byte {
	n := 2 + len(v)
	b[0], b[1] = kind, uint8(n)
	copy(b[2:], v)
	for ; n%4 != 0; n++ {
		b[n] = kindNop
	}
	return b[n:]
}
