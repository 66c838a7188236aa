package server

import (
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Ports are leased in blocks, and so the book of TIME-WAITs is asked about blocks: how
// many connections in TIME-WAIT had a port there, and when the last of them began to
// wait.

// waitBlockPorts is the number of ports in the smallest block that is asked about; all
// others are multiples of it.
const waitBlockPorts = nic.LeasePorts

const numWaitBlocks = 65536 / waitBlockPorts

var _ [0]struct{} = [ring.LeasePorts % waitBlockPorts]struct{}{}

// blockWaits are the connections in TIME-WAIT with a port in one block.
type blockWaits struct {
	flows map[wire.Flow]int // whose they were: user, or nobody
	last  tcp.Time          // when the last one ends that there was
}

func waitBlock(port uint16) int { return int(port) / waitBlockPorts }

// note takes a remnant into account that is there already.
func (b *blockWaits) note(r *tcp.Remnant) { b.last = max(b.last, r.End) }

// nobody is the user of a connection that goes along with no block: one by the ring, or one
// of which only the server before knew whose it was.
const nobody = -1

// note puts a remnant of a user's into the book. w.mu is held, or w is nobody else's yet.
func (w *timeWaits) note(r *tcp.Remnant, uid int) {
	b := &w.blocks[waitBlock(r.Flow.Local.Port)]
	if b.flows == nil {
		b.flows = make(map[wire.Flow]int)
	}
	b.flows[r.Flow] = uid
	kept := *r
	w.byFlow[r.Flow] = &kept
	b.note(r)
}

// since returns for how long all connections with one of n ports from first on, of which
// both are multiples of waitBlockPorts, have been in TIME-WAIT; TimeWaitLength if there
// is none.
func (w *timeWaits) since(first, n uint16) tcp.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	least, now := tcp.Time(tcp.TimeWaitLength), clock()
	for i := range int(n) / waitBlockPorts {
		if b := &w.blocks[waitBlock(first)+i]; len(b.flows) > 0 {
			least = min(least, now-(b.last-tcp.TimeWaitLength))
		}
	}
	return least
}

// vacate ends TIME-WAIT of all connections with one of n ports at an address on the ring.
func (w *timeWaits) vacate(first, n uint16, onRing func(wire.Addr) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range int(n) / waitBlockPorts {
		for f := range w.blocks[waitBlock(first)+i].flows {
			if onRing(f.Local.Addr) {
				w.forget(f)
			}
		}
	}
}

// ports returns the ports of a block, bit n for port first+n, that connections in TIME-WAIT
// have, and those among them that have one which was not the user's.
func (w *timeWaits) ports(first uint16, uid int) (all, others uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f, whose := range w.blocks[waitBlock(first)].flows {
		bit := uint64(1) << (f.Local.Port % waitBlockPorts)
		all |= bit
		if whose == nobody || whose != uid {
			others |= bit
		}
	}
	return all, others
}

// takeOut takes those connections of a user's out of the book that have one of some ports of
// a block: they are another's to keep, also when there is another server.
func (w *timeWaits) takeOut(first uint16, ports uint64, uid int) (rs []tcp.Remnant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b []byte
	for f, whose := range w.blocks[waitBlock(first)].flows {
		if ports>>(f.Local.Port%waitBlockPorts)&1 == 0 || whose == nobody || whose != uid {
			continue
		}
		r := *w.byFlow[f]
		w.forget(f)
		rs = append(rs, r)
		r.End = 0
		b = r.Append(b)
	}
	w.records += len(rs)
	w.file.Write(b)
	return rs
}
