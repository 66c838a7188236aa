package nic

import "fmt"

// Counters returns what became of the frames that arrived by the devices since the
// maps were made, maybe by a server before this.
func (m *Manager) Counters() (Counters, error) {
	var each []kernelDeviceCounters
	var sum Counters
	if err := m.kernel.Counters.Lookup(uint32(0), &each); err != nil {
		return sum, fmt.Errorf("counters: %w", err)
	}
	for _, c := range each {
		sum.Passed += c.Passed
		sum.Delivered += c.Delivered
		sum.Errors += c.Errors
		sum.Fragments += c.Fragments
		sum.Tagged += c.Tagged
		sum.Strange += c.Strange
		sum.Orphaned += c.Orphaned
		sum.Denied += c.Denied
	}
	return sum, nil
}

// Counters returns what became of the pool's frames.
func (p *Pool) Counters() (PoolCounters, error) {
	var each []kernelPoolCounters
	var sum PoolCounters
	if err := p.m.kernel.Pools.Lookup(uint32(p.tap), &each); err != nil {
		return sum, fmt.Errorf("counters of %v: %w", p, err)
	}
	for _, c := range each {
		sum.In += c.In
		sum.InOctets += c.InOctets
		sum.Errors += c.Errors
		sum.Out += c.Out
		sum.OutOctets += c.OutOctets
		sum.Malformed += c.Malformed
		sum.Foreign += c.Foreign
		sum.Denied += c.Denied
		sum.TooBig += c.TooBig
		sum.NoRoute += c.NoRoute
		sum.Unserved += c.Unserved
	}
	l, err := p.m.routes.LinkByIndex(p.tap)
	if err != nil {
		return sum, fmt.Errorf("counters of %v: %w", p, err)
	}
	if s := l.Attrs().Statistics; s != nil {
		sum.InLost = s.TxDropped
	}
	return sum, nil
}
