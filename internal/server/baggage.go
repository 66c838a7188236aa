package server

import (
	"os"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// baggage is what a child leaves with the server for a successor of its own on the
// same segment: descriptors, which the server keeps and never maps. What they are
// is in the descriptions of the Keep messages.
type baggage struct {
	frames   *os.File // the child's end
	user     *os.File // the child's end of the application's channel
	meeting  *os.File // where the next server will look for the child
	program  *os.File // that its successor runs too: it knows the segment; nil: this server's
	memory   []int
	circuits map[uint32]keptCircuit
	offer    *keptOffer
	finished bool // the child has said that it ends in order
	listed   chan struct{}
}

type keptCircuit struct {
	peer  wire.VCI
	files []int
}

// keep takes what the child leaves. Too many circuits can't be kept: the
// connections over them then go through the servers when the child is replaced.
func (c *child) keep(m *message.Message) {
	if m.N == message.KeepUser && len(m.Files) == 1 {
		c.changeProgram(m.Files[0])
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.kept
	switch {
	case m.N == message.KeepEnd && k.listed != nil:
		close(k.listed)
		k.listed = nil
	case m.N == message.KeepEnd:
		k.finished = true
	case m.N == message.KeepMemory:
		message.CloseFiles(k.memory)
		k.memory = m.Files
		return
	case m.N == message.KeepCircuit:
		k.keepCircuit(m)
		return
	case m.N == message.KeepOffer:
		c.keepOffer(m)
		return
	case m.N == message.KeepProgram && len(m.Files) == 1 && k.program == nil:
		k.program = os.NewFile(uintptr(m.Files[0]), "the child's program")
		return
	case k.listed != nil:
		c.adoptItem(m)
		return
	}
	message.CloseFiles(m.Files)
}

func (k *baggage) keepCircuit(m *message.Message) {
	message.CloseFiles(k.circuits[m.Socket].files)
	delete(k.circuits, m.Socket)
	if len(m.Files) == 0 || len(k.circuits) >= maxKept {
		message.CloseFiles(m.Files)
		return
	}
	if k.circuits == nil {
		k.circuits = make(map[uint32]keptCircuit)
	}
	k.circuits[m.Socket] = keptCircuit{m.VCI, m.Files}
}

// dropAll closes all that the child has left.
func (c *child) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.kept
	for _, f := range []*os.File{k.frames, k.user, k.meeting, k.program} {
		if f != nil {
			f.Close()
		}
	}
	c.dropOffer()
	message.CloseFiles(k.memory)
	for _, kc := range k.circuits {
		message.CloseFiles(kc.files)
	}
	k.memory, k.circuits = nil, nil
}

// list returns the Keep messages for a successor of the child. Their descriptors
// stay the server's.
func (c *child) list() []message.Message {
	list := c.s.ports.held(c.vci)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.kept
	list = append(list, message.Message{Type: message.Keep, N: message.KeepMemory, Files: k.memory})
	for i, kc := range k.circuits {
		list = append(list, message.Message{Type: message.Keep, N: message.KeepCircuit, Socket: i, VCI: kc.peer, Files: kc.files})
	}
	if k.offer != nil {
		list = append(list, k.offer.Keep())
	}
	return append(list, message.Message{Type: message.Keep, N: message.KeepEnd})
}

// dupFile returns a copy of a descriptor.
func dupFile(fd int, name string) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(dup), name), nil
}
