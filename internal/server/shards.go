package server

import (
	"hash/maphash"
	"slices"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/nic"
	"usertcp/internal/wire"
)

// A program may have several segments, each with a child: its shards. A listener is
// one socket in each of them then, and all have the same local end, as with the
// kernel's SO_REUSEPORT: they must be the same user's, say of the same number of shards
// that they are, and be different ones of them. SYNs come when the last listens, so that
// a connection's segments do not go to another shard in the middle; a hash of the
// connection says to which. When a shard has gone its part goes to the next.

// The devices' program and the messages know of as many shards.
const (
	_ = uint(nic.MaxShards - message.MaxShards)
	_ = uint(message.MaxShards - nic.MaxShards)
)

// shard is which of how many a binding is: 0 of 0 if it has its end to itself.
type shard struct {
	at, of int
	uid    int
	open   bool // all listen, or have listened
}

// shardOf returns what a message says of a user's binding.
func shardOf(how message.BindHow, uid int) shard {
	at, of := how.Shard()
	return shard{at: at, of: of, uid: uid}
}

// joins reports whether two bindings are shards of one listener.
func (b *binding) joins(local *wire.Endpoint, s *shard) bool {
	return b.local == *local && s.of > 0 && b.shard.of == s.of && b.shard.at != s.at && b.shard.uid == s.uid
}

// hears reports whether SYNs go to a binding.
func (b *binding) hears() bool { return b.listening && (b.shard.of == 0 || b.shard.open) }

// shared reports whether there are other shards. The caller holds the mutex.
func (p *portSpace) shared(b *binding) bool {
	return slices.ContainsFunc(p.byPort[b.local.Port], func(other *binding) bool { return other.joins(&b.local, &b.shard) })
}

// how returns how the end was taken, for who takes it over.
func (b *binding) how() message.BindHow {
	how := message.BindShard(b.shard.at, b.shard.of)
	if b.reuse {
		how |= message.BindReuse
	}
	return how
}

// openShards lets SYNs come for a listener if all its shards are there.
func (p *portSpace) openShards(b *binding) {
	var all []*binding
	for _, other := range p.byPort[b.local.Port] {
		if other.listening && (other == b || other.joins(&b.local, &b.shard)) {
			all = append(all, other)
		}
	}
	if len(all) == b.shard.of {
		for _, s := range all {
			s.shard.open = true
		}
	}
}

// flowHash spreads connections over shards. Who does not know the seed, which each server
// has its own of, can't choose the shard.
var flowSeed = maphash.MakeSeed()

func flowHash(f wire.Flow) uint64 { return maphash.Comparable(flowSeed, f) }

// distance is how many shards lie between the one that a connection's hash names and b.
func (b *binding) distance(hash uint64) int {
	if b.shard.of == 0 {
		return 0
	}
	of := uint64(b.shard.of)
	return int((uint64(b.shard.at) + of - hash%of) % of)
}

// siblingPoints returns copies of the kernel's bind points of another shard, nil if there
// is none: bound twice they can't be.
func (p *portSpace) siblingPoints(id socketID) (points []int, errno unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bindings[id]
	for _, other := range p.byPort[b.local.Port] {
		if !other.joins(&b.local, &b.shard) || len(other.points) == 0 {
			continue
		}
		for _, fd := range other.points {
			mine, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				message.CloseFiles(points)
				return nil, errnoOf(err)
			}
			points = append(points, mine)
		}
		return points, 0
	}
	return nil, 0
}
