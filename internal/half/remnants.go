package half

import (
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Remnants returns what is left of the connections when all that there are is in
// TIME-WAIT and the application has ended: then somebody else can keep them, and
// nobody needs this segment any more. As long as there is more it returns none.
func (b *Bottom) Remnants() (rs []tcp.Remnant) {
	b.Change(func() {
		if !b.ended {
			return
		}
		for i := range min(b.ctl.conns.Fresh, MaxConns) {
			if b.aux[i].use == useFree {
				continue
			}
			r, ok := b.conns[i].Remnant()
			if !ok || b.aux[i].use != useOrphan {
				rs = nil
				return
			}
			rs = append(rs, r)
		}
	})
	return rs
}

// Retire ends a connection in TIME-WAIT whose remnant somebody else keeps.
func (b *Bottom) Retire(flow wire.Flow) {
	b.Change(func() {
		if i := b.lookup(&flow); i != none && b.conns[i].State == tcp.TimeWait {
			b.fail(i, tcp.ErrNone)
		}
	})
}
