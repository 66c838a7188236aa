package nic

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// Pool is the kernel's part of a pool: a TAP, and what belongs to it. Its methods
// may be called by any goroutine.
type Pool struct {
	m    *Manager
	vci  wire.VCI
	tap  int // number of the device
	name string
	file *os.File // nil if another server has made it
	link link.Link

	// What the pool has in the maps; false: the server before has put it there, and
	// nobody has asked for it since. Guarded by the manager's lock, like ended.
	flows     map[kernelFlow]bool
	listeners map[kernelListener]bool
	leases    map[uint32]bool // by number of the block
	ended     bool
}

// NewPool makes a pool, which owns nothing yet.
func (m *Manager) NewPool(vci wire.VCI) (*Pool, error) {
	p := &Pool{m: m, vci: vci, flows: map[kernelFlow]bool{}, listeners: map[kernelListener]bool{}, leases: map[uint32]bool{}}
	err := m.place.do(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.closed {
			return os.ErrClosed
		}
		return p.make()
	})
	if err != nil {
		return nil, fmt.Errorf("pool %d: %w", vci, err)
	}
	return p, nil
}

// make runs in the place's thread. The template is there before the TAP is up, so
// that nothing passes before it.
func (p *Pool) make() (err error) {
	if p.file, p.name, err = makeTAP(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.undo()
		}
	}()
	l, err := p.m.routes.LinkByName(p.name)
	if err != nil {
		return err
	}
	p.tap = l.Attrs().Index
	if err := p.enter(); err != nil {
		return err
	}
	if p.link, err = p.m.attachProgram(p.tap, p.m.kernel.UsertcpTemplate, tapPin); err != nil {
		return err
	}
	if err := setTAP(p.name, p.m.routes); err != nil {
		return err
	}
	p.m.pools[p.tap] = p
	return nil
}

// enter puts the pool into the maps.
func (p *Pool) enter() error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	if err := p.m.kernel.Circuits.Put(uint32(p.tap), uint32(p.vci)); err != nil {
		return err
	}
	return p.m.kernel.Pools.Put(uint32(p.tap), make([]kernelPoolCounters, cpus))
}

// undo takes the pool out of everything but the manager's table.
func (p *Pool) undo() {
	p.m.kernel.Pools.Delete(uint32(p.tap))
	p.m.kernel.Circuits.Delete(uint32(p.tap))
	if p.link != nil {
		p.link.Unpin()
		p.link.Close()
	}
	if p.file != nil {
		p.file.Close()
	}
}

// VCI returns the number that NewPool was called with.
func (p *Pool) VCI() wire.VCI { return p.vci }

// Device returns the name of the pool's TAP.
func (p *Pool) Device() string { return p.name }

// File returns the TAP's descriptor, which is non-blocking, to be passed on; nil if
// the pool was taken over. It stays the pool's. Go's poller does not know it: its
// Read returns EAGAIN when there is nothing.
func (p *Pool) File() *os.File { return p.file }

// Listen gives the pool what comes for a local end and belongs to no connection, and
// lets it send from there. The address may be unspecified: 0.0.0.0 is all of
// IPv4, wire.Any6 all of IPv6, :: all of both. Of a pool that was taken over it confirms what is
// there. Errors: EADDRINUSE, EADDRNOTAVAIL, ENOBUFS.
func (p *Pool) Listen(local wire.Endpoint) error { return p.ListenShard(local, 0, 0) }

// ListenShard is Listen for shard at of of that have a local end together; of 0 is none.
// Connections are spread over them by a hash when all are there. If a shard goes its
// part goes to the next. EINVAL: there are no such shards.
func (p *Pool) ListenShard(local wire.Endpoint, at, of int) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if err := p.may(local); err != nil && !local.Addr.IsZero() {
		return err
	}
	if p.ended || local.Port == 0 || of < 0 || of > MaxShards || at < 0 || at > 0 && at >= of {
		return unix.EINVAL
	}
	keys := shardKeys(local, at, of)
	for i, k := range keys {
		if confirmed, ok := p.listeners[k]; ok && !confirmed {
			p.listeners[k] = true
			continue
		}
		err := p.m.joinShards(k, of)
		if err == nil {
			err = mapError(p.m.kernel.Listeners.Update(k, p.owner(), ebpf.UpdateNoExist))
		}
		if err != nil {
			for _, done := range keys[:i] {
				p.unlisten(done)
			}
			return err
		}
		p.listeners[k] = true
		if err := p.m.openShards(k, of); err != nil {
			for _, done := range keys[:i+1] {
				p.unlisten(done)
			}
			return err
		}
	}
	return nil
}

