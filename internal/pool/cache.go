package pool

// Cache is the paper's buffer cache (section 4.5.1): "a list of Jetstream buffers which
// are not currently in use on the associated pool". Each half of an application has one
// of each set of buffers, in the segment, so that the death of a half loses none. A
// buffer comes from there if there is one; if not, a few are taken from the set at
// once. One that is given back goes there, while there is room.
//
// What lies in a cache is nobody else's. So it is emptied when its half has not used it
// for a while, and before a buffer is refused to the other half.
type Cache struct {
	Head  uint32 // the first buffer, if there are any; they are linked like free ones
	Count uint32
	Stats CacheStats
	uses  uint64 // hits and misses when FlushIdle looked last
}

// CacheStats count what a cache did.
type CacheStats struct {
	Hits    uint64 // buffers that came from it
	Misses  uint64 // times that it was empty, and filled
	Flushes uint64 // times that it was emptied
}

// Plus returns the sums.
func (s CacheStats) Plus(t CacheStats) CacheStats {
	return CacheStats{s.Hits + t.Hits, s.Misses + t.Misses, s.Flushes + t.Flushes}
}

// Limits of a cache.
const (
	cacheFill = 8  // buffers taken at once
	cacheMost = 32 // buffers
)

// UseCache makes buffers come from the cache of a half, 0 or 1.
func (b *Buffers) UseCache(half int) { b.cache = &b.list.Caches[half] }

// cached returns how many buffers lie in the caches.
func (b *Buffers) cached() int { return int(b.list.Caches[0].Count + b.list.Caches[1].Count) }

// Dry reports whether the next buffer does not come from the cache: who can take some
// back first had better do so.
func (b *Buffers) Dry() bool { return b.cache != nil && b.cache.Count == 0 }

// allocCached takes a buffer from the cache, or None.
func (b *Buffers) allocCached() uint32 {
	c := b.cache
	if c.Count == 0 && !b.fillCache() {
		return None
	}
	c.Stats.Hits++
	return b.uncache(c)
}

func (b *Buffers) uncache(c *Cache) uint32 {
	i := c.Head
	c.Head = b.links[i]
	c.Count--
	return i
}

// fillCache takes a few buffers from the set, as far as the limit allows. If it allows
// none what the other half's cache has counts as free.
func (b *Buffers) fillCache() bool {
	c := b.cache
	c.Stats.Misses++
	room := int(b.list.Limit) - b.Used() - b.cached()
	if room <= 0 || b.list.Free.Free == 0 {
		b.FlushCaches()
		room = int(b.list.Limit) - b.Used()
	}
	for n := min(room, cacheFill); n > 0; n-- {
		i := b.list.Free.Alloc(b.links)
		if i == None {
			break
		}
		b.cache.put(b.links, i)
	}
	return c.Count > 0
}

// put puts buffer i into the cache.
func (c *Cache) put(links []uint32, i uint32) {
	links[i] = c.Head
	c.Head = i
	c.Count++
}

// giveBack frees buffer i.
func (b *Buffers) giveBack(i uint32) {
	if c := b.cache; c != nil && c.Count < cacheMost && b.Used()+b.cached() <= int(b.list.Limit) {
		c.put(b.links, i)
		return
	}
	b.list.Free.Release(b.links, i)
}

// FlushCaches empties both halves' caches.
func (b *Buffers) FlushCaches() {
	for k := range b.list.Caches {
		b.flush(&b.list.Caches[k])
	}
}

func (b *Buffers) flush(c *Cache) {
	if c.Count == 0 {
		return
	}
	if c.Count > cacheMost {
		panic("BUG: more buffers in a cache than it has room for")
	}
	c.Stats.Flushes++
	for c.Count > 0 {
		b.list.Free.Release(b.links, b.uncache(c))
	}
}

// FlushIdle empties the caches that have not been used since the last call.
func (b *Buffers) FlushIdle() {
	for k := range b.list.Caches {
		c := &b.list.Caches[k]
		uses := c.Stats.Hits + c.Stats.Misses
		if uses == c.uses {
			b.flush(c)
		}
		c.uses = uses
	}
}

// CacheStats returns what both halves' caches did.
func (b *Buffers) CacheStats() CacheStats {
	return b.list.Caches[0].Stats.Plus(b.list.Caches[1].Stats)
}

// Cacher is a Driver whose buffers for sending can come from caches.
type Cacher interface {
	UseCaches(half int)
	FlushIdle()
	CacheStats() CacheStats
}
