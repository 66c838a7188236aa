package tcp

// ConnOptions are the socket options that the engine obeys, in a fixed layout.
// A program may change them at any time; OptionsChanged must be called then.
// A switch is 0 (off) or 1 (on).
type ConnOptions struct {
	SndBuf uint32 // most octets that wait in SndQ, acknowledged ones not counted
	RcvBuf uint32 // most octets that wait in RcvQ: what the window is made from

	UserTimeout  uint32 // ms that sent data may stay unacknowledged (RFC 5482); 0: the retries decide
	KeepIdle     uint32 // s without a segment before the first keep-alive probe
	KeepInterval uint32 // s between two keep-alive probes
	Linger       uint32 // s that Close waits, if LingerSet; 0 makes Close an Abort

	SndMax       uint32 // octets up to which SndBuf grows by itself; 0: it does not
	RcvMax       uint32 // octets up to which RcvBuf grows by itself; 0: it does not
	NotSentLowat uint32 // octets not yet sent from which on a writer waits; 0: no limit
	WindowClamp  uint32 // octets, most that the window offers; 0: no limit
	RcvLowat     uint32 // octets a reader waits for; 0 is 1
	DeferAccept  uint32 // s that a passive open waits for data before it counts as open

	MSS       uint16 // octets; what is advertised: MTU of the link less 40 (IPv4) or 60 (IPv6)
	UserMSS   uint16 // octets, most for MSS, set before the connection opens; 0: no limit
	KeepCount uint8  // keep-alive probes without an answer before the connection is given up

	SynRetries  uint8 // SYNs sent again before an active open is given up
	SynAckTries uint8 // SYN-ACKs sent again before a passive open is given up
	DataRetries uint8 // timeouts in a row before data is given up

	NoDelay       uint8 // no Nagle algorithm
	Cork          uint8 // hold back what is less than full-sized
	KeepAlive     uint8
	QuickAck      uint8 // QuickAckAuto, QuickAckOn or QuickAckOff
	LingerSet     uint8
	WindowScaling uint8 // offer RFC 7323 window scaling
	Timestamps    uint8 // offer RFC 7323 timestamps
	SACK          uint8 // offer RFC 2018 selective acknowledgements
	Congestion    uint8 // congestion control, an index of controllers
	TTL           uint8 // for the half: the TTL or hop limit of what is sent
	TOS           uint8 // for the half: DSCP of what is sent
	Pacing        uint8 // spread what leaves over the round trip, whatever the congestion control

	ECN               uint8  // ECNOff to ECNPassiveAccurate
	UrgentInline      uint8  // urgent data stays in its place in the stream
	MTUProbe          uint8  // MTUProbeOff, MTUProbeBlackHole or MTUProbeOn
	UserTimeoutOption uint8  // tell the peer of UserTimeout, and heed what it tells (RFC 5482)
	SndLock           uint8  // the program has set SndBuf: it does not grow by itself
	RcvLock           uint8  // the program has set RcvBuf: it does not grow by itself
	LeastTrain        uint8  // segments that a train may have however low the pace is; 0: two (Linux's tcp_min_tso_segs)
	TrainParts        uint8  // one of so many parts of the window is worth a train; 0: three (Linux's tcp_tso_win_divisor)
	KeepWindow        uint8  // keep cwnd over a pause of the program (Linux's tcp_slow_start_after_idle off)
	FastOpen          uint8  // as a client, send the first data in the SYN (RFC 7413)
	FastOpenQueue     uint16 // of a listener: connections that data in a SYN may have opened at one time; 0: none
	FastOpenNoCookie  uint8  // neither ask for a cookie nor for one to be sent
	NoAutoCork        uint8  // what fills no segment does not wait behind packets that are not done with
	NoFinWait         uint8  // an orphan does not wait in FIN-WAIT-2, but resets (TCP_LINGER2 less than 0)
	FinWait           uint8  // s that an orphan waits in FIN-WAIT-2 (TCP_LINGER2); 0: as long as the host says
	BaseMSS           uint16 // octets of payload that nearly every path carries (Linux's tcp_base_mss); 0: for packets of 1,200 octets
	FloorMSS          uint16 // octets of payload, least that a black hole leads to (tcp_mtu_probe_floor); 0: for the least MTU of a path
}

