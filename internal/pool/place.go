package pool

// Placer is a driver that can have the payload of a packet land where its reader wants
// it: it takes a guess at where the payload begins, since header and payload go to two
// places before anybody has seen the header.
type Placer interface {
	// ReceiveInto is Receive, and puts the payload of a segment whose IP and TCP headers
	// have together the given number of octets into into, as much of it as there is room
	// for: Packet.Placed says how much. What is no such segment, or has to be looked at
	// further before it can be believed, lies all where it always does, and so does the
	// rest; into may have been written to all the same.
	ReceiveInto(p *Packet, header int, into []byte) bool
}

// Place asks that the payload of the next packet that a script of one reception takes be
// placed in into, if its headers have the given number of octets.
func (op *Op) Place(header int, into []byte) { op.N, op.Data = uint16(header), into }

// receive executes a reception, and forgets the program's memory, which is not ours to
// keep.
func receive(d Operations, op *Op) bool {
	into := op.Data
	op.Data, op.Packet.Placed = nil, 0
	if into != nil {
		if p, ok := d.(Placer); ok {
			return p.ReceiveInto(op.Packet, int(op.N), into)
		}
	}
	return d.Receive(op.Packet)
}
