package tcp

// Info is what TCP_INFO says of a connection: Linux's struct tcp_info in words.
// Times are in nanoseconds, sizes in octets and rates in octets a second unless
// said otherwise; what was never measured is zero.
type Info struct {
	State      State
	SoftError  Error  // what ICMP last said, while the connection lives
	Congestion string // name of the congestion control

	Timestamps, SACK, WindowScaling bool     // agreed with the peer
	ECN                             bool     // agreed with the peer (RFC 3168 or RFC 9768)
	AccECN                          bool     // agreed with the peer: RFC 9768
	ECNSeen                         bool     // a marked segment has come
	FastOpen                        bool     // data of a SYN, ours or the peer's, was taken (RFC 7413)
	FastOpenFail                    FastFail // why that of ours was not

	SndScale, RcvScale uint8 // shifts of the peer's window field and of ours

	Retransmits uint8 // timeouts in a row
	Probes      uint8 // window and keep-alive probes in a row without an answer
	Backoff     uint8 // doublings of RTO that hold now

	RTO            Time // retransmission timeout, back-off included
	ATO            Time // longest delay of an acknowledgement
	RTT, RTTVar    Time // smoothed round-trip time and its variance
	MinRTT         Time // smallest round-trip time of late
	ReceiverRTT    Time // round-trip time as the receiver estimates it
	LastDataSent   Time // since data was last sent
	LastDataRecv   Time // since data last came
	LastAckRecv    Time // since an acknowledgement last came
	UserTimeout    Time // that holds
	SndMSS, RcvMSS uint32
	AdvMSS         uint32 // that the peer was told
	PathMTU        uint32 // of whole packets

	Cwnd, Ssthresh uint32
	SndWnd         uint32 // that the peer offers
	RcvWnd         uint32 // that we offer
	RcvSsthresh    uint32 // largest window that there can be
	RcvSpace       uint32 // that the program read in one round trip
	SndBuf, RcvBuf uint32 // sizes of the buffers now
	Unacked        uint32 // sent and not acknowledged
	NotSent        uint32 // written and not sent
	Sacked, Lost   uint32 // of Unacked: selectively acknowledged; believed lost
	Unread         uint32 // in order and not read
	PacingRate     uint64 // 0: no pacing

	Busy          Time // in which something was to be sent or in flight
	WindowLimited Time // of Busy: the peer's window let nothing more leave
	BufferLimited Time // of Busy: a program that would write more waited for room

	Delivered uint64 // octets known to have arrived

	ECNReceived, ECNDelivered ECNCounts // with AccECN: what came to us, and what the peer says came to it

	Recovery RecoveryInfo // what is believed lost, and of the path

	Stats
}

// Info returns what TCP_INFO says now.
func (c *Conn) Info(now Time) Info {
	s, r := &c.snd, &c.rcv
	i := Info{
		State: c.State, SoftError: c.Soft, Congestion: CongestionName(c.Opt.Congestion),
		Timestamps: c.has(flagTimestamps), SACK: c.has(flagSACK), WindowScaling: c.has(flagScaling),
		ECN: c.ecn.on != ecnOff, AccECN: c.ecn.on == ecnAccurate, ECNSeen: c.Stats.CE > 0,
		FastOpen: c.fast.state&fastTaken != 0, FastOpenFail: c.fast.fail,
		SndScale: s.scale, RcvScale: r.scale,
		Retransmits: s.retries, Probes: max(s.probes, s.keepProbes), Backoff: c.rtt.shift,
		RTO: c.RTO(), ATO: delayedAck, RTT: c.rtt.srtt, RTTVar: c.rtt.rttvar, MinRTT: c.MinRTT(), ReceiverRTT: c.tuning.rtt,
		LastDataSent: since(now, s.lastData), LastDataRecv: since(now, r.lastData), LastAckRecv: since(now, r.lastSeg),
		UserTimeout: c.userTimeoutSpan(),
		SndMSS:      s.mss, RcvMSS: r.mss, AdvMSS: uint32(c.Opt.MSS), PathMTU: uint32(c.path.mtu),
		Cwnd: c.cc.cwnd, Ssthresh: c.cc.ssthresh,
		SndWnd: s.wnd, RcvWnd: uint32(r.edge.From(r.nxt)), RcvSsthresh: c.windowLimit(), RcvSpace: c.tuning.space,
		SndBuf: c.Opt.SndBuf, RcvBuf: c.Opt.RcvBuf,
		Unread: c.RcvQ.Bytes - c.RcvHead, PacingRate: c.rate.pace, Delivered: c.Stats.BytesAcked + uint64(c.board.sacked),
		Stats: c.Stats,
	}
	i.WindowLimited, i.BufferLimited = c.limitedBy(now, limitWindow), c.limitedBy(now, limitBuffer)
	i.Busy = c.limitedBy(now, limitPath) + i.WindowLimited + i.BufferLimited
	if c.ecn.on == ecnAccurate {
		i.ECNReceived = countsOf(c.ecn.recvCEP, &c.ecn.recv)
		i.ECNDelivered = countsOf(c.ecn.sentCEP, &c.ecn.sent)
	}
	if c.State >= SynSent {
		i.Unacked = c.flight()
		i.Sacked, i.Lost = c.board.sacked, c.board.lost
	}
	if c.State.Synchronized() {
		i.Recovery = c.Recovery()
		i.NotSent = c.unsent()
	}
	return i
}

// since returns how long t is ago, zero if it never was.
func since(now, t Time) Time {
	if t == 0 {
		return 0
	}
	return now - t
}

// ECNCounts are the counters of accurate ECN in one direction, modulo 2^32.
type ECNCounts struct {
	CE                            uint32 // packets marked with congestion experienced
	CEBytes, ECT0Bytes, ECT1Bytes uint32 // octets of payload with each codepoint
}

func countsOf(packets uint32, octets *[ecnFields]uint32) ECNCounts {
	return ECNCounts{
		CE:      packets - ecnFirstCEP,
		CEBytes: octets[fieldCE], ECT0Bytes: octets[fieldE0] - firstCounters[fieldE0], ECT1Bytes: octets[fieldE1] - firstCounters[fieldE1],
	}
}