// Values of ConnOptions.ECN, those of Linux's tcp_ecn.
const (
	ECNOff             = iota // do not use it
	ECNOn                     // ask for RFC 3168, and agree to it
	ECNPassive                // agree to RFC 3168
	ECNAccurate               // ask for RFC 9768, and agree to either
	ECNAcceptAccurate         // ask for RFC 3168, and agree to either
	ECNPassiveAccurate        // agree to either
)

// Values of ConnOptions.MTUProbe, those of Linux's tcp_mtu_probing.
const (
	MTUProbeOff       = iota // believe ICMP alone
	MTUProbeBlackHole        // probe when a black hole is suspected
	MTUProbeOn               // probe always
)

// DefaultOptions returns what a fresh socket has, close to Linux's defaults.
// MSS is what every IPv4 link can carry after the usual Ethernet; the half knows
// the link and sets it.
func DefaultOptions() ConnOptions {
	return ConnOptions{
		SndBuf:        1 << 20,
		RcvBuf:        1 << 20,
		SndMax:        4 << 20,
		RcvMax:        6 << 20,
		KeepIdle:      7200,
		KeepInterval:  75,
		KeepCount:     9,
		MSS:           1460,
		SynRetries:    6,
		SynAckTries:   5,
		DataRetries:   15,
		WindowScaling: 1,
		Timestamps:    1,
		SACK:          1,
		TTL:           64,
		ECN:           ECNAccurate,
		MTUProbe:      MTUProbeBlackHole,
	}
}

// Values of ConnOptions.QuickAck.
const (
	QuickAckAuto = iota // as the engine finds best
	QuickAckOn          // acknowledge everything at once
	QuickAckOff         // go over to delayed acknowledgements now; becomes QuickAckAuto
)

// OptionsChanged must be called when the program has changed Opt.
func (c *Conn) OptionsChanged(now Time) {
	o := &c.Opt
	o.clamp()
	c.tuneOptions()
	if o.KeepAlive == 0 || c.snd.keepProbes == 0 {
		c.snd.keepProbes = 0
		c.keepAlive(now)
	}
	c.chooseCongestion(now)
	switch o.QuickAck {
	case QuickAckOn:
		if c.armed(timerAck) {
			c.pending |= pendAck
		}
	case QuickAckOff:
		o.QuickAck = QuickAckAuto
		c.rcv.quick = 0
	}
	c.userTimeoutChanged(now)
	if c.State.Synchronized() && c.unsent() > 0 {
		c.Events |= EventWritable
	}
	c.freePeer()
}

// clamp brings the options into the range that the engine can obey.
func (o *ConnOptions) clamp() {
	o.RcvBuf = min(o.RcvBuf, maxBuffer)
	o.SndBuf = min(o.SndBuf, maxBuffer)
	o.RcvMax = min(o.RcvMax, maxBuffer)
	o.SndMax = min(o.SndMax, maxBuffer)
	if o.WindowClamp != 0 {
		o.WindowClamp = max(o.WindowClamp, minWindowClamp)
	}
	if o.UserMSS != 0 {
		o.UserMSS = max(o.UserMSS, minMSS)
		o.MSS = min(o.MSS, o.UserMSS)
	}
	o.MSS = max(o.MSS, minMSS)
	if o.BaseMSS != 0 {
		o.BaseMSS = max(o.BaseMSS, minMSS)
	}
	if o.FloorMSS != 0 {
		o.FloorMSS = max(o.FloorMSS, minMSS)
	}
}
