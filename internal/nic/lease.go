package nic

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// LeasePorts is the number of ports in a block of which a pool leases some or all; the
// first one is a multiple of it. It is LEASE_SHIFT of the programs.
const LeasePorts = 64

// leaseBlocks is LEASE_BLOCKS of the programs.
const leaseBlocks = 65536 / LeasePorts

// AllPorts is the mask of a block of which the pool gets all ports.
const AllPorts = ^uint64(0)

// Lease gives the pool those ports of a block of which a bit is set in ports, bit n for
// port first+n, at all addresses of the host: it opens connections from them without
// asking. The lists are asked about each SYN. The block's other ports stay whose they are.
// Of a pool that was taken over it confirms what is there, or changes its ports. Errors:
// EADDRINUSE, EINVAL.
func (p *Pool) Lease(first uint16, ports uint64) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.ended || first == 0 || first%LeasePorts != 0 || ports == 0 {
		return unix.EINVAL
	}
	block := uint32(first / LeasePorts)
	if confirmed, ok := p.leases[block]; !ok || confirmed {
		var o kernelOwner
		if err := p.m.kernel.Leases.Lookup(block, &o); err != nil {
			return err
		}
		if o.Tap != 0 {
			return unix.EADDRINUSE
		}
	}
	o := p.owner()
	o.Ports = ports
	if err := p.m.kernel.Leases.Put(block, o); err != nil {
		return err
	}
	p.leases[block] = true
	return nil
}

// Unlease takes a block back: what comes for its ports is the kernel's.
func (p *Pool) Unlease(first uint16) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	block := uint32(first / LeasePorts)
	if _, ok := p.leases[block]; !ok || first%LeasePorts != 0 {
		return unix.ENOENT
	}
	return p.unlease(block)
}

func (p *Pool) unlease(block uint32) error {
	delete(p.leases, block)
	return p.m.kernel.Leases.Put(block, kernelOwner{})
}

// adoptLeases gives the blocks that a dead server has leased to their pools.
func (m *Manager) adoptLeases() error {
	for block := range uint32(leaseBlocks) {
		var o kernelOwner
		if err := m.kernel.Leases.Lookup(block, &o); err != nil {
			return fmt.Errorf("leases of the server before: %w", err)
		}
		if o.Tap == 0 {
			continue
		}
		if p := m.pools[int(o.Tap)]; p != nil {
			p.leases[block] = false
		} else if err := m.kernel.Leases.Put(block, kernelOwner{}); err != nil {
			return fmt.Errorf("leases of the server before: %w", err)
		}
	}
	return nil
}
