package half

import (
	"slices"

	"usertcp/internal/pool"
	"usertcp/internal/seq"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

type tcpSeq = seq.Number

const protoTCP = 6

// packet is a packet that has been parsed: addresses as this host sees them.
type packet struct {
	ip   wire.IP
	tcp  wire.TCP
	flow wire.Flow

	pathMTU uint16 // pool.Packet's, 0 if it is not known
}

// arrive takes a packet from the pool.
func (h *Half) arrive(p *pool.Packet) {
	h.ctl.Counters.PacketsIn++
	var k packet
	if !h.parse(p.Data[:p.Header], int(p.Header)+int(p.Payload), &k, p) || !p.Partial && !h.intact(p, &k) {
		h.release(p)
		return
	}
	h.hears(p.Circuit)
	if p.Circuit == pool.NIC {
		h.arr.SegSize = uint32(p.SegSize) // of no other circuit does the packet say
	}
	k.pathMTU = p.PathMTU
	i := h.owner(&k, p.Circuit, true)
	if i == none || !h.mayTake(i, p) {
		h.release(p)
		return
	}
	if p.Circuit == pool.NIC {
		h.crowds(i, p.Payload)
	}
	if i != h.next.conn {
		h.putBack(p)
	}
	h.foresee(i, p)
	h.bulk.arrived(i, p)
	if !h.take(p, &h.arr) {
		return
	}
	switch {
	case p.Placed > 0:
		h.inputPlaced(i, p)
	case p.Inline > 0 && h.wanted != nil:
		h.inputWanted(i, p)
	default:
		h.input(i)
	}
}

// parse reads the headers in b of a packet of total octets, and counts what is
// wrong with it. The rest of the packet is in p, nil if there is none.
func (h *Half) parse(b []byte, total int, k *packet, p *pool.Packet) bool {
	if wire.ParseIP(b, &k.ip) != nil || k.ip.TotalLen != total || k.ip.IsFragment() {
		h.ctl.Counters.BadIP++
		return false
	}
	if k.ip.Proto != protoTCP {
		h.notTCP(b, total, k, p)
		return false
	}
	n, err := wire.ParseTCP(b[k.ip.HeaderLen:], &k.tcp)
	if err != nil || k.ip.HeaderLen+n != len(b) {
		h.ctl.Counters.BadTCP++
		return false
	}
	k.flow = wire.Flow{
		Local:  wire.Endpoint{Addr: k.ip.Dst, Port: k.tcp.DstPort},
		Remote: wire.Endpoint{Addr: k.ip.Src, Port: k.tcp.SrcPort},
	}
	t := &k.tcp
	h.arr = tcp.Segment{
		Seq: t.Seq, Ack: t.Ack, Flags: t.Flags, Window: t.Window, Urgent: t.Urgent, ECN: k.ip.TOS & ecnBits, Options: t.Options,
		Len:     uint32(total - len(b)),
		Payload: tcp.Queue{Head: none, Tail: none},
	}
	return true
}

// icmpMax is the longest packet with an ICMP message that is looked at: "without
// making the ICMPv6 packet exceed the minimum IPv6 MTU" (RFC 4443 section 3.1) a
// router quotes as much as it can.
const icmpMax = 1280

// notTCP takes a packet that holds no segment.
func (h *Half) notTCP(b []byte, total int, k *packet, p *pool.Packet) {
	if k.ip.Proto != wire.ProtoICMP && k.ip.Proto != wire.ProtoICMPv6 || total > icmpMax {
		h.ctl.Counters.BadIP++
		return
	}
	if p != nil && len(b) < total {
		b = append(h.message[:0], p.Data[:p.Header+p.Inline]...)
		for _, q := range p.Pieces[:p.NPieces] {
			b = append(b, h.drv.Octets(p.Region)[q.Off:q.Off+q.Len]...)
		}
	}
	own := uint16(0)
	if p != nil && p.Circuit == pool.NIC {
		own = p.PathMTU
	}
	if len(b) == total {
		h.icmp(b, &k.ip, own)
	}
}

// intact verifies the TCP checksum.
func (h *Half) intact(p *pool.Packet, k *packet) bool {
	var pieces [pool.MaxPieces + 1][]byte
	n := 0
	if p.Inline > 0 {
		pieces[n] = p.Data[p.Header : p.Header+p.Inline]
		n++
	}
	for _, q := range p.Pieces[:p.NPieces] {
		pieces[n] = h.drv.Octets(p.Region)[q.Off : q.Off+q.Len]
		n++
	}
	if wire.TCPChecksumOK(&k.ip.Src, &k.ip.Dst, p.Data[k.ip.HeaderLen:p.Header], pieces[:n]) {
		return true
	}
	h.ctl.Counters.BadSum++
	return false
}

// arriveSlow takes a packet, whole in b, that came without a circuit: from the
// connection server, for a peer's first segments and for those of a peer whose
// circuit is gone. circuit is the one to answer by, if there is one.
func (h *Half) arriveSlow(b []byte, circuit uint16) {
	h.ctl.Counters.PacketsIn++
	var k packet
	n := headerLen(b)
	if n > len(b) || !h.parse(b[:n], len(b), &k, nil) {
		return
	}
	if !wire.TCPChecksumOK(&k.ip.Src, &k.ip.Dst, b[k.ip.HeaderLen:n], [][]byte{b[n:]}) {
		h.ctl.Counters.BadSum++
		return
	}
	i := h.owner(&k, circuit, false)
	if i == none || !h.copyIn(&h.arr, b[n:]) {
		return
	}
	h.input(i)
}

// headerLen returns how many octets of b are headers, as far as it can tell;
// parse checks.
func headerLen(b []byte) int {
	var ip wire.IP
	if wire.ParseIP(b, &ip) != nil || ip.Proto != protoTCP || ip.HeaderLen+13 > len(b) {
		return len(b)
	}
	return min(len(b), ip.HeaderLen+int(b[ip.HeaderLen+12]>>4)*4)
}

// input gives the segment in h.arr to connection i.
func (h *Half) input(i uint32) {
	c := h.begin(i)
	c.Input(&h.mem, h.now, &h.arr)
	h.endInput(i)
}

// endInput ends the step that has given the segment in h.arr to connection i.
func (h *Half) endInput(i uint32) {
	h.commit(i)
	if h.arr.Payload.Count > 0 {
		h.freeChunks(&h.arr.Payload)
	}
}

// owner returns the connection that the segment in h.arr is for. A SYN to a
// listener makes one; what belongs to nobody is answered with RST. direct says that
// it came by the circuit itself.
func (h *Half) owner(k *packet, circuit uint16, direct bool) uint32 {
	i := h.lookup(&k.flow)
	if i != none && h.aux[i].use == useMoved {
		if !h.reused(i) {
			return h.moved(i, circuit)
		}
		i = none
	}
	switch {
	case i == none:
	case h.conns[i].State == tcp.Closed && h.arr.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN:
		// It has ended in this very turn, by the RST before this SYN, say (callAgain in
		// internal/tcp), and settle has not come by yet: it is not in the way any more.
		h.unhash(i)
		i = none
	case h.conns[i].State == tcp.TimeWait && h.conns[i].MayReopen(&h.arr) && h.listener(k.flow.Local) != none:
		h.reopen(i)
		i = none
	case h.succeeded(i, k, circuit, direct):
		h.supersede(i)
		i = none
	}
	if i != none {
		if h.belongs(i, circuit) {
			return i
		}
		h.ctl.Counters.WrongCircuit++
		return none
	}
	if !Unicast(&k.flow) {
		h.ctl.Counters.BadIP++
		return none
	}
	l := h.listener(k.flow.Local)
	if l != none && h.aux[l].use == useMoved {
		if !direct { // who sends this by a circuit asks its server when it hears RST
			return h.moved(l, pool.NoCircuit)
		}
		l = none
	}
	if l != none {
		if h.arr.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN {
			if direct && !h.mayOpen(&k.flow.Remote, circuit) {
				h.ctl.Counters.WrongCircuit++
				return none
			}
			return h.passiveOpen(l, k, circuit)
		}
		if i, drop := h.takeCookie(l, k, circuit); i != none || drop {
			return i
		}
		if h.arr.Flags&wire.ACK == 0 { // a listener answers an ACK only (RFC 9293 section 3.10.7.2)
			h.ctl.Counters.NoConn++
			return none
		}
	}
	h.ctl.Counters.NoConn++
	if l == none || h.aux[l].quiet <= uint32(h.now/tcp.Second) {
		h.reset(k, circuit)
	}
	return none
}

// belongs reports whether the segment in h.arr, of connection i, may come by circuit. The
// first circuit by which one comes is the connection's from then on; another one
// can take its place only when it has gone. What comes late by one that the connection
// has left does not take it back there, and what another pool answers that had an earlier
// connection between the same two ends, still in TIME-WAIT, does not take it there.
func (h *Half) belongs(i uint32, circuit uint16) bool {
	a := &h.aux[i]
	if circuit == pool.NoCircuit || a.circuit == circuit {
		return true
	}
	if a.circuit == pool.NoCircuit {
		if !slices.Contains(a.former[:], circuit+1) && (a.use == useMoved || h.conns[i].Plausible(&h.arr)) {
			h.setCircuit(i, circuit)
		}
		return true
	}
	return false
}

// passiveOpen makes a connection of the SYN in h.arr for listener l, and returns it
// if it takes the data of the SYN too.
func (h *Half) passiveOpen(l uint32, k *packet, circuit uint16) uint32 {
	la := &h.aux[l]
	if la.acceptCount > la.backlog {
		h.ctl.Counters.ListenFull++
		return none
	}
	if la.acceptCount+la.embryos > la.backlog {
		h.sendCookie(l, k, circuit)
		return none
	}
	i := h.embryo(l, circuit)
	if i == none {
		return none
	}
	opt := h.options(l, k, circuit)
	c := h.begin(i)
	c.OpenPassive(&h.mem, h.now, k.flow, tcp.ISN(h.now, &k.flow, &h.ctl.secret), &opt, &h.arr)
	if k.pathMTU != 0 && uint32(k.pathMTU) < h.mtu(l, circuit) {
		c.TrustRoute()
	}
	fast := h.fastPassive(l, i)
	h.insert(i)
	h.commit(i)
	if fast {
		return i
	}
	return none
}

// options returns those of a connection that listener l is asked for by circuit. What
// the way back to the sender of a SYN carries goes before what the listener knows of
// all devices, which may have changed.
func (h *Half) options(l uint32, k *packet, circuit uint16) tcp.ConnOptions {
	o := h.conns[l].Opt
	mtu := h.mtu(l, circuit)
	if k.pathMTU != 0 {
		mtu = max(uint32(k.pathMTU), leastMTU)
	}
	o.MSS = h.mss(&k.flow, mtu)
	h.tune(&o, circuit)
	return o
}

// mtu returns the longest packet that goes by circuit, for connection or listener
// i. Of the devices' the connection server knows it.
func (h *Half) mtu(i uint32, circuit uint16) uint32 {
	switch m := h.aux[i].mtu; {
	case circuit != pool.NIC:
		return h.ctl.mtu
	case m == 0:
		return etherMTU
	default:
		return min(max(m, leastMTU), pool.MaxPDU)
	}
}

// MTUs of devices in octets: Ethernet's, and the smallest that is believed
// (RFC 791 section 3.1: what every host takes).
const (
	etherMTU = 1500
	leastMTU = 576
)

// mss returns the largest segment that a packet of mtu octets carries.
func (h *Half) mss(f *wire.Flow, mtu uint32) uint16 {
	if f.Remote.Addr.Is4() {
		return uint16(mtu - 40)
	}
	return uint16(mtu - 60)
}

// reopen ends a connection in TIME-WAIT for the sake of a new SYN.
func (h *Half) reopen(i uint32) {
	c := h.begin(i)
	c.Fail(&h.mem, h.now, tcp.ErrNone)
	h.commit(i)
	h.unhash(i)
}

// reset answers the segment in h.arr, which belongs to nobody.
func (h *Half) reset(k *packet, circuit uint16) {
	if !tcp.ResetFor(&h.arr, &h.out) {
		return
	}
	var p pool.Packet
	h.header(&p, &k.flow, &h.out, 64, 0)
	h.emit(&p, circuit)
}
