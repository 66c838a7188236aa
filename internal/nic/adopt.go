package nic

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"usertcp/internal/wire"
)

// adopt takes over what a dead server has left: its pools as long as their processes
// live, and the addresses that it knew. What belongs to pools that are no more, and
// devices that are not to be served any more, go.
func (m *Manager) adopt() error {
	if err := m.adoptPools(); err != nil {
		return err
	}
	if err := errors.Join(m.adoptEntries(), m.adoptLeases()); err != nil {
		return err
	}
	var a kernelAddress
	var one uint32
	for all := m.kernel.Addresses.Iterate(); all.Next(&a, &one); {
		m.local[a.addr()] = true
	}
	return m.dropDevices()
}

// adoptPools finds the pools whose TAP is there.
func (m *Manager) adoptPools() error {
	var tap, vci uint32
	dead := map[uint32]bool{}
	all := m.kernel.Circuits.Iterate()
	for all.Next(&tap, &vci) {
		l, err := m.routes.LinkByIndex(int(tap))
		if tun, ok := l.(*netlink.Tuntap); err != nil || !ok || tun.Mode != netlink.TUNTAP_MODE_TAP {
			dead[tap] = true
			continue
		}
		ln, err := m.attachProgram(int(tap), m.kernel.UsertcpTemplate, tapPin)
		if err != nil {
			return fmt.Errorf("pool %d of the server before: %w", vci, err)
		}
		m.pools[int(tap)] = &Pool{
			m: m, vci: wire.VCI(vci), tap: int(tap), name: l.Attrs().Name, link: ln,
			flows: map[kernelFlow]bool{}, listeners: map[kernelListener]bool{}, leases: map[uint32]bool{},
		}
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("pools of the server before: %w", err)
	}
	for tap := range dead {
		m.kernel.Circuits.Delete(tap)
		m.kernel.Pools.Delete(tap)
	}
	return m.unpinDead()
}

// unpinDead removes the links of TAPs that have gone.
func (m *Manager) unpinDead() error {
	names, err := m.pins.names(tapPin)
	if err != nil {
		return err
	}
	for name, tap := range names {
		if m.pools[tap] == nil {
			if err := os.Remove(m.pins.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// adoptEntries gives flows and listeners to their pools.
func (m *Manager) adoptEntries() error {
	var f kernelFlow
	var l kernelListener
	var o kernelOwner
	var flows []kernelFlow
	var listeners []kernelListener
	all := m.kernel.Flows.Iterate()
	for all.Next(&f, &o) {
		if p := m.pools[int(o.Tap)]; p != nil {
			p.flows[f] = false
		} else {
			flows = append(flows, f)
		}
	}
	err := all.Err()
	all = m.kernel.Listeners.Iterate()
	for all.Next(&l, &o) {
		if p := m.pools[int(o.Tap)]; p != nil {
			p.listeners[l] = false
		} else if o.Shards == 0 {
			listeners = append(listeners, l)
		}
	}
	if err := errors.Join(err, all.Err()); err != nil {
		return fmt.Errorf("connections of the server before: %w", err)
	}
	for _, f := range flows {
		m.kernel.Flows.Delete(f)
	}
	for _, l := range listeners {
		m.kernel.Listeners.Delete(l)
		m.closeShards(l)
	}
	return nil
}

// dropDevices leaves the devices that only the server before was to serve, and lo's errors
// if lo is served itself.
func (m *Manager) dropDevices() error {
	if m.devices[loopback] != nil {
		old, err := m.pins.names(errorPin)
		for name := range old {
			err = errors.Join(err, os.Remove(m.pins.path(name)))
		}
		if err != nil {
			return err
		}
	}
	names, err := m.pins.names(devicePin)
	if err != nil {
		return err
	}
	for name, index := range names {
		l, err := m.routes.LinkByIndex(index)
		if err == nil && m.devices[l.Attrs().Name] != nil {
			continue
		}
		if err := os.Remove(m.pins.path(name)); err != nil {
			return err
		}
		if err := m.kernel.Devices.Delete(uint32(index)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}
