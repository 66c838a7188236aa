package pool

// Kind says what an operation does.
type Kind uint8

// The operations on a pool (paper section 3: "allocating and freeing buffers,
// copying data in and out of buffers", and sending and receiving packets made of
// them).
const (
	OpAlloc   Kind = iota // take a buffer for sending on Circuit: Buf, which begins at Off of its region
	OpFree                // give back a reference to buffer Buf of Region, or N pieces of the packet Buf received in Region
	OpCopyIn              // copy Data into Mem
	OpCopyOut             // copy Mem into Data
	OpSend                // send Packet
	OpReceive             // take the next packet that has arrived into Packet; if there is Data, see Placer
	Kinds     = iota
)

// String returns the name of the operation.
func (k Kind) String() string {
	return [Kinds]string{"alloc", "free", "copy in", "copy out", "send", "receive"}[k]
}

// Op is one operation, and when it has been executed, what came of it. Which fields
// count depends on Kind.
type Op struct {
	Kind    Kind
	Done    bool // Alloc: there was a buffer; Receive: there was a packet; Send: the device took it; the others always
	Circuit uint16
	Region  uint16
	N       uint16
	Buf     uint32
	Off     uint32
	Packet  *Packet
	Mem     []byte // of the pool
	Data    []byte // of the program, as long as Mem; of a reception, where its payload is wanted
}

// MaxOps is how many operations a Script has room for.
const MaxOps = 32

// Script is a sequence of operations that a driver executes together, in their order:
// "user-space processes can create 'scripts' consisting of a series of operations to
// be performed, then execute a whole script in a single ioctl()" (paper section 3).
// What the crossing is depends on the driver: a ring's peer is shown, and if it sleeps
// woken for, all that was done before a Flush at once; a device takes as few system
// calls as the kernel allows.
//
// A Script is made once and used again: nothing is allocated for it. Whoever adds an
// operation must know that there is Room.
type Script struct {
	n   int
	ops [MaxOps]Op
}

// Len returns the number of operations.
func (s *Script) Len() int { return s.n }

// Room returns how many operations may be added.
func (s *Script) Room() int { return MaxOps - s.n }

// Ops returns the operations.
func (s *Script) Ops() []Op { return s.ops[:s.n] }

// Reset makes the script empty.
func (s *Script) Reset() { s.n = 0 }

func (s *Script) add(k Kind) *Op {
	op := &s.ops[s.n]
	s.n++
	op.Kind, op.Done = k, false
	return op
}

// Alloc asks for n buffers for sending on circuit. If there are fewer, the first ones
// are done.
func (s *Script) Alloc(circuit uint16, n int) {
	for range n {
		op := s.add(OpAlloc)
		op.Circuit, op.Buf = circuit, None
	}
}

// Free gives back a reference to a buffer for sending, or a piece of a received
// packet. Pieces of one packet that are given back one behind the other are one
// operation.
func (s *Script) Free(region uint16, buf uint32) {
	if s.n > 0 && !IsTx(region) {
		if last := &s.ops[s.n-1]; last.Kind == OpFree && last.Region == region && last.Buf == buf && last.N < MaxPieces {
			last.N++
			return
		}
	}
	op := s.add(OpFree)
	op.Region, op.Buf, op.N = region, buf, 1
}

// Release gives back all pieces of a received packet.
func (s *Script) Release(p *Packet) {
	op := s.add(OpFree)
	op.Region, op.Buf, op.N = p.Region, p.ID, uint16(p.NPieces)
}

// CopyIn copies the program's data into memory of the pool, as many octets as the
// shorter has.
func (s *Script) CopyIn(mem, data []byte) {
	op := s.add(OpCopyIn)
	op.Mem, op.Data = mem, data
}

// CopyOut copies memory of the pool to the program.
func (s *Script) CopyOut(data, mem []byte) {
	op := s.add(OpCopyOut)
	op.Mem, op.Data = mem, data
}

// Send sends a packet, whose memory must stay as it is until the script has been
// executed. Its circuit must have room for it, besides those before it.
func (s *Script) Send(p *Packet) { s.add(OpSend).Packet = p }

// Receive takes the next packet that has arrived. When there is none, receptions
// that follow at once find none either.
func (s *Script) Receive(p *Packet) { s.add(OpReceive).Packet = p }

// Sends returns how many packets the script sends on circuit.
func (s *Script) Sends(circuit uint16) (n int) {
	for i := range s.ops[:s.n] {
		if op := &s.ops[i]; op.Kind == OpSend && op.Packet.Circuit == circuit {
			n++
		}
	}
	return n
}

// Operations are what a driver's Execute is made of, one at a time.
type Operations interface {
	// Alloc takes a buffer for sending on circuit; it returns None if there is
	// none or the Tx limit has been reached. off is where it begins in
	// TxRegion(circuit). The buffer has one reference.
	Alloc(circuit uint16) (buf uint32, off uint32)

	// Unref takes a reference of a buffer for sending away. A buffer is free when
	// nobody refers to it and the peer has released every packet that it was part
	// of.
	Unref(region uint16, buf uint32)

	// Release gives back the pieces of a received packet: n of the pieces that
	// it had. When all are back the sender may use the buffers again.
	Release(circuit uint16, id uint32, n int)

	// Send puts a packet on its circuit, which must have room. It reports false if
	// the device behind it can't take the packet now: nothing of it has left. What is
	// lost on the way is no such case.
	Send(p *Packet) bool

	// Receive takes the next packet that has arrived, and reports whether
	// there was one. Damaged packets are counted and passed over.
	Receive(p *Packet) bool
}

// Perform executes operations one by one.
func Perform(d Operations, ops []Op) {
	for i := 0; i < len(ops); i++ {
		op := &ops[i]
		op.Done = true
		switch op.Kind {
		case OpAlloc:
			op.Buf, op.Off = d.Alloc(op.Circuit)
			if op.Done = op.Buf != None; !op.Done {
				i += short(ops[i+1:], op.Circuit)
			}
		case OpFree:
			if IsTx(op.Region) {
				d.Unref(op.Region, op.Buf)
			} else {
				d.Release(RegionCircuit(op.Region), op.Buf, int(op.N))
			}
		case OpSend:
			op.Done = d.Send(op.Packet)
		case OpReceive:
			if op.Done = receive(d, op); !op.Done {
				i += dry(ops[i+1:])
			}
		default:
			op.copy()
		}
	}
}

// Copy executes a script of copies. It takes no driver, and no lock: the memory is
// mapped, and stays the same while what lies there is in use.
func (s *Script) Copy() {
	for i := range s.ops[:s.n] {
		s.ops[i].copy()
	}
}

// dry says of receptions behind one that has found nothing that they have not either,
// and returns how many they are.
func dry(ops []Op) (n int) {
	for n < len(ops) && ops[n].Kind == OpReceive {
		ops[n].Done = false
		n++
	}
	return n
}

// short says of allocations behind one that has found no buffer that they have not
// either, and returns how many they are. The peer may give buffers back at any moment:
// one that was found behind a gap would be nobody's, since who asks for some takes
// those up to the first that is missing.
func short(ops []Op, circuit uint16) (n int) {
	for n < len(ops) && ops[n].Kind == OpAlloc && ops[n].Circuit == circuit {
		ops[n].Done = false
		n++
	}
	return n
}

// copy copies, and forgets the memory: it is the program's, and not ours to keep.
func (op *Op) copy() {
	if op.Kind == OpCopyIn {
		copy(op.Mem, op.Data)
	} else {
		copy(op.Data, op.Mem)
	}
	op.Mem, op.Data = nil, nil
}
