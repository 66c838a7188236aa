package tcp

import (
	"errors"
	"strconv"

	"usertcp/internal/seq"
)

// CheckInvariants returns an error that names the first thing found that cannot
// be in a connection between two steps. It walks all queues: it is for tests, the
// simulator and the repair of a segment, not for the hot path.
func (c *Conn) CheckInvariants(m *Memory) error {
	for _, check := range [...]func(*Memory) error{
		c.checkState, c.checkAnnex, c.checkSender, c.checkBoard, c.checkReceiver, c.checkRanges, c.checkTimers,
	} {
		if err := check(m); err != nil {
			return errors.New("in " + c.State.String() + ": " + err.Error())
		}
	}
	return nil
}

// claim is something that must hold, and its name.
type claim struct {
	holds bool
	name  string
}

func firstBroken(claims ...claim) error {
	for _, x := range claims {
		if !x.holds {
			return errors.New("broken: " + x.name)
		}
	}
	return nil
}

func (c *Conn) checkState(*Memory) error {
	fin := c.has(flagFinQueued)
	received := c.has(flagFinReceived)
	switch c.State {
	case Closed:
		return firstBroken(
			claim{c.timers.next == 0, "no timer runs"},
			claim{c.SndQ.Count == 0, "nothing is left to send"},
			claim{c.pending&^(pendReset|pendRefuse) == 0, "nothing but RST is owed"})
	case Established:
		return firstBroken(claim{!fin && !received, "no FIN either way"})
	case FinWait1:
		return firstBroken(claim{fin && !received && !c.finAcked(), "our FIN is not acknowledged, the peer's has not come"})
	case FinWait2:
		return firstBroken(claim{fin && !received && c.finAcked(), "our FIN is acknowledged, the peer's has not come"})
	case CloseWait:
		return firstBroken(claim{!fin && received, "the peer's FIN has come, ours not gone"})
	case Closing, LastAck:
		return firstBroken(claim{fin && received && !c.finAcked(), "both FINs, ours not acknowledged"})
	case TimeWait:
		return firstBroken(
			claim{fin && received && c.finAcked(), "both FINs, ours acknowledged"},
			claim{c.armed(timerLife), "the 2 MSL timer runs"})
	}
	return nil
}

func (c *Conn) checkSender(m *Memory) error {
	s := &c.snd
	if c.State < Established {
		return nil
	}
	last := s.end
	if c.has(flagFinQueued) {
		last = last.Add(1)
	}
	unacked := uint32(0)
	if s.una.Before(s.end) {
		unacked = uint32(s.end.From(s.una))
	}
	if err := firstBroken(
		claim{s.una.AtOrBefore(s.nxt), "una =< nxt"},
		claim{s.nxt.AtOrBefore(last), "nxt =< end, or end+1 with FIN"},
		claim{c.SndQ.Bytes-s.head == unacked, "SndQ holds una to end"},
		claim{s.una == s.nxt || c.armed(timerResend), "what is in flight is watched by the timer"},
		claim{s.mss > 0 && s.mss <= max(uint32(c.Opt.MSS), uint32(c.path.max)), "0 < mss =< our own, or what the route has come to carry"},
		claim{c.cc.cwnd >= s.mss, "cwnd >= mss"},
		claim{c.loss.phase <= phaseLoss, "a known phase"},
		claim{c.loss.phase == phaseOpen || s.una.Before(c.loss.recover), "recovery ends when una reaches recover"},
	); err != nil {
		return err
	}
	return c.checkSendQueue(m)
}

// checkBoard checks the scoreboard against what is in flight, and its counts
// against its runs.
func (c *Conn) checkBoard(m *Memory) error {
	b := c.board
	if c.State < Established || !c.has(flagSACK) {
		return firstBroken(claim{b.n == 0 && b.lost|b.sacked == 0, "no scoreboard without SACK"})
	}
	if b.n > b.most() {
		return errors.New("broken: the number of runs")
	}
	at := b.una
	for _, r := range b.view(m) {
		if err := firstBroken(
			claim{r.end.After(at), "no run is empty"},
			claim{r.at&sentSacked == 0 || r.at&sentLost == 0, "what has arrived is not lost"},
		); err != nil {
			return err
		}
		at = r.end
	}
	b.count(m)
	return firstBroken(
		claim{b.una == c.snd.una && at == c.snd.nxt, "the scoreboard reaches from una to nxt"},
		claim{b.sacked == c.board.sacked && b.lost == c.board.lost && b.again == c.board.again, "its counts are those of its runs"},
		claim{b.lost == 0 || c.loss.phase != phaseOpen, "what is lost is recovered"},
		claim{c.rack.fack.AtOrAfter(b.una) && c.rack.fack.AtOrBefore(at), "the highest delivered octet lies from una to nxt"},
		claim{c.probing <= probeResent, "a known kind of probe"},
		claim{!c.has(flagReorderTimer) || c.armed(timerLoss), "the reordering timer runs"},
		claim{c.undo.frto == frtoNone || c.loss.phase == phaseLoss, "F-RTO follows a timeout"},
	)
}

