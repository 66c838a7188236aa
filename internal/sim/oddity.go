package sim

import (
	"math/rand/v2"

	"usertcp/internal/tcp"
)

// oddStart changes options before a connection opens, or of a listener, whose
// connections inherit them.
func oddStart(r *rand.Rand) func(o *tcp.ConnOptions) {
	off := func() uint8 {
		if r.IntN(4) == 0 {
			return 0
		}
		return 1
	}
	timestamps, sack, scaling := off(), off(), off()
	ecn := uint8(r.IntN(tcp.ECNPassiveAccurate + 1))
	probe := pick(r, uint8(tcp.MTUProbeOff), tcp.MTUProbeBlackHole, tcp.MTUProbeOn)
	congestion := uint8(r.IntN(len(tcp.CongestionNames())))
	fast, bare := uint8(r.IntN(2)), uint8(r.IntN(2))
	queue := pick(r, uint16(0), 1, 100)
	return func(o *tcp.ConnOptions) {
		o.FastOpen, o.FastOpenNoCookie, o.FastOpenQueue = fast, bare, queue
		o.Timestamps, o.SACK, o.WindowScaling = timestamps, sack, scaling
		o.ECN, o.MTUProbe, o.Congestion = ecn, probe, congestion
	}
}

// oddity changes an option in the middle of everything.
func (s *socket) oddity() {
	n := s.r.IntN(12)
	value := uint32(pick(s.r, 2000, 10000, 65536, 1<<20))
	on := uint8(s.r.IntN(2))
	if n == 8 {
		s.talk.excuse = "a user timeout was set"
	}
	congestion := uint8(s.r.IntN(len(tcp.CongestionNames())))
	s.h.top.SetOptions(s.i, func(o *tcp.ConnOptions) {
		switch n {
		case 0:
			o.NoDelay = on
		case 1:
			o.QuickAck = on
		case 2:
			o.RcvBuf = value
		case 3:
			o.SndBuf = value
		case 4:
			o.Cork = on
		case 5:
			o.Congestion = congestion
		case 6:
			o.Pacing = on
		case 7:
			o.KeepAlive, o.KeepIdle, o.KeepInterval, o.KeepCount = on, value/1000, 5, 4
		case 8:
			o.UserTimeout = value // ms
		case 9:
			o.NotSentLowat = value
		case 10:
			o.WindowClamp = value
		case 11:
			o.RcvLowat = value / 100
		}
	})
}
