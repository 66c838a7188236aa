package nic

import (
	"encoding/binary"

	"usertcp/internal/wire"
)

// The maps' keys, from the module's own types. Words and ports lie in them as in a
// packet.

func keyAddress(a wire.Addr) kernelAddress {
	var k kernelAddress
	for i := range k.Word {
		k.Word[i] = binary.NativeEndian.Uint32(a[4*i:])
	}
	return k
}

func (k kernelAddress) addr() wire.Addr {
	var a wire.Addr
	for i, w := range k.Word {
		binary.NativeEndian.PutUint32(a[4*i:], w)
	}
	return a
}

// keyPort swaps a port into network order, and back.
func keyPort(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

func keyFlow(f wire.Flow) kernelFlow {
	return kernelFlow{
		Local: keyAddress(f.Local.Addr), LocalPort: keyPort(f.Local.Port),
		Remote: keyAddress(f.Remote.Addr), RemotePort: keyPort(f.Remote.Port),
	}
}

func keyListener(e wire.Endpoint) kernelListener {
	return kernelListener{Local: keyAddress(e.Addr), Port: keyPort(e.Port)}
}

// listenerKeys returns the entries for a local end: one for each family of which it
// is the unspecified address.
func listenerKeys(e wire.Endpoint) []kernelListener {
	at := func(a wire.Addr) kernelListener { return keyListener(wire.Endpoint{Addr: a, Port: e.Port}) }
	switch e.Addr {
	case wire.Any:
		return []kernelListener{at(wire.Any), at(wire.Any4)}
	case wire.Any6:
		return []kernelListener{at(wire.Any)}
	}
	return []kernelListener{keyListener(e)}
}

// keyRule returns a rule as the programs read it.
func keyRule(r Rule) kernelRule {
	k := kernelRule{Prefix: keyAddress(wire.AddrFrom(r.Prefix.Addr())), First: r.First, Last: r.Last}
	if r.First == 0 && r.Last == 0 {
		k.Last = 65535
	}
	bits := r.Prefix.Bits()
	if r.Prefix.Addr().Is4() {
		bits += 96
	}
	var mask wire.Addr
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	k.Mask = keyAddress(mask)
	for i := range k.Prefix.Word {
		k.Prefix.Word[i] &= k.Mask.Word[i]
	}
	return k
}
