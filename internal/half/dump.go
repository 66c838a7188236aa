package half

import (
	"fmt"
	"io"

	"usertcp/internal/tcp"
)

// Dump writes what the segment holds, for a person to read.
func (t *Top) Dump(w io.Writer) {
	t.enter()
	defer t.leave()
	fmt.Fprintf(w, "counters %+v\n", t.ctl.Counters)
	fmt.Fprintf(w, "leading %v leader %p followers %v bell %v lists %v pending %v\n", t.leading, t.leader, t.followers.first() != nil, t.bell.Sleeper(), t.ctl.lists, t.drv.Pending())
	fmt.Fprintf(w, "chunks free %d rx used %d wheel %v now %v\n", t.ctl.chunks.Free, t.rx.Used(), t.wheel.deadline(), t.clock())
	if d, ok := t.drv.(interface{ Dump(w io.Writer) }); ok {
		d.Dump(w)
	}
	waiting := 0
	for i := range t.ctl.conns.Fresh {
		c, a := &t.conns[i], &t.aux[i]
		if a.use == useFree {
			continue
		}
		if c.State == tcp.TimeWait && c.SndQ.Count == 0 && c.RcvQ.Count == 0 {
			waiting++ // hundreds of them would bury what matters
			continue
		}
		fmt.Fprintf(w, "%d use %d state %v flow %v circuit %d room %d backlog %d lists %b out %v\n  %+v\n", i, a.use, c.State, c.Flow, a.circuit, t.drv.Room(a.circuit), t.drv.Backlog(a.circuit), a.inLists, c.HasOutput(), *c)
	}
	fmt.Fprintf(w, "and %d empty ones in TIME-WAIT\n", waiting)
}