// Unlisten takes back what Listen has given; connections stay.
func (p *Pool) Unlisten(local wire.Endpoint) error { return p.UnlistenShard(local, 0, 0) }

// UnlistenShard takes back what ListenShard has given.
func (p *Pool) UnlistenShard(local wire.Endpoint, at, of int) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	for _, k := range shardKeys(local, at, of) {
		if _, ok := p.listeners[k]; !ok {
			return unix.ENOENT
		}
		p.unlisten(k)
	}
	return nil
}

func (p *Pool) unlisten(k kernelListener) {
	p.m.kernel.Listeners.Delete(k)
	delete(p.listeners, k)
	p.m.closeShards(k)
}

// Connect gives the pool what comes from the remote end of a flow to its local end, and
// lets it send the reverse. It says nothing of the lists: see Permit. Of a pool that
// was taken over it confirms what is there. Errors: EADDRINUSE, EADDRNOTAVAIL, ENOBUFS.
func (p *Pool) Connect(f wire.Flow) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.ended || f.Local.Port == 0 || f.Remote.Port == 0 || f.Remote.Addr.IsZero() || f.Local.Addr.Is4() != f.Remote.Addr.Is4() {
		return unix.EINVAL
	}
	k := keyFlow(f)
	if confirmed, ok := p.flows[k]; ok && !confirmed {
		p.flows[k] = true
		return nil
	}
	return p.own(k, f, ebpf.UpdateNoExist)
}

// own makes a flow the pool's. The caller holds the lock.
func (p *Pool) own(k kernelFlow, f wire.Flow, how ebpf.MapUpdateFlags) error {
	if err := p.may(f.Local); err != nil {
		return err
	}
	o := p.owner()
	if p.m.isLocal(f.Remote.Addr) {
		o.Inside = 1
	}
	if err := mapError(p.m.kernel.Flows.Update(k, o, how)); err != nil {
		return err
	}
	p.flows[k] = true
	return nil
}

// Disconnect takes back what Connect has given.
func (p *Pool) Disconnect(f wire.Flow) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	k := keyFlow(f)
	if _, ok := p.flows[k]; !ok {
		return unix.ENOENT
	}
	return p.disconnect(k)
}

func (p *Pool) disconnect(k kernelFlow) error {
	delete(p.flows, k)
	return p.m.kernel.Flows.Delete(k)
}

// may reports whether the host has an address that a pool wants.
func (p *Pool) may(local wire.Endpoint) error {
	if !p.m.isLocal(local.Addr) {
		return unix.EADDRNOTAVAIL
	}
	return nil
}

func (p *Pool) owner() kernelOwner { return kernelOwner{Tap: uint32(p.tap)} }

// mapError translates what a map says into what a socket would.
func mapError(err error) error {
	switch {
	case errors.Is(err, ebpf.ErrKeyExist):
		return unix.EADDRINUSE
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOMEM):
		return unix.ENOBUFS
	}
	return err
}

// Close ends the pool: nothing comes to it or leaves it any more, and its TAP goes,
// whoever has a descriptor of it.
func (p *Pool) Close() error {
	return p.m.place.do(func() error {
		p.m.mu.Lock()
		defer p.m.mu.Unlock()
		if p.ended {
			return nil
		}
		return p.end()
	})
}

// end takes all away that the pool has. The caller holds the lock.
func (p *Pool) end() error {
	for k := range p.listeners {
		p.unlisten(k)
	}
	for k := range p.flows {
		p.disconnect(k)
	}
	for block := range p.leases {
		p.unlease(block)
	}
	p.ended = true
	delete(p.m.pools, p.tap)
	p.undo()
	err := p.m.routes.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: p.tap, Name: p.name}})
	if errors.Is(err, unix.ENODEV) { // it was nobody's but ours
		return nil
	}
	return err
}

func (p *Pool) String() string { return "pool " + strconv.Itoa(int(p.vci)) + " at " + p.name }
