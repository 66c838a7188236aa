package child

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// record is what the child has from the connection server, so that a new server
// can be told of it: local ends and connections, with the kernel's bind points
// (paper section 4.4.5), and the lock on the host's ring id, which keeps the id
// the host's while there is no server.
type record struct {
	mu           sync.Mutex
	ring         int // descriptor, 0 if there is none
	binds        map[uint32]*bound
	flows        map[wire.Flow]*forwarded
	own          map[uint32]wire.Flow // flows of sockets that connect
	lent         []uint16             // first ports of leased blocks
	lentByDevice map[uint16]deviceLease
}

// deviceLease is a block for the devices: which of its ports are lent, and what keeps them
// in the kernel.
type deviceLease struct {
	ports  uint64
	points []int
}

type bound struct {
	local     wire.Endpoint
	how       message.BindHow
	listening bool
	points    []int
	gone      chan struct{} // closed when it is given back
}

type forwarded struct {
	socket uint32
	points []int
	gone   chan struct{} // closed when it is given back
}

func (r *record) init() {
	if r.binds == nil {
		r.binds = map[uint32]*bound{}
		r.flows = map[wire.Flow]*forwarded{}
		r.own = map[uint32]wire.Flow{}
		r.lentByDevice = map[uint16]deviceLease{}
	}
}

func (r *record) bind(socket uint32, local wire.Endpoint, how message.BindHow, points []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	r.binds[socket] = &bound{local: local, how: how, points: points, gone: make(chan struct{})}
}

func (r *record) lease(first uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lent = append(r.lent, first)
}

// unlease forgets a block.
func (r *record) unlease(first uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lent = slices.DeleteFunc(r.lent, func(port uint16) bool { return port == first })
}

// leases returns the first ports of the blocks that the server has leased.
func (r *record) leases() []uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lent)
}

func (r *record) leaseDevice(first uint16, ports uint64, points []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	message.CloseFiles(r.lentByDevice[first].points)
	r.lentByDevice[first] = deviceLease{ports, points}
}

// unleaseDevice forgets a block for the devices.
func (r *record) unleaseDevice(first uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	message.CloseFiles(r.lentByDevice[first].points)
	delete(r.lentByDevice, first)
}

// deviceLeases returns the first ports of the blocks for the devices.
func (r *record) deviceLeases() map[uint16]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := map[uint16]bool{}
	for port := range r.lentByDevice {
		first[port] = true
	}
	return first
}

// bound returns the local end of a socket.
func (r *record) bound(socket uint32) (wire.Endpoint, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.binds[socket]; b != nil {
		return b.local, true
	}
	return wire.Endpoint{}, false
}

// boundTo returns the sockets that have a port, and what is closed when they have given
// it back.
func (r *record) boundTo(port uint16) map[uint32]<-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[uint32]<-chan struct{}{}
	for socket, b := range r.binds {
		if b.local.Port == port {
			found[socket] = b.gone
		}
	}
	return found
}

func (r *record) listen(socket uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.binds[socket]; b != nil {
		b.listening = true
	}
}

func (r *record) forward(socket uint32, flow wire.Flow, points []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	r.flows[flow] = &forwarded{socket, points, make(chan struct{})}
	if socket != message.NoSocket {
		r.own[socket] = flow
	}
}

// goneFlow returns what is closed when a connection has been given back; nil if it is not on
// record.
func (r *record) goneFlow(flow wire.Flow) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flows[flow]; f != nil {
		return f.gone
	}
	return nil
}

// opened returns the connection that a socket has opened.
func (r *record) opened(socket uint32) (wire.Flow, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	flow, ok := r.own[socket]
	return flow, ok
}

// drop forgets a local end or a connection; the kernel's bind points are closed.
func (r *record) drop(socket uint32, what half.Registered, flow wire.Flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.binds[socket]; b != nil && what&half.RegisteredBind != 0 {
		message.CloseFiles(b.points)
		delete(r.binds, socket)
		close(b.gone)
	}
	if f := r.flows[flow]; f != nil && what&half.RegisteredFlow != 0 {
		message.CloseFiles(f.points)
		delete(r.flows, flow)
		delete(r.own, f.socket)
		close(f.gone)
	}
}

// reuse sets or clears SO_REUSEADDR of a socket's bind points.
func (r *record) reuse(socket uint32, on bool) unix.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := 0
	if on {
		v = 1
	}
	if r.binds[socket] == nil {
		return 0
	}
	for _, fd := range r.binds[socket].points {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, v); err != nil {
			return err.(unix.Errno)
		}
	}
	return 0
}

// list returns the record as Keep messages, local ends first. r.mu is held.
func (r *record) list() (list []message.Message) {
	for socket, b := range r.binds {
		m := message.Message{Type: message.Keep, N: message.KeepBind, Socket: socket, Local: b.local, VCI: wire.VCI(b.how), Files: b.points}
		if b.listening {
			m.Op = message.OpListen
		}
		list = append(list, m)
	}
	for _, first := range r.lent {
		list = append(list, message.Message{Type: message.Keep, N: message.KeepLease, Local: wire.Endpoint{Port: first}})
	}
	for first, l := range r.lentByDevice {
		list = append(list, message.Message{Type: message.Keep, N: message.KeepLease, Local: wire.Endpoint{Port: first}, Ports: l.ports, Files: l.points})
	}
	for flow, f := range r.flows {
		list = append(list, message.Message{
			Type: message.Keep, N: message.KeepFlow, Socket: f.socket, Local: flow.Local, Remote: flow.Remote, Files: f.points,
		})
	}
	return list
}

// take notes what the server says that the child's predecessor had. It takes the
// descriptors over.
func (r *record) take(m *message.Message) half.Known {
	flow := wire.Flow{Local: m.Local, Remote: m.Remote}
	if m.N == message.KeepFlow {
		r.forward(m.Socket, flow, m.Files)
		return half.Known{What: half.RegisteredFlow, Socket: m.Socket, Flow: flow}
	}
	r.bind(m.Socket, m.Local, message.BindHow(m.VCI), m.Files)
	if m.Op == message.OpListen {
		r.listen(m.Socket)
	}
	return half.Known{What: half.RegisteredBind, Socket: m.Socket}
}