func (c *Conn) checkSendQueue(m *Memory) error {
	s := &c.snd
	if c.SndQ.Count == 0 {
		return firstBroken(claim{s.head == 0 && s.next.chunk == None, "the cursors of an empty queue"})
	}
	first := m.Chunks[c.SndQ.Head]
	if c.loss.phase == phaseLoss && !c.has(flagSACK) && s.againSeq.Before(seq.Min(c.loss.recover, s.end)) {
		at := m.Chunks[s.again.chunk].Seq.Add(seq.Size(s.again.off))
		if err := firstBroken(
			claim{s.una.AtOrBefore(s.againSeq), "una =< againSeq"},
			claim{at == s.againSeq, "the cursor is where againSeq is"},
		); err != nil {
			return err
		}
	}
	if err := firstBroken(
		claim{first.Seq.Add(seq.Size(s.head)) == s.una, "head is where una is"},
		claim{s.head < first.Len, "the head chunk is needed"},
		claim{m.Chunks[s.next.chunk].Seq.Add(seq.Size(s.next.off)) == seq.Min(s.nxt, s.end), "the cursor is where nxt is"},
	); err != nil {
		return err
	}
	return checkQueue(m, &c.SndQ, first.Seq, "SndQ")
}

// checkQueue walks a queue whose first octet must be s.
func checkQueue(m *Memory, q *Queue, s seq.Number, name string) error {
	if q.Count == 0 {
		return firstBroken(claim{q.Bytes == 0, name + " without chunks has no octets"})
	}
	i, n := q.Head, uint32(0)
	for k := range q.Count {
		if i >= uint32(len(m.Chunks)) {
			return errors.New(name + ": no such chunk: " + strconv.Itoa(int(i)))
		}
		ch := &m.Chunks[i]
		if ch.Seq != s.Add(seq.Size(n)) || ch.Len == 0 {
			return errors.New(name + ": chunk " + strconv.Itoa(int(k)) + " does not follow the one before it")
		}
		n += ch.Len
		if k == q.Count-1 && i != q.Tail {
			return errors.New(name + ": the last chunk is not the tail")
		}
		i = ch.Next
	}
	return firstBroken(claim{n == q.Bytes, name + ".Bytes is the sum of its chunks"})
}

func (c *Conn) checkReceiver(m *Memory) error {
	r := &c.rcv
	if c.State < SynReceived && c.State != Closed {
		return nil
	}
	// The buffer may have been made smaller since: what was promised stays so.
	over := seq.Size(maxBuffer/8 + 1<<r.scale)
	if err := firstBroken(
		claim{r.nxt.AtOrBefore(r.edge), "nxt =< edge"},
		claim{r.acked.AtOrBefore(r.nxt), "acked =< nxt"},
		claim{c.RcvHead <= c.RcvQ.Bytes, "not more read than was there"},
		claim{r.edge.From(r.nxt) <= maxBuffer+65535+over, "the window is no larger than a buffer can be"},
	); err != nil {
		return err
	}
	if c.RcvQ.Count == 0 {
		return firstBroken(claim{c.RcvQ.Bytes == 0 && c.RcvHead == 0, "an empty RcvQ is empty"})
	}
	first := m.Chunks[c.RcvQ.Head]
	end := first.Seq.Add(seq.Size(c.RcvQ.Bytes))
	if c.has(flagFinReceived) {
		end = end.Add(1)
	}
	if err := firstBroken(
		claim{c.RcvHead < first.Len, "the first chunk of RcvQ is needed"},
		claim{end == r.nxt, "RcvQ ends at rcv.nxt"},
	); err != nil {
		return err
	}
	return checkQueue(m, &c.RcvQ, first.Seq, "RcvQ")
}

func (c *Conn) checkRanges(m *Memory) error {
	o := &c.ooo
	if o.n > o.most() {
		return errors.New("broken: the number of ranges")
	}
	before := c.rcv.nxt
	for _, r := range o.view(m) {
		if err := firstBroken(
			claim{r.start.After(before), "a gap before each range"},
			claim{r.end.After(r.start), "no range is empty"},
			claim{r.end.AtOrBefore(c.rcv.edge), "no range beyond the edge"},
		); err != nil {
			return err
		}
		q := r.queue()
		if err := checkQueue(m, &q, r.start, "range"); err != nil {
			return err
		}
		before = r.end
	}
	return c.checkBlocks(m)
}

// checkBlocks checks that what the peer is told of is there.
func (c *Conn) checkBlocks(m *Memory) error {
	o := &c.ooo
	if int(o.blocks) > len(o.recent) || o.n > 0 && o.blocks == 0 {
		return errors.New("broken: the number of SACK blocks")
	}
	for _, b := range o.recent[:o.blocks] {
		i := o.find(m, b.Start)
		if i == o.n || o.view(m)[i].start != b.Start || o.view(m)[i].end != b.End {
			return errors.New("broken: a SACK block is an out-of-order range")
		}
	}
	return nil
}

// checkAnnex checks that whoever has an annex knows where it is, and needs it.
func (c *Conn) checkAnnex(m *Memory) error {
	b, o := &c.board.at, &c.ooo.at
	return firstBroken(
		claim{b.home == c.Annex && o.home == c.Annex, "both parts know the annex"},
		claim{int(c.Annex) <= len(m.Annexes), "there is such an annex"},
		claim{c.Annex != 0 || b.far|o.far == 0, "nothing lies in no annex"},
		claim{c.State != Closed || c.Annex == 0, "a closed connection has no annex"})
}

func (c *Conn) checkTimers(*Memory) error {
	t := c.timers
	t.findNext()
	return firstBroken(claim{t.next == c.timers.next, "the deadline is the earliest timer"})
}
