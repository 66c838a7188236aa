package nic

// LeastMTU returns the smallest MTU of the devices that are served, in octets: what a
// packet to whoever comes by any of them may have. That of lo counts only if there is
// no other.
func (m *Manager) LeastMTU() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	least := maxPacket
	for name, d := range m.devices {
		if l, ok := m.links[d.index]; ok && name != loopback {
			least = min(least, l.mtu)
		}
	}
	return least
}
