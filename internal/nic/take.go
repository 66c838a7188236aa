package nic

import (
	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// TakeListener gives the pool what another pool has by Listen, so that no packet finds
// neither. ENOENT: that pool has it not.
func (p *Pool) TakeListener(from *Pool, local wire.Endpoint) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.ended || from.m != p.m {
		return unix.EINVAL
	}
	for _, k := range listenerKeys(local) {
		if p.listeners[k] {
			continue // it was taken before
		}
		if _, ok := from.listeners[k]; !ok {
			return unix.ENOENT
		}
		if err := mapError(p.m.kernel.Listeners.Update(k, p.owner(), ebpf.UpdateExist)); err != nil {
			return err
		}
		delete(from.listeners, k)
		p.listeners[k] = true
	}
	return nil
}

// TakeFlow gives the pool a connection that another pool has, by Connect or since it
// came in where that listens.
func (p *Pool) TakeFlow(from *Pool, f wire.Flow) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.ended || from.m != p.m {
		return unix.EINVAL
	}
	k := keyFlow(f)
	if p.flows[k] {
		return nil
	}
	how := ebpf.UpdateNoExist
	if _, ok := from.flows[k]; ok {
		how = ebpf.UpdateExist
	}
	if err := p.own(k, f, how); err != nil {
		return err
	}
	delete(from.flows, k)
	return nil
}
