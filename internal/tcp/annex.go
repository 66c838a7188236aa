package tcp

// An Annex holds what a connection knows of many gaps at once: more runs of the
// scoreboard and more out-of-order ranges than its Conn has room for. Few
// connections need one, and those only while they lose much: the half gives an
// annex to a connection that wants one (WantsAnnex, GiveAnnex), and takes it back
// when it is Spent. A connection that gets none makes do with its Conn.
//
// Each part has two sides, so that a step can be undone by putting back the Conn
// alone: the first time that a step changes a part it writes all of it to the
// other side, and turns to it. What the Conn before the step refers to stays as
// it was.
type Annex struct {
	runs   [2][maxRuns]sent
	ranges [2][maxRanges]oooRange
}

const (
	maxRuns   = 1024 // of a scoreboard: about half as many gaps
	maxRanges = 512  // out of order

	nearRuns   = 16 // of those, in a Conn
	nearRanges = 6

	// From here on a connection wants an annex; it is early, as one segment can bring
	// several.
	wantRuns   = nearRuns / 2
	wantRanges = nearRanges - 2

	// Down to here it goes back to its Conn.
	backRuns   = nearRuns / 4
	backRanges = nearRanges / 2
)

// place says where one part of a connection lies.
type place struct {
	home  uint32 // index+1 of the annex that the connection has, 0 for none
	far   uint8  // 1: the part lies there, and not in the Conn
	side  uint8  // on that side
	fresh uint8  // 1: nobody but the present step knows of this side
	_     uint8
}

// turn returns the side that the step is to write. It is another one than before
// if the step has not turned yet.
func (p *place) turn() uint8 {
	if p.fresh == 0 {
		p.side ^= 1
		p.fresh = 1
	}
	return p.side
}

// move makes the annex the place from now on, and returns the side to write.
func (p *place) move() uint8 {
	p.far = 1
	return p.turn()
}

// WantsAnnex reports whether the connection should be given an annex.
func (c *Conn) WantsAnnex() bool {
	return c.Annex == 0 && (c.board.n >= wantRuns || c.ooo.n >= wantRanges)
}

// GiveAnnex is a step of its own: the connection, which wants one, has
// m.Annexes[i] from now on.
func (c *Conn) GiveAnnex(m *Memory, i uint32) {
	c.begin()
	if c.Annex != 0 {
		panic("BUG: a second annex")
	}
	c.Annex = i + 1
	c.board.at.home, c.ooo.at.home = c.Annex, c.Annex
	if c.board.n >= wantRuns {
		c.board.spill(m)
	}
	if c.ooo.n >= wantRanges {
		c.ooo.spill(m)
	}
}

// leaveAnnex gives the annex back if nothing lies there any more.
func (c *Conn) leaveAnnex() {
	if c.Annex == 0 || c.board.at.far|c.ooo.at.far != 0 {
		return
	}
	c.Spent, c.Annex = c.Annex, 0
	c.board.at, c.ooo.at = place{}, place{}
}

// unturned begins a step, which has not turned to any side yet.
func (c *Conn) unturned() {
	if c.Annex != 0 {
		c.board.at.fresh, c.ooo.at.fresh = 0, 0
	}
}

// spill moves the runs to the annex.
func (b *scoreboard) spill(m *Memory) {
	copy(m.Annexes[b.at.home-1].runs[b.at.move()&1][:], b.near[:b.n])
}

// view returns the runs, for reading.
func (b *scoreboard) view(m *Memory) []sent {
	if b.at.far == 0 {
		return b.near[:b.n]
	}
	return m.Annexes[b.at.home-1].runs[b.at.side&1][:b.n]
}

// turn returns the places for runs, for writing: what was in them does not count.
func (b *scoreboard) turn(m *Memory) []sent {
	if b.at.far == 0 {
		return b.near[:]
	}
	return m.Annexes[b.at.home-1].runs[b.at.turn()&1][:]
}

// edit returns the places for runs, for writing: in the first n are the runs.
func (b *scoreboard) edit(m *Memory) []sent {
	old := b.view(m)
	if b.at.far == 0 || b.at.fresh != 0 {
		return old[:cap(old)]
	}
	rs := b.turn(m)
	copy(rs, old)
	return rs
}

// replace makes rs, which may be a part of what there is, the runs.
func (b *scoreboard) replace(m *Memory, rs []sent) {
	if b.at.far != 0 && len(rs) <= backRuns {
		b.at.far = 0
	}
	b.n = uint32(copy(b.turn(m), rs))
}

// spill moves the ranges to the annex.
func (o *reassembly) spill(m *Memory) {
	copy(m.Annexes[o.at.home-1].ranges[o.at.move()&1][:], o.near[:o.n])
}

// view returns the ranges, for reading.
func (o *reassembly) view(m *Memory) []oooRange {
	if o.at.far == 0 {
		return o.near[:o.n]
	}
	return m.Annexes[o.at.home-1].ranges[o.at.side&1][:o.n]
}

// turn returns the places for ranges, for writing: what was in them does not
// count.
func (o *reassembly) turn(m *Memory) []oooRange {
	if o.at.far == 0 {
		return o.near[:]
	}
	return m.Annexes[o.at.home-1].ranges[o.at.turn()&1][:]
}

// edit returns the places for ranges, for writing: in the first n are the ranges.
func (o *reassembly) edit(m *Memory) []oooRange {
	old := o.view(m)
	if o.at.far == 0 || o.at.fresh != 0 {
		return old[:cap(old)]
	}
	rs := o.turn(m)
	copy(rs, old)
	return rs
}

// replace makes rs, which may be a part of what there is, the ranges.
func (o *reassembly) replace(m *Memory, rs []oooRange) {
	if o.at.far != 0 && len(rs) <= backRanges {
		o.at.far = 0
	}
	o.n = uint32(copy(o.turn(m), rs))
}
