package nic

import (
	"errors"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// MaxShards is how many pools may listen at one local end together.
const MaxShards = 16

// shardKeys returns the entries of a shard of a listener; of 0: the listener has but one.
func shardKeys(local wire.Endpoint, at, of int) []kernelListener {
	keys := listenerKeys(local)
	for i := range keys {
		if of > 0 {
			keys[i].Shard = uint16(at + 1)
		}
	}
	return keys
}

// door returns the entry that all of a listener's shards are found by.
func door(k kernelListener) kernelListener {
	k.Shard = 0
	return k
}

// joinShards checks that nobody has a shard's local end alone, or with others than these.
// The caller holds the lock, here as below.
func (m *Manager) joinShards(k kernelListener, of int) error {
	if of == 0 {
		return nil // then a door keeps it out
	}
	var o kernelOwner
	switch err := m.kernel.Listeners.Lookup(door(k), &o); {
	case err == nil && int(o.Shards) != of:
		return unix.EADDRINUSE
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return nil
	default:
		return err
	}
}

// openShards lets packets come for a listener whose shards are all there.
func (m *Manager) openShards(k kernelListener, of int) error {
	if of == 0 {
		return nil
	}
	for at := range of {
		k.Shard = uint16(at + 1)
		if !m.listens(k) {
			return nil
		}
	}
	return mapError(m.kernel.Listeners.Update(door(k), kernelOwner{Shards: uint16(of)}, ebpf.UpdateAny))
}

// closeShards takes the door away behind the last shard.
func (m *Manager) closeShards(k kernelListener) {
	if k.Shard != 0 && !m.anyShard(k) {
		m.kernel.Listeners.Delete(door(k))
	}
}

func (m *Manager) anyShard(k kernelListener) bool {
	for n := range MaxShards {
		if k.Shard = uint16(n + 1); m.listens(k) {
			return true
		}
	}
	return false
}

func (m *Manager) listens(k kernelListener) bool {
	var o kernelOwner
	return m.kernel.Listeners.Lookup(k, &o) == nil
}
