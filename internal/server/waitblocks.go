package server

import (
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
)

// Ports are leased in blocks, and so the book of TIME-WAITs is asked about blocks: how
// many connections in TIME-WAIT had a port there, and when the last of them began to
// wait.

// waitBlockPorts is the number of ports in the smallest block that is asked about; all
// others are multiples of it.
const waitBlockPorts = nic.LeasePorts

const numWaitBlocks = 65536 / waitBlockPorts

var _ [0]struct{} = [ring.LeasePorts % waitBlockPorts]struct{}{}

// blockWaits sums up the connections in TIME-WAIT with a port in one block.
type blockWaits struct {
	n    int
	last tcp.Time // when the last one ends that there was
}

func waitBlock(port uint16) int { return int(port) / waitBlockPorts }

// note takes a remnant into account that is counted already.
func (b *blockWaits) note(r *tcp.Remnant) { b.last = max(b.last, r.End) }

// note puts a remnant into the book. w.mu is held, or w is nobody else's yet.
func (w *timeWaits) note(r *tcp.Remnant) {
	b := &w.blocks[waitBlock(r.Flow.Local.Port)]
	if _, again := w.byFlow[r.Flow]; !again {
		b.n++
	}
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
		if b := &w.blocks[waitBlock(first)+i]; b.n > 0 {
			least = min(least, now-(b.last-tcp.TimeWaitLength))
		}
	}
	return least
}

// vacate ends TIME-WAIT of all connections with one of n ports.
func (w *timeWaits) vacate(first, n uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range int(n) / waitBlockPorts {
		if w.blocks[waitBlock(first)+i].n > 0 {
			w.forgetPorts(first, n)
			return
		}
	}
}

// forgetPorts looks for the connections that vacate ends. w.mu is held.
func (w *timeWaits) forgetPorts(first, n uint16) {
	for f := range w.byFlow {
		if f.Local.Port-first < n {
			w.forget(f)
		}
	}
}
